//! A dataset, what may happen to it, and what must hold afterwards.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, UInt64Type};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use lake::Lake;
use model::clock::ManualClock;
use model::dataset::{CommitKind, DatasetKind};
use model::export::{Advance, Definition, NewRun};
use model::format::FormatSpec;
use model::limits::PIN_DAYS_MAX;
use model::ports::{
    Bind, Bound, Catalog, CatalogError, Compacted, Import, ImportFile, Ingest, InputFormat, Lease,
    Ledger, Progress, Query, ReadTask, Relations, Replace, Scrub, Stage, Upkeep,
};
use model::relation::{Relation, Selection, Source};
use model::run::RunState;
use model::{BatchId, Clock, CommitNumber, PortError, RunId, WorkspaceId};
use object_store::memory::InMemory;
use store::Store;

use crate::catalog::{Line, Lost};
use crate::dice::Dice;
use crate::objects::{Mortal, Stop};
use crate::rows::{Read, Row, Rows};

/// Nobody watches.
#[derive(Debug)]
struct Silent;

impl Progress for Silent {
    fn add(&self, _: u64, _: u64) {}
}

/// A batch that the model knows.
#[derive(Clone, Debug)]
struct Batch {
    id: BatchId,
    commit: u64,
    taken_back: bool,
}

pub(crate) struct World {
    lake: Lake,
    store: Arc<Store>,
    line: Arc<Line>,
    objects: Mortal,
    clock: Arc<ManualClock>,
    folder: tempfile::TempDir,
    name: String,
    rows: Rows,
    batches: Vec<Batch>,
    next: i64,
    /// The first commit with the column `w`.
    widened: Option<u64>,
    /// The first commit of the dataset.
    first: Option<u64>,
    /// When it began, in seconds since 1970.
    began: i64,
    /// Whether rows have a time of their own.
    by_time: bool,
    /// Commits that removed old rows.
    expired: Vec<u64>,
    /// A run that goes on while all else happens.
    open: Option<Open>,
}

/// A run that has planned what to read.
struct Open {
    lease: Lease,
    bound: Bound,
    expected: Vec<Read>,
    since: DateTime<Utc>,
}

/// When histories begin, in seconds since 1970.
const START: i64 = 1_700_000_000;

fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).unwrap()
}

fn jsonl() -> FormatSpec {
    let (compression, file_rows, file_bytes, name) = (None, None, None, None);
    let options = std::collections::BTreeMap::new();
    FormatSpec {
        format: "jsonl".into(),
        compression,
        options,
        file_rows,
        file_bytes,
        name,
        folder: None,
        md5: false,
    }
}

fn workspace() -> WorkspaceId {
    WorkspaceId::default_workspace()
}

impl World {
    pub(crate) async fn open(url: &str, seed: u64) -> Self {
        let store = Arc::new(Store::open(url).await.unwrap());
        let memory = Arc::new(InMemory::new());
        let objects = Mortal::new(Arc::clone(&memory));
        let folder = tempfile::tempdir().unwrap();
        // After the histories before, or commits would be later than the clock.
        let last = store.head(&workspace()).await.unwrap().map(|(_, time)| time);
        let clock = Arc::new(ManualClock::new(last.unwrap_or_else(|| time(START))));
        let began = clock.now().timestamp();
        let scratch = folder.path().to_owned();
        let line = Arc::new(Line::new(store.clone()));
        let catalog: Arc<dyn Catalog> = line.clone();
        // All commits go to the tail, or the smallest, or none.
        let tail_bytes = [1 << 20, 200, 0][usize::try_from(seed % 3).unwrap()];
        let lake = Lake::new(catalog, Arc::new(objects.clone()), memory, scratch, clock.clone())
            .with_tail_bytes(tail_bytes);
        let name = format!("d{seed}");
        let (rows, batches) = (Rows::default(), Vec::new());
        Self {
            lake,
            store,
            line,
            objects,
            clock,
            folder,
            name,
            rows,
            batches,
            next: 0,
            widened: None,
            first: None,
            began,
            by_time: seed % 2 == 1,
            expired: Vec::new(),
            open: None,
        }
    }

    async fn head(&self) -> u64 {
        self.store.head(&workspace()).await.unwrap().map_or(0, |(number, _)| number.0)
    }

    /// Lets something go wrong after some writes of the object store.
    pub(crate) fn stop_after(&self, stop: Stop, steps: i64) {
        self.objects.stop_after(stop, steps);
    }

