//! Saved exports and what a run is asked to do.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::format::FormatSpec;
use crate::ids::{CommitNumber, DatasetId, ExportId, RunId, WorkspaceId};
use crate::relation::{BoundRelation, BoundView, Relation};

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
}

/// What makes a repeat of a request harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunKey {
    /// The client's word, unique in the workspace for [`crate::limits::KEY_DAYS`].
    pub key: String,
    /// A digest of what was asked for.
    pub fingerprint: String,
}
