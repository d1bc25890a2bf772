//! One execution of an export, and which state may follow which.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::export::{Advance, Definition};
use crate::format::Encoding;
use crate::ids::{CommitNumber, ExportId, ObjectKey, RunId, WorkspaceId};
use crate::into::IntoDataset;
use crate::naming;
use crate::ports::NameContext;
use crate::relation::BoundRelation;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Range and pin are fixed; parts are being written to the ledger.
    Planning,
    /// Every part is in the ledger; files are being made.
    Running,
    /// The manifest's bytes are fixed: from here it can only finish.
    Sealing,
    /// The manifest is in place and the cursor moved.
    Sealed,
    /// It cannot be finished.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl RunState {
    /// Every state, in the order in which a run meets them.
    pub const ALL: [Self; 6] =
        [Self::Planning, Self::Running, Self::Sealing, Self::Sealed, Self::Failed, Self::Cancelled];

    /// Returns the state as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Sealing => "sealing",
            Self::Sealed => "sealed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns the state that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Returns whether nothing follows.
    ///
    /// ```
    /// use model::run::RunState;
    /// assert!(RunState::Sealed.is_final());
    /// assert!(!RunState::Sealing.is_final());
    /// ```
    pub fn is_final(self) -> bool {
        matches!(self, Self::Sealed | Self::Failed | Self::Cancelled)
    }

    /// Returns whether `next` may follow: forward only, and a sealing run can only be sealed.
    ///
    /// ```
    /// use model::run::RunState::*;
    /// assert!(Running.may_become(Failed));
    /// assert!(!Sealing.may_become(Failed));
    /// assert!(!Sealed.may_become(Running));
    /// ```
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Planning => matches!(next, Self::Running | Self::Failed | Self::Cancelled),
            Self::Running => matches!(next, Self::Sealing | Self::Failed | Self::Cancelled),
            Self::Sealing => next == Self::Sealed,
            Self::Sealed | Self::Failed | Self::Cancelled => false,
        }
    }
}

/// A run as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its id.
    pub id: RunId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The saved export it belongs to.
    pub export: Option<ExportId>,
    /// The saved export's name.
    pub export_name: Option<String>,
    /// What it does, as it was when the run was opened.
    pub definition: Definition,
    /// Whether it moves a cursor.
    pub advance: Advance,
    /// Where it stands.
    pub state: RunState,
    /// The exclusive lower end of its range.
    pub from: CommitNumber,
    /// The inclusive upper end: the pinned snapshot.
    pub to: CommitNumber,
    /// The lease; every ledger write names it.
    pub epoch: u64,
    /// Whether somebody asked it to stop.
    pub cancel_asked: bool,
    /// What the plan fixed; none while planning.
    pub plan: Option<Plan>,
    /// The manifest's exact bytes, from `sealing` on.
    pub manifest: Option<FrozenManifest>,
    /// Why it failed.
    pub error: Option<String>,
    /// Who works or worked on it, for people.
    pub owner: String,
    /// Whether its lease is in force, by the database's clock.
    pub leased: bool,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it reached a final state.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Run {
    /// Returns the run's folder, relative to the destination's root: as its template says, or `<export or relation>/<run id>`; in the lake
    /// the id alone, since names may hold what its keys do not.
    pub fn folder(&self) -> String {
        if IntoDataset::of(&self.definition.destination).is_some() {
            return self.id.to_string();
        }
        let names = self.names();
        let template = self.definition.format.folder.as_deref();
        // It was rendered before the run was opened.
        let chosen = template.and_then(|template| naming::folder(template, &names).ok());
        chosen.unwrap_or_else(|| format!("{}/{}", names.export, names.run))
    }

    /// Returns what names of its folder and files may speak of.
    pub fn names(&self) -> NameContext {
        let label = self.definition.relation.source.label();
        NameContext {
            export: self.export_name.clone().unwrap_or_else(|| label.to_owned()),
            run: self.id.to_string(),
            from: self.from.0,
            to: self.to.0,
            opened_at: self.created_at,
        }
    }

    /// Returns where the manifest goes, relative to the destination's root.
    pub fn manifest_key(&self) -> ObjectKey {
        ObjectKey::new(format!("{}/manifest.json", self.folder()))
    }
}

/// A run as it is looked at: without the texts of its plan and manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct RunStatus {
    /// Its id.
    pub id: RunId,
    /// The saved export's name.
    pub export_name: Option<String>,
    /// What it does, as it was when the run was opened.
    pub definition: Definition,
    /// Whether it moves a cursor.
    pub advance: Advance,
    /// Where it stands.
    pub state: RunState,
    /// The exclusive lower end of its range.
    pub from: CommitNumber,
    /// The inclusive upper end.
    pub to: CommitNumber,
    /// Whether somebody asked it to stop.
    pub cancel_asked: bool,
    /// Whether its lease is in force: somebody works on it.
    pub leased: bool,
    /// Why it failed.
    pub error: Option<String>,
    /// Why it could not be finished when somebody last tried.
    pub delay: Option<String>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it reached a final state.
    pub ended_at: Option<DateTime<Utc>>,
    /// The sums of its manifest, once its bytes are fixed.
    pub sums: Option<Sums>,
    /// How far it has come, where that was asked for.
    pub progress: Option<RunProgress>,
}

/// What a manifest comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    /// SHA-256 of its text, bare lower-case hex.
    pub sha256: String,
    /// Rows of all files.
    pub rows: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// How far a run has come: sums over its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunProgress {
    /// Parts that there are.
    pub parts: u64,
    /// Parts that are written.
    pub parts_written: u64,
    /// Input rows of all parts.
    pub rows_planned: u64,
    /// Input rows of the written ones.
    pub rows_read: u64,
    /// Rows in their files.
    pub rows: u64,
    /// Bytes of their files.
    pub bytes: u64,
}

/// What planning fixed for the whole run, besides the parts themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How input rows become output rows.
    pub relation: BoundRelation,
    /// How output rows become bytes.
    pub encoding: Encoding,
    /// Parts in the plan, before any was split.
    pub parts: u64,
    /// Input rows of all parts.
    pub rows: u64,
    /// Commits of kind replace or revert in the range.
    pub reset: Vec<CommitNumber>,
    /// Whether receipts carry md5 too.
    pub md5: bool,
}

/// A manifest whose bytes are fixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrozenManifest {
    /// Its text.
    pub text: String,
    /// SHA-256 of the text, bare lower-case hex.
    pub sha256: String,
    /// Rows it names.
    pub rows: u64,
    /// Bytes of the files it names.
    pub bytes: u64,
    /// Files it names.
    pub files: u64,
    /// The list of files beside it, if it was too long for the manifest itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sidecar: Option<Sidecar>,
}

/// A list of files beside a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Its name, relative to the run's folder.
    pub name: String,
    /// Its text: one manifest file entry a line.
    pub text: String,
}

/// A name that a run writes or may have written, before it does: what clean-up follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The lease under which it is written.
    pub epoch: u64,
    /// Where the file goes, relative to the destination's root.
    pub key: ObjectKey,
    /// The token that unfinished uploads of it carry.
    pub token: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_reads_back_as_itself() {
        for state in RunState::ALL {
            assert_eq!(RunState::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn nothing_follows_a_final_state() {
        for state in RunState::ALL {
            let goes_on = RunState::ALL.iter().any(|next| state.may_become(*next));
            assert_eq!(goes_on, !state.is_final());
        }
    }
}