    /// Lets all go well again; returns whether something went wrong.
    pub(crate) fn heal(&self) -> bool {
        self.objects.heal()
    }

    /// Imports some rows.
    pub(crate) async fn add(&mut self, dice: &mut Dice) {
        self.clock.advance(TimeDelta::seconds(1));
        self.import(dice, None).await;
    }

    /// Imports some rows in the place of some batches.
    pub(crate) async fn replace(&mut self, dice: &mut Dice) {
        let some = self.living(dice);
        let batches = some.iter().map(|batch| batch.id.clone()).collect();
        self.import(dice, Some(Replace::Batches(batches))).await;
    }

    /// Does one thing at random; every third time the power is cut on the way.
    pub(crate) async fn step(&mut self, dice: &mut Dice) {
        self.clock.advance(TimeDelta::seconds(1));
        if dice.below(3) == 0 {
            let steps = i64::try_from(dice.below(12)).unwrap();
            let stop = if dice.below(4) == 0 { Stop::Full } else { Stop::Cut };
            self.objects.stop_after(stop, steps);
        }
        self.line.lose(match dice.below(6) {
            0 => Lost::Before,
            1 => Lost::After,
            _ => Lost::Nothing,
        });
        match dice.below(15) {
            0..=4 => self.import(dice, None).await,
            5 => self.import(dice, Some(Replace::All)).await,
            6 => self.replace(dice).await,
            7 => self.revert(dice).await,
            8 | 9 => self.expire(dice).await,
            10 => self.sweep(dice).await,
            11 => self.run(dice).await,
            12 => self.tend(dice).await,
            _ => self.compact().await,
        }
        self.objects.heal();
        self.line.lose(Lost::Nothing);
    }

    fn living(&self, dice: &mut Dice) -> Vec<Batch> {
        let living: Vec<_> =
            self.batches.iter().filter(|batch| !batch.taken_back).cloned().collect();
        let mut some: Vec<Batch> = Vec::new();
        for _ in 0..=dice.below(2) {
            some.extend(
                dice.of(&living).filter(|one| some.iter().all(|b| b.id != one.id)).cloned(),
            );
        }
        some
    }

    /// Does the work unless the power is cut; returns the commit that changed rows, if one was made, and what
    /// was said. Any number of others may have sealed and merged files.
    async fn mortal<T>(
        &self,
        work: impl Future<Output = Result<T, PortError>>,
    ) -> (Option<u64>, Option<Result<T, PortError>>) {
        let before = self.head().await;
        let said = tokio::select! {
            biased;
            done = work => Some(done),
            () = self.objects.cut() => None,
        };
        // A full disk is an error like another; nothing has happened then, or all.
        let said = said.filter(|said| match said {
            Err(error) if self.objects.is_full() => {
                assert!(error.to_string().contains("no room"), "{error}");
                false
            }
            _ => true,
        });
        if self.head().await == before {
            return (None, said);
        }
        let made = self.store.commits(&workspace(), &self.name, CommitNumber(before), 100).await;
        let made = made.unwrap().into_iter().filter(|commit| commit.kind != CommitKind::Compact);
        let made: Vec<u64> = made.map(|commit| commit.number.0).collect();
        assert!(made.len() <= 1, "{made:?}");
        (made.first().copied(), said)
    }

