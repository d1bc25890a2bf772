//! Saved exports and what a run is asked to do.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::format::FormatSpec;
use crate::ids::{CommitNumber, DatasetId, ExportId, RunId, WorkspaceId};
use crate::job::JobLease;
use crate::relation::{BoundRelation, BoundView, Relation};
use crate::schedule::Schedule;

/// What stays the same from run to run: relation, format and place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// What is exported.
    pub relation: Relation,
    /// As what.
    pub format: FormatSpec,
    /// Where to: a URL of a known scheme, local folders as an absolute `file://` URL.
    pub destination: String,
    /// What the relation's names stand for. A coordinator fills it in when it binds them, so that an
    /// export does not go on under a name that means something else by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
}

/// What the names of a relation stand for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meaning {
    /// The dataset that rows come from; none if they come from several.
    pub dataset: Option<DatasetId>,
    /// The views on the way, with their text.
    pub views: Vec<BoundView>,
}

impl Meaning {
    /// Reads what a bound relation's names stand for.
    pub fn of(relation: &BoundRelation) -> Self {
        Self { dataset: relation.table.dataset.clone(), views: relation.views.clone() }
    }
}

impl Definition {
    /// Returns what an export is saved as whose run does this: what only the run's slot says is no part of it.
    pub fn kept(&self, slot: Option<&OpenSlot>) -> Self {
        let mut kept = self.clone();
        if slot.is_some_and(|slot| slot.is_window) {
            let selection = &mut kept.relation.selection;
            (selection.since, selection.until) = (None, None);
        }
        kept
    }

    /// Returns the words of the first difference to `other`: which property, what it is here and there.
    pub fn difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        fn text<T: Serialize>(value: &T) -> String {
            serde_json::to_string(value).expect("a definition has only string keys")
        }
        if let (Some(here), Some(there)) = (&self.meaning, &other.meaning) {
            let id = |of: &Meaning| format!("of id {}", text(&of.dataset));
            if here.dataset != there.dataset {
                return Some(("a dataset", id(here), id(there)));
            }
            if here.views != there.views {
                return Some(("the view", text(&here.views), text(&there.views)));
            }
        }
        let (a, b) = (&self.relation, &other.relation);
        let (x, y) = (&a.selection, &b.selection);
        let pairs = [
            ("the relation", text(&a.source), text(&b.source)),
            ("the columns", text(&x.columns), text(&y.columns)),
            ("the condition", text(&x.filter), text(&y.filter)),
            ("`since`", text(&x.since), text(&y.since)),
            ("`until`", text(&x.until), text(&y.until)),
            ("the format", text(&self.format), text(&other.format)),
            ("the destination", text(&self.destination), text(&other.destination)),
        ];
        pairs.into_iter().find(|(_, here, there)| here != there)
    }
}

/// A saved, named export with its cursor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// Its id.
    pub id: ExportId,
    /// Its workspace.
    pub workspace: WorkspaceId,
    /// Its name, unique in the workspace.
    pub name: String,
    /// What it does.
    pub definition: Definition,
    /// The last sealed `to` commit; 0 before the first.
    pub cursor: CommitNumber,
    /// The run that moved the cursor last.
    pub last_run: Option<RunId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// The commit after which its cursor began.
    pub began: CommitNumber,
    /// The commit at which its runs end, if another export goes on from there.
    pub bound: Option<CommitNumber>,
    /// The group that it is or was in, by name.
    pub group: Option<String>,
    /// Counts its edits, from 1.
    pub version: u64,
    /// When it runs by itself, and what its runs cover.
    pub schedule: Schedule,
    /// The dataset whose new rows start a run.
    pub watches: Option<DatasetId>,
    /// Whether it runs by itself.
    pub state: ExportState,
    /// Why it does not.
    pub reason: Option<String>,
    /// Runs that failed since the last one that was sealed.
    pub failures: u32,
    /// When a run is due next; for new rows, the earliest instant at which they start one.
    pub next_at: Option<DateTime<Utc>>,
    /// The end of the last window that has a run.
    pub covered: Option<DateTime<Utc>>,
}

