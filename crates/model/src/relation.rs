//! What can be exported, and what of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::DatasetId;
use crate::schema::Schema;

/// What rows are taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A dataset, by name.
    Dataset(String),
    /// A view, by name.
    View(String),
    /// One `SELECT`.
    Sql(String),
}

impl Source {
    /// Returns the word that names the source in paths: its name, or `sql`.
    pub fn label(&self) -> &str {
        match self {
            Self::Dataset(name) | Self::View(name) => name,
            Self::Sql(_) => "sql",
        }
    }
}

/// What of the source is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// The select list as SQL (`a, b, price*qty as total`); all stored columns without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<String>,
    /// A condition as SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Rows whose time is at or after this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// Rows whose time is before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

/// A source and what of it is taken: what a user asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relation {
    /// What rows are taken from.
    pub source: Source,
    /// What of it.
    #[serde(default)]
    pub selection: Selection,
}

/// A relation with every name resolved: all that is needed to turn input rows into output rows, with
/// no database and no clock. Plain data; the same for every part of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundRelation {
    /// One `SELECT` over `table`, row by row: projection and filter only.
    pub sql: String,
    /// The views that `sql` names, innermost first.
    pub views: Vec<BoundView>,
    /// The table that parts are cut from: the dataset, or the staged result.
    pub table: BoundTable,
    /// What `now()` means.
    pub now: DateTime<Utc>,
    /// The columns that come out.
    pub output: Schema,
    /// Whether a condition may drop rows; without one, rows out are rows in.
    pub filtered: bool,
}

/// A view inside a bound relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundView {
    /// The name that `sql` uses.
    pub name: String,
    /// Its text.
    pub sql: String,
}

/// The table of a bound relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundTable {
    /// The name that `sql` uses.
    pub name: String,
    /// The dataset; none for a staged result.
    pub dataset: Option<DatasetId>,
    /// The columns at the pinned commit. Files with fewer columns give nulls.
    pub schema: Schema,
    /// Whether the virtual columns `_commit` and `_commit_time` exist.
    pub virtual_columns: bool,
}