    async fn import(&mut self, dice: &mut Dice, replace: Option<Replace>) {
        let mut rows = Vec::new();
        let mut files = Vec::new();
        let known = self.next > 12;
        let wide = self.widened.is_some() || dice.below(5) == 0;
        for at in 0..=dice.below(3) {
            let mut text = String::new();
            for _ in 0..=dice.below(4) {
                let w = (wide && dice.below(2) == 0).then_some(self.next * 10);
                let n = self.next;
                let w_text = w.map(|w| format!(",\"w\":{w}")).unwrap_or_default();
                let at =
                    (dice.below(6) > 0).then(|| START + i64::try_from(dice.below(100)).unwrap());
                let at_text = at.map(|at| format!("\"{}\"", time(at).to_rfc3339()));
                let at_text = at_text.unwrap_or_else(|| "null".into());
                let z = known.then_some(n * 100);
                let z_text = z.map_or_else(|| "null".into(), |z| z.to_string());
                writeln!(text, "{{\"n\":{n},\"at\":{at_text},\"z\":{z_text}{w_text}}}").unwrap();
                rows.push((n, w, z, at));
                self.next += 1;
            }
            let name = format!("{at}.jsonl");
            let path = self.folder.path().join(&name);
            std::fs::write(&path, text).unwrap();
            files.push(ImportFile::at(name, path));
        }
        let import = Import {
            workspace: workspace(),
            dataset: self.name.clone(),
            kind: DatasetKind::Event,
            time_column: self.by_time.then(|| "at".into()),
            schema: None,
            receive_time: None,
            live: false,
            files,
            format: InputFormat::Auto,
            replace: replace.clone(),
            batch: None,
            key: None,
            key_days: None,
            rejects: None,
        };
        let (made, said) = self.mortal(self.lake.import(&import, Arc::new(Silent))).await;
        if let Some(Err(error)) = &said {
            // There is no dataset yet whose batches could be replaced.
            let none = matches!(&replace, Some(Replace::Batches(_))) && self.first.is_none();
            assert!(none && made.is_none(), "{error}");
        }
        let Some(commit) = made else { return };
        match &replace {
            None => {}
            Some(Replace::All) => self.take_back(commit, |_| true),
            Some(Replace::Batches(ids)) => self.take_back(commit, |batch| ids.contains(&batch.id)),
        }
        self.first.get_or_insert(commit);
        if self.widened.is_none() && rows.iter().any(|(_, w, _, _)| w.is_some()) {
            self.widened = Some(commit);
        }
        let before = CommitNumber(commit - 1);
        let found = self.store.commits(&workspace(), &self.name, before, 1).await.unwrap();
        let committed = found[0].time.timestamp();
        let row = |(n, w, z, at)| Row { n, w, z, at, commit, committed, ended: None };
        self.rows.all.extend(rows.into_iter().map(row));
        let id = found[0].batches[0].clone();
        self.batches.push(Batch { id, commit, taken_back: false });
    }

    fn take_back(&mut self, at: u64, of: impl Fn(&Batch) -> bool) {
        for batch in self.batches.iter_mut().filter(|batch| !batch.taken_back && of(batch)) {
            batch.taken_back = true;
            self.rows.end(at, |row| row.commit == batch.commit);
        }
    }

    pub(crate) async fn revert(&mut self, dice: &mut Dice) {
        let Some(batch) = dice.of(&self.batches).cloned() else { return };
        let (made, said) = self.mortal(self.lake.revert(&workspace(), &batch.id)).await;
        match (&said, batch.taken_back) {
            (Some(Err(error)), true) => {
                let error = error.downcast_ref::<CatalogError>();
                assert!(matches!(error, Some(CatalogError::TakenBack { .. })), "{error:?}");
            }
            (Some(Ok(_)) | None, _) => {}
            (Some(Err(error)), false) => panic!("{error}"),
        }
        if let Some(commit) = made {
            assert!(!batch.taken_back);
            self.take_back(commit, |other| other.id == batch.id);
        }
    }

    pub(crate) async fn expire(&mut self, dice: &mut Dice) {
        if self.first.is_none() {
            return;
        }
        let now = self.clock.now().timestamp();
        let (start, seconds) =
            if self.by_time { (START, 100) } else { (self.began, now - self.began + 1) };
        let before = start + i64::try_from(dice.below(u64::try_from(seconds).unwrap())).unwrap();
        let workspace = workspace();
        let work = self.lake.expire(&workspace, &self.name, time(before));
        let (made, said) = self.mortal(work).await;
        if let Some(done) = said {
            assert_eq!(made, done.unwrap().commit.map(|commit| commit.0));
        }
        let by_time = self.by_time;
        let old = |row: &Row| {
            let at = if by_time { row.at } else { Some(row.committed) };
            at.is_some_and(|at| at < before)
        };
        if let Some(commit) = made {
            self.rows.end(commit, old);
            self.expired.push(commit);
        }
    }

    /// Lets some time pass and deletes what nobody needs.
    async fn sweep(&mut self, dice: &mut Dice) {
        self.sweep_after([0, 2, 24 * 8][usize::try_from(dice.below(3)).unwrap()]).await;
    }

    /// Deletes what nobody needs some hours later.
    pub(crate) async fn sweep_after(&mut self, hours: i64) {
        self.clock.advance(TimeDelta::hours(hours));
        self.mortal(self.lake.sweep(&workspace())).await;
    }