impl Export {
    /// Makes an export that has delivered nothing and runs when somebody asks.
    pub fn new(
        workspace: WorkspaceId,
        name: impl Into<String>,
        definition: Definition,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            id: ExportId::mint(),
            workspace,
            name: name.into(),
            definition,
            cursor: CommitNumber(0),
            last_run: None,
            created_at: now,
            began: CommitNumber(0),
            bound: None,
            group: None,
            version: 1,
            schedule: Schedule::default(),
            watches: None,
            state: ExportState::Active,
            reason: None,
            failures: 0,
            next_at: None,
            covered: None,
        }
    }

    /// Returns the name of the export that delivers what came before this one began.
    pub fn backfill_name(&self) -> String {
        format!("{}.backfill", self.name)
    }

    /// Returns a text that stands for this version of it alone.
    pub fn tag(&self) -> String {
        format!("{}.{}", self.id, self.version)
    }
}

/// Whether an export runs by itself. Runs that somebody asks for are not held up by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportState {
    /// It does.
    #[default]
    Active,
    /// Somebody stopped it.
    Paused,
    /// Its runs fail for a reason that does not go away by itself; the cursor stays until somebody takes it up again.
    Broken,
}

/// Where the cursor of a saved export begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// At the first commit.
    #[default]
    Beginning,
    /// After the newest commit at that time.
    Now,
}

/// An export to be saved.
#[derive(Clone, Debug, PartialEq)]
pub struct SaveExport {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name, unique in the workspace.
    pub name: String,
    /// What it does.
    pub definition: Definition,
    /// When it runs by itself.
    pub schedule: Schedule,
    /// See [`Export::watches`].
    pub watches: Option<DatasetId>,
    /// Where its cursor begins, when it is made or begins again.
    pub begin: Begin,
    /// See [`Export::bound`].
    pub bound: Option<CommitNumber>,
    /// Deliver everything once more: without it what was begun goes on from its cursor, and must stay the same in relation and place.
    pub restart: bool,
    /// Who saves it.
    pub author: String,
    /// When.
    pub now: DateTime<Utc>,
}

/// How an export was saved once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExportVersion {
    /// Counts from 1.
    pub version: u64,
    /// What it did.
    pub definition: Definition,
    /// When it ran.
    pub schedule: Schedule,
    /// Who saved it.
    pub author: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// Whether a run moves a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Advance {
    /// From the cursor on; sealing moves it.
    Cursor,
    /// A range that was delivered before, once more; the cursor stays.
    Again,
    /// A run without a cursor.
    None,
}

/// A run to be opened. In one transaction the ledger reads the head, settles the range, saves the
/// export on its first use, and pins what the run needs.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// The id minted for it.
    pub id: RunId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The name of the saved export; none for a run without a cursor.
    pub export: Option<String>,
    /// What it does.
    pub definition: Definition,
    /// Whether it moves a cursor.
    pub advance: Advance,
    /// The exclusive lower end; the cursor (or 0) without it.
    pub from: Option<CommitNumber>,
    /// The inclusive upper end; the head without it.
    pub to: Option<CommitNumber>,
    /// When it is opened.
    pub now: DateTime<Utc>,
    /// Who opens it: names a process for people, not for locking.
    pub owner: String,
    /// Makes a repeat of the request find the run of the first time.
    pub key: Option<RunKey>,
    /// The version of the saved export that it is a run of; without it the definition is the caller's own.
    pub version: Option<u64>,
    /// The slot that it is opened for; the slot's job becomes the run's.
    pub slot: Option<OpenSlot>,
}

/// A run to be opened that writes the files of a sealed one again.
#[derive(Clone, Debug, PartialEq)]
pub struct Rerun {
    /// The id minted for it.
    pub id: RunId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The sealed run.
    pub of: RunId,
    /// When it is opened.
    pub now: DateTime<Utc>,
    /// Who opens it.
    pub owner: String,
    /// Makes a repeat of the request find the run of the first time.
    pub key: Option<RunKey>,
    /// Files of runs that were opened before are not kept any more.
    pub kept_since: DateTime<Utc>,
}

/// A slot for which a run is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSlot {
    /// Its job, which nobody else may have taken since.
    pub lease: JobLease,
    /// Whether the run covers a window of time, which is then no part of the export's definition.
    pub is_window: bool,
}

/// What makes a repeat of a request harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunKey {
    /// The client's word, unique in the workspace for [`crate::limits::KEY_DAYS`].
    pub key: String,
    /// A digest of what was asked for.
    pub fingerprint: String,
}
