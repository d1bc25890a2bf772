//! Work that waits in the metadata database until a process does it.

use chrono::{DateTime, Utc};

use crate::export::Definition;
use crate::ids::{CommitNumber, ExportId, JobId, RunId, WorkspaceId};
use crate::schedule::Slot;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// What is to be done.
    pub task: Task,
    /// Times that it was put off.
    pub attempts: u32,
    /// Since when it is due.
    pub due_at: DateTime<Utc>,
    /// The number of the newest lease: the run's own, if the task is a run.
    pub epoch: u64,
    /// Whether that lease is in force, by the database's clock.
    pub leased: bool,
    /// The number of the newest lease of the job itself, which of a run was its slot's.
    pub slot_epoch: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// A run of an export is to be opened.
    Slot {
        /// The export.
        export: ExportId,
        /// Its name.
        name: String,
        /// For when.
        slot: Slot,
    },
    /// A run is to be opened for somebody who has asked.
    Ticket {
        /// What for.
        definition: Box<Definition>,
        /// The range of commits `(from, to]`; up to the newest one without it.
        range: Option<(CommitNumber, CommitNumber)>,
    },
    /// An open run is to be brought to its end.
    Run {
        /// The run.
        run: RunId,
        /// Whether a slot asked for it.
        of_slot: bool,
        /// Whether it is of a ticket.
        of_ticket: bool,
    },
    /// The lake is to be looked after.
    Chore(Chore),
}

/// What is done for the lake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Small commits of a dataset, by name, that have become old are written as data files.
    Seal(String),
    /// Its small files are merged, and rows removed that are older than it keeps them.
    Care(String),
    /// Files of the workspace that nobody needs are deleted, and what failed runs have left is taken away.
    Sweep,
    /// What the ledger need not know any more is forgotten, of every workspace.
    Forget,
}

/// Who does a job: exports and upkeep have places of their own, so that neither waits for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// Slots, tickets and runs.
    Exports,
    /// Chores.
    Upkeep,
}

/// How urgent a job is among those of its workspace. Less urgent ones wait, but for those that have waited for
/// [`crate::limits::OVERDUE_SECONDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// It only has to be done some time.
    Whenever = 0,
    /// Soon: others read slower until it is done.
    Soon = 1,
    /// Its time has come.
    Due = 2,
    /// Somebody waits for it.
    Asked = 3,
}

/// The right to work on a job. A later lease of the same job takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobLease {
    /// The job.
    pub job: JobId,
    /// Ascends with each holder.
    pub epoch: u64,
}

/// Why a slot failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotFailure<'a> {
    /// In words.
    pub why: &'a str,
    /// Whether trying again may help.
    pub may_help: bool,
    /// The version of the export that failed, if that is known.
    pub version: Option<u64>,
}

/// What follows when a run of an export failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// It is tried again then.
    Again(DateTime<Utc>),
    /// The export stops running by itself until somebody takes it up again.
    Broken,
    /// It is over: whoever asked for it may ask again.
    Over,
    /// Nothing: there is no such slot any more, or somebody else has it.
    Nothing,
}