    /// Returns the oldest commit that can be read.
    async fn horizon(&self) -> u64 {
        self.store.snapshot(&workspace(), &self.name, None).await.unwrap().horizon.0
    }

    pub(crate) async fn compact(&mut self) {
        if self.first.is_none() {
            return;
        }
        let workspace = workspace();
        let work = self.lake.compact(&workspace, &self.name, Arc::new(Silent));
        self.merged(work).await;
    }

    /// Lets some time pass and does what is due.
    async fn tend(&mut self, dice: &mut Dice) {
        if self.first.is_none() {
            return;
        }
        self.tend_after(if dice.below(2) == 0 { 0 } else { 100 }).await;
    }

    /// Does what is due some seconds later.
    pub(crate) async fn tend_after(&mut self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
        let newest = CommitNumber(self.head().await);
        self.merged(self.lake.tend(&workspace(), &self.name, newest)).await;
    }

    async fn merged(&self, work: impl Future<Output = Result<Compacted, PortError>>) {
        let before = self.head().await;
        let (changed, said) = self.mortal(work).await;
        assert_eq!(changed, None);
        if let Some(done) = said {
            let done = done.unwrap();
            assert_eq!(self.head().await - before, done.commits.len() as u64, "{done:?}");
        }
    }

    /// Opens a run of some range and plans it: it reads files only, whatever was in the tail.
    async fn run(&mut self, dice: &mut Dice) {
        let Some(first) = self.first else { return };
        let head = self.head().await;
        let first = first.max(self.horizon().await);
        let to = first + dice.below(head - first + 1);
        let from = dice.below(to + 1);
        let bind = self.bind(from, to);
        let new = NewRun {
            key: None,
            version: None,
            slot: None,
            id: RunId::mint(self.clock.now()),
            workspace: workspace(),
            export: None,
            definition: Definition {
                relation: bind.relation.clone(),
                format: jsonl(),
                destination: "file:///nowhere".into(),
                meaning: None,
            },
            advance: Advance::None,
            from: Some(bind.from),
            to: Some(bind.to),
            now: self.clock.now(),
            owner: "history".into(),
        };
        let lease = self.store.open_run(&new).await.unwrap().lease;
        let stage = Stage::Into { run: new.id, epoch: 1 };
        let (changed, said) = self.mortal(self.lake.bind(&Bind { stage, ..bind })).await;
        assert_eq!(changed, None);
        let Some(bound) = said else {
            return self.close(&lease).await;
        };
        let bound = bound.unwrap();
        for input in &bound.inputs {
            assert!(input.key.as_str().starts_with("data/"), "{}", input.key);
        }
        self.check_bound(bound.clone(), from, to).await;
        let expected = self.rows.between(from, to);
        if let Some(before) = self.open.replace(Open { lease, bound, expected, since: new.now }) {
            self.close(&before.lease).await;
        }
    }

    async fn close(&self, lease: &Lease) {
        let now = self.clock.now();
        self.store.end(lease, RunState::Cancelled, "enough", now).await.unwrap();
    }

    /// Reads what the open run has planned to read, whatever has been done to the files since.
    async fn check_open(&mut self) {
        let Some(open) = &self.open else { return };
        if self.clock.now() - open.since > TimeDelta::days(PIN_DAYS_MAX) {
            self.open = None;
            return;
        }
        assert_eq!(self.read(open.bound.clone()).await, open.expected, "of an open run");
    }

    /// Checks some snapshots and increments, and the newest.
    pub(crate) async fn check(&mut self, dice: &mut Dice) {
        let Some(first) = self.first else { return };
        let head = self.head().await;
        self.check_range(0, head).await;
        for _ in 0..2 {
            let first = first.max(self.horizon().await);
            let to = first + dice.below(head - first + 1);
            let from = dice.below(to + 1);
            self.check_range(from, to).await;
        }
        self.check_count(head).await;
        self.check_open().await;
    }

    /// Checks every snapshot and a chain of increments.
    pub(crate) async fn check_all(&self) {
        let Some(first) = self.first else { return };
        let head = self.head().await;
        let horizon = self.horizon().await;
        for to in first.max(horizon)..=head {
            self.check_range(0, to).await;
            self.check_range(to - 1, to).await;
        }
        if first < horizon {
            let before = Some(CommitNumber(horizon - 1));
            let gone = self.store.snapshot(&workspace(), &self.name, before).await.unwrap_err();
            assert!(matches!(gone, CatalogError::Gone { .. }), "{gone}");
        }
        self.check_objects().await;
    }

