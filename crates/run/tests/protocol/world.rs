//! What outlives every process: the ledger's tables, the lake, the destination, the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};

use model::clock::{Clock, ManualClock};
use model::export::{Advance, Definition};
use model::format::FormatSpec;
use model::relation::{Relation, Selection, Source};
use model::{RunId, WorkspaceId};
use run::Request;

use crate::books::Books;
use crate::lake::Lake;
use crate::objects::Store;

/// What is exported, and how.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Rows of the commit that comes before each export.
    pub(crate) commits: Vec<u64>,
    pub(crate) file_rows: Option<u64>,
    pub(crate) file_bytes: Option<u64>,
    pub(crate) filter: bool,
    /// A relation that has to be staged; exported without a cursor.
    pub(crate) staged: bool,
    pub(crate) parallel: usize,
    pub(crate) put_bytes_max: usize,
    pub(crate) manifest_files_max: usize,
    /// Where to.
    pub(crate) to: &'static str,
    /// Whether the locks of dead processes are known to be free.
    pub(crate) locks: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: "plain",
            commits: vec![5, 7, 4],
            file_rows: Some(3),
            file_bytes: None,
            filter: false,
            staged: false,
            parallel: 2,
            put_bytes_max: 1 << 20,
            manifest_files_max: 100,
            to: "test://place",
            locks: false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) books: Mutex<Books>,
    pub(crate) lake: Mutex<Lake>,
    pub(crate) store: Mutex<Store>,
    pub(crate) clock: Arc<Ticking>,
    locks: Arc<Mutex<Locks>>,
}

#[derive(Debug, Default)]
struct Locks {
    /// The epoch that the lock of a run was taken with last.
    seen: BTreeMap<RunId, u64>,
    held: BTreeSet<RunId>,
}

/// A lock that is let go when its process dies.
#[derive(Debug)]
pub(crate) struct Hold(RunId, Arc<Mutex<Locks>>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.1.lock().unwrap().held.remove(&self.0);
    }
}

impl World {
    pub(crate) fn new(scenario: &Scenario) -> Arc<Self> {
        let store = Store {
            objects: BTreeMap::from([
                ("unrelated.txt".into(), b"not ours".to_vec().into()),
                ("daily/manifest.json".into(), b"{}".to_vec().into()),
                ("daily/other/part-00000.txt".into(), b"0\n".to_vec().into()),
            ]),
            ..Store::default()
        };
        Arc::new(Self {
            scenario: scenario.clone(),
            books: Mutex::default(),
            lake: Mutex::new(Lake::default()),
            store: Mutex::new(store),
            clock: Arc::new(Ticking::default()),
            locks: Arc::default(),
        })
    }

    /// Makes the commits that come before export `phase`, if they are not there yet.
    pub(crate) fn commit_up_to(&self, phase: usize) {
        let mut lake = self.lake.lock().unwrap();
        while lake.commits() <= phase {
            let rows = self.scenario.commits[lake.commits()];
            lake.commit(rows, self.clock.now());
        }
    }

    /// Lets the lease of every run lapse.
    pub(crate) fn lapse(&self) {
        for row in self.books.lock().unwrap().runs.values_mut() {
            row.run.leased = false;
        }
    }

    pub(crate) fn hold(&self, run: &RunId, epoch: u64) -> Option<Hold> {
        let mut locks = self.locks.lock().unwrap();
        if !locks.held.insert(run.clone()) {
            return None;
        }
        locks.seen.insert(run.clone(), epoch);
        Some(Hold(run.clone(), Arc::clone(&self.locks)))
    }

    pub(crate) fn is_dead(&self, run: &RunId, epoch: u64) -> bool {
        let locks = self.locks.lock().unwrap();
        let known = locks.seen.get(run) == Some(&epoch);
        self.scenario.locks && known && !locks.held.contains(run)
    }

    pub(crate) fn request(&self) -> Request {
        let Scenario { staged, filter, .. } = self.scenario;
        let source =
            if staged { Source::Sql("select".into()) } else { Source::Dataset("events".into()) };
        let filter = filter.then(|| "value % 3 <> 0".to_owned());
        let selection = Selection { filter, ..Selection::default() };
        let format = FormatSpec {
            format: "lines".into(),
            compression: None,
            options: BTreeMap::new(),
            file_rows: self.scenario.file_rows,
            file_bytes: self.scenario.file_bytes,
            name: None,
            folder: None,
            md5: true,
        };
        let relation = Relation { source, selection };
        Request {
            key: None,
            version: None,
            slot: None,
            workspace: WorkspaceId::default_workspace(),
            export: (!staged).then(|| "daily".to_owned()),
            definition: Definition {
                relation,
                format,
                destination: self.scenario.to.into(),
                meaning: None,
            },
            advance: if staged { Advance::None } else { Advance::Cursor },
            from: None,
            to: None,
        }
    }
}

/// A clock that ticks whenever somebody looks.
#[derive(Debug)]
pub(crate) struct Ticking(ManualClock);

impl Default for Ticking {
    fn default() -> Self {
        Self(ManualClock::new(DateTime::from_timestamp(1_700_000_000, 0).unwrap()))
    }
}

impl Clock for Ticking {
    fn now(&self) -> DateTime<Utc> {
        self.0.advance(TimeDelta::milliseconds(1));
        self.0.now()
    }
}
