//! Groups of exports: several datasets with one trigger, one format and one destination.
//!
//! Contract: each dataset of a group has a saved export of its own, named `group.dataset`, with its own cursor and runs. A dataset that comes later begins with
//! all of its rows; one that leaves keeps its export, paused.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::export::{Export, SaveExport};
use crate::format::FormatSpec;
use crate::ids::{GroupId, WorkspaceId};
use crate::relation::Selection;
use crate::schedule::Schedule;

/// A group of exports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Never changes.
    pub id: GroupId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Unique in the workspace.
    pub name: String,
    /// What its exports have in common.
    pub terms: GroupTerms,
    /// Counts its edits, from 1.
    pub version: u64,
    /// Who saved it last.
    pub author: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was saved last.
    pub updated_at: DateTime<Utc>,
}

/// What the exports of a group have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupTerms {
    /// The datasets, in order.
    pub datasets: Vec<String>,
    /// What is taken of each.
    pub selection: Selection,
    /// As what.
    pub format: FormatSpec,
    /// Where to.
    pub destination: String,
    /// When they run, and what a run covers.
    pub schedule: Schedule,
}

impl Group {
    /// Returns a text that stands for this version of it alone.
    pub fn tag(&self) -> String {
        format!("{}.{}", self.id, self.version)
    }
}

/// Returns the name of the export of a dataset in a group.
///
/// ```
/// assert_eq!(model::group::member("nightly", "orders"), "nightly.orders");
/// ```
pub fn member(group: &str, dataset: &str) -> String {
    format!("{group}.{dataset}")
}

/// A group to be saved.
#[derive(Clone, Debug, PartialEq)]
pub struct SaveGroup {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its name, unique in the workspace.
    pub name: String,
    /// What its exports have in common.
    pub terms: GroupTerms,
    /// Its exports, in the order of the datasets.
    pub members: Vec<SaveExport>,
    /// Who saves it.
    pub author: String,
    /// When.
    pub now: DateTime<Utc>,
}

/// A group with its exports.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupExports {
    /// The group.
    #[serde(flatten)]
    pub group: Group,
    /// The exports of its datasets, in their order.
    pub exports: Vec<Export>,
}