    /// Checks that after long enough only what the catalog names is there, and all of it, byte for byte.
    async fn check_objects(&self) {
        let (lake, silent) = (&self.lake, Arc::new(Silent));
        let damaged = lake.scrub(&workspace(), &self.name, Scrub::Sums, silent).await.unwrap();
        assert_eq!(damaged, []);
        // Objects in memory carry the real time, long after that of the histories.
        let later = model::clock::SystemClock.now() + TimeDelta::days(30);
        self.clock.advance(later - self.clock.now());
        self.lake.sweep(&workspace()).await.unwrap();
        let named = self.store.snapshot(&workspace(), &self.name, None).await.unwrap();
        let in_tail = named.files.iter().filter(|file| file.in_tail).count();
        let unsealed = self.store.unsealed(&named.dataset.id).await.unwrap();
        assert_eq!(unsealed.files, in_tail as u64);
        let named = named.files.into_iter().filter(|file| !file.in_tail);
        let named: BTreeSet<String> = named.map(|file| file.key.to_string()).collect();
        assert_eq!(self.objects.names().await, named);
        let head = self.head().await;
        self.check_range(0, head).await;
    }

    fn bind(&self, from: u64, to: u64) -> Bind {
        let wide = self.widened.is_some_and(|since| to >= since);
        let columns = if wide { "n, w, _commit" } else { "n, _commit" };
        let columns = format!("{columns}, z");
        Bind {
            workspace: workspace(),
            relation: Relation {
                source: Source::Dataset(self.name.clone()),
                selection: Selection { columns: Some(columns), ..Selection::default() },
            },
            from: CommitNumber(from),
            to: CommitNumber(to),
            now: self.clock.now(),
            stage: Stage::Check,
        }
    }

    async fn check_range(&self, from: u64, to: u64) {
        let bound = self.lake.bind(&self.bind(from, to)).await.unwrap();
        self.check_bound(bound, from, to).await;
    }

    async fn check_bound(&self, bound: Bound, from: u64, to: u64) {
        let planned: u64 = bound.inputs.iter().map(|input| input.rows).sum();
        let reset = bound.reset.clone();
        let found = self.read(bound).await;
        let expected = self.rows.between(from, to);
        assert_eq!(found, expected, "{} ({from}, {to}]", self.name);
        assert_eq!(planned, expected.len() as u64, "counted without reading");
        let ended = self.rows.all.iter().filter_map(|row| row.ended);
        let ended = ended.filter(|ended| !self.expired.contains(ended));
        for ended in ended.filter(|ended| *ended > from && *ended <= to) {
            let told = reset.iter().any(|commit| commit.0 == ended);
            assert!(told, "{ended} is not told in ({from}, {to}]");
        }
    }

    async fn read(&self, bound: Bound) -> Vec<Read> {
        let task = ReadTask { relation: Arc::new(bound.relation), inputs: bound.inputs };
        let rows = self.lake.read(&task).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
        rows.iter().flat_map(|rows| read(&rows.batch)).collect()
    }

    async fn check_count(&self, head: u64) {
        let sql = format!("SELECT count(*), max(_commit) FROM {}", self.name);
        let (_, rows) = self.lake.sql(&workspace(), &sql, self.clock.now()).await.unwrap();
        let rows = rows.try_collect::<Vec<_>>().await.unwrap();
        let count = rows[0].column(0).as_primitive::<Int64Type>().value(0);
        let expected = self.rows.between(0, head);
        assert_eq!(usize::try_from(count).unwrap(), expected.len());
        let newest = rows[0].column(1).as_primitive::<UInt64Type>();
        let newest = (!newest.is_null(0)).then(|| newest.value(0));
        assert_eq!(newest, expected.iter().map(|(_, _, _, commit)| *commit).max());
    }
}

fn read(batch: &RecordBatch) -> Vec<Read> {
    // None for a column that is not there or has only nulls.
    let column = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
    let commits = batch.column_by_name("_commit").unwrap().as_primitive::<UInt64Type>();
    let value = |name: &str, row: usize| {
        column(name).filter(|values| values.is_valid(row)).map(|values| values.value(row))
    };
    let row =
        |row| (value("n", row).unwrap(), value("w", row), value("z", row), commits.value(row));
    (0..batch.num_rows()).map(row).collect()
}
