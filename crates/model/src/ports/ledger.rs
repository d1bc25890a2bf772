//! Saved exports, runs, parts, intents and pins.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::dataset::NewCommit;
use crate::export::{Export, NewRun, Rerun};
use crate::failure::{Code, Failure, Fault};
use crate::ids::{CommitNumber, RunId, WorkspaceId};
use crate::limits::RERUN_PARTS_MAX;
use crate::part::{Part, PartId, Receipt};
use crate::ports::CatalogError;
use crate::run::{FrozenManifest, Intent, Plan, Run, RunState};

/// A run that was opened, and the lease its opener holds.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The run, in state `planning`.
    pub run: Run,
    /// The lease.
    pub lease: Lease,
}

/// The right to write to one run. A later lease of the same run makes every write with this one fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The run.
    pub run: RunId,
    /// The number every write names; ascends with each holder.
    pub epoch: u64,
}

/// What was planned, what is written, and what is sealed. Only the coordinator writes it.
///
/// Every call is one transaction and durable when it returns. Every call that takes a [`Lease`] fails
/// with [`LedgerError::Fenced`] if the run has a newer epoch, and with [`LedgerError::State`] if the
/// run's state does not allow it. Calls are idempotent: repeating one with the same content after a lost
/// reply succeeds and changes nothing.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Opens a run: reads the head, settles the range, saves the export on its first use, inserts the
    /// pin, takes the first lease (epoch 1).
    ///
    /// Shape: without `to` the head (0 before the first commit); without `from` the cursor, or 0. With
    /// `Advance::Cursor` `from` must be the cursor (else `Overlap` or `Gap`), `to` must not be below it
    /// (`Overlap`); `to == from` is an empty range and allowed. With `Advance::Again` the range must lie
    /// within what was delivered (`to` at most the cursor, and the cursor is the default for `to`, 0 for
    /// `from`). A `to` beyond the head is `NoCommit`. A definition that differs from the saved one is
    /// `Differs`, unless the export was made by its first run, was never edited, no run of it was ever sealed and none is open: then it takes its
    /// place. A run of another version than the newest is `Changed`.
    /// An open run of the same export that moves its cursor is `Open`. A key that another run was opened with is
    /// `Repeated`, or `KeyReused` if something else was asked for.
    async fn open_run(&self, new: &NewRun) -> Result<Opened, LedgerError>;

    /// Opens a run that writes the files of a sealed one again, at the same place and with the same plan: `running`, with every part to be written.
    /// It moves no cursor. `Gone` where the files that it read are not kept any more.
    async fn open_rerun(&self, new: &Rerun) -> Result<Opened, LedgerError>;

    /// Takes the run over: epoch + 1. Fails with [`LedgerError::Leased`] while the lease is in force by
    /// the database's clock, unless the newest epoch is the one in `dead`, whose holder is proven to be gone
    /// (by a lock on the same host).
    async fn take_over(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        owner: &str,
        dead: Option<u64>,
    ) -> Result<Opened, LedgerError>;

    /// Renews the lease for [`crate::limits::LEASE_SECONDS`]; returns whether the run was asked to stop.
    async fn renew(&self, lease: &Lease) -> Result<bool, LedgerError>;

    /// Gives the lease back, so that the next holder need not wait. Not an error if it is gone.
    async fn release(&self, lease: &Lease) -> Result<(), LedgerError>;

    /// Writes parts of a run in `planning`. A part that is there already must be equal.
    async fn add_parts(&self, lease: &Lease, parts: &[Part]) -> Result<(), LedgerError>;

    /// Removes every part of a run in `planning`: the plan of a holder that died is made anew.
    async fn clear_parts(&self, lease: &Lease) -> Result<(), LedgerError>;

    /// Fixes the plan: `planning → running`. The parts in the ledger must be as many as the plan says and
    /// their rows must sum up to the plan's ([`LedgerError::Unbalanced`]).
    async fn planned(&self, lease: &Lease, plan: &Plan) -> Result<(), LedgerError>;

    /// Writes down which name a part is about to be written under, before it is; in `sealing`, to write a
    /// file again that is gone. Fails with
    /// [`LedgerError::Cancelling`] once the run was asked to stop.
    async fn intend(&self, lease: &Lease, part: PartId, intent: &Intent)
    -> Result<(), LedgerError>;

    /// Notes a part as written. With `remainder` the part is cut after `receipt.rows_read` input rows and
    /// the rest becomes that new part, in the same transaction; input rows of both together must be the
    /// part's (`Unbalanced`). Without one `receipt.rows_read` must be the part's planned rows.
    async fn finish_part(
        &self,
        lease: &Lease,
        part: PartId,
        receipt: &Receipt,
        remainder: Option<&Part>,
    ) -> Result<(), LedgerError>;

    /// Fixes the manifest's bytes: `running → sealing`. Checks that every part is written, that rows read
    /// are the rows planned, and that the manifest's totals are the sums of the receipts (`Unbalanced`).
    /// Fails with [`LedgerError::Cancelling`] once the run was asked to stop: what was asked before is
    /// never sealed.
    async fn freeze(&self, lease: &Lease, manifest: &FrozenManifest) -> Result<(), LedgerError>;

    /// Ends the seal: `sealing → sealed`, keeps the pin for [`Ledger::open_rerun`], and with `Advance::Cursor` moves the cursor
    /// from the run's `from` to its `to`.
    async fn sealed(&self, lease: &Lease, now: DateTime<Utc>) -> Result<(), LedgerError>;

    /// Seals a run that delivers into a dataset, in one transaction: what [`Ledger::freeze`] does, then the
    /// commits, one for each batch and none where nothing changes, then what [`Ledger::sealed`] does: `running → sealed`. So its rows are in the dataset exactly if it is sealed. What the
    /// catalog refuses is [`LedgerError::Catalog`], and nothing has changed then.
    async fn seal_into(
        &self,
        lease: &Lease,
        manifest: &FrozenManifest,
        commits: &[NewCommit],
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;

    /// Ends the run as `failed` or `cancelled` with a reason and removes its pin. Not from `sealing`.
    async fn end(
        &self,
        lease: &Lease,
        state: RunState,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;

    /// Notes that what a failed or cancelled run had written was taken away.
    async fn cleaned(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError>;

    /// Returns failed and cancelled runs, up to `limit`, that are to be cleaned up: nobody has done so, or not since
    /// [`crate::limits::LATE_HOURS`] after their end, before which a holder that froze may have written something late. Those that ended more than
    /// [`crate::limits::CLEAN_DAYS`] ago are given up.
    async fn uncleaned(
        &self,
        workspace: &WorkspaceId,
        now: DateTime<Utc>,
        limit: u32,
    ) -> Result<Vec<RunId>, LedgerError>;

    /// Asks whoever holds the run to stop. Refused in `sealing` and in final states.
    async fn ask_cancel(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Run, LedgerError>;

    /// Returns the run.
    async fn run(&self, workspace: &WorkspaceId, run: &RunId) -> Result<Run, LedgerError>;

    /// Returns runs, newest first, up to `limit`, opened before `before` if given.
    async fn runs(
        &self,
        workspace: &WorkspaceId,
        before: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<Run>, LedgerError>;

    /// Returns the run's parts in order, up to `limit` after `after`.
    async fn parts(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
        after: Option<PartId>,
        limit: u32,
    ) -> Result<Vec<Part>, LedgerError>;

    /// Returns every name the run has written or may have written.
    async fn intents(
        &self,
        workspace: &WorkspaceId,
        run: &RunId,
    ) -> Result<Vec<Intent>, LedgerError>;

    /// Returns the saved export of that name.
    async fn export(&self, workspace: &WorkspaceId, name: &str) -> Result<Export, LedgerError>;

    /// Returns the open run that would move the export's cursor, if there is one.
    async fn open_run_of(
        &self,
        workspace: &WorkspaceId,
        export: &str,
    ) -> Result<Option<Run>, LedgerError>;

    /// Returns the sealed run of the export that moved its cursor to exactly `to`.
    async fn sealed_at(
        &self,
        workspace: &WorkspaceId,
        export: &str,
        to: CommitNumber,
    ) -> Result<Option<Run>, LedgerError>;
}

/// What went wrong in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The named thing does not exist.
    #[error("no {what} `{name}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    NotFound {
        /// `run`, `export` or `group`.
        what: &'static str,
        /// The id or name asked for.
        name: String,
        /// The nearest name that exists.
        nearest: Option<String>,
    },
    /// A commit beyond the head was asked for.
    #[error("no commit {asked}; the newest is {head}")]
    NoCommit {
        /// The commit asked for.
        asked: CommitNumber,
        /// The newest.
        head: CommitNumber,
    },
    /// The range was delivered before.
    #[error(
        "`{export}` has delivered up to commit {cursor}; ({from}, {to}] overlaps that: leave the range out, or ask for it `again`"
    )]
    Overlap {
        /// The export.
        export: String,
        /// Its cursor.
        cursor: CommitNumber,
        /// The range asked for, exclusive lower end.
        from: CommitNumber,
        /// The range asked for, inclusive upper end.
        to: CommitNumber,
    },
    /// The range would leave commits undelivered.
    #[error(
        "`{export}` has delivered up to commit {cursor}; a run from {from} would leave a gap: leave its lower end out"
    )]
    Gap {
        /// The export.
        export: String,
        /// Its cursor.
        cursor: CommitNumber,
        /// The lower end asked for.
        from: CommitNumber,
    },
    /// A range to be delivered again that never was delivered.
    #[error(
        "`{export}` has delivered up to commit {cursor}; ({from}, {to}] was not delivered, so it cannot be delivered again"
    )]
    NotDelivered {
        /// The export.
        export: String,
        /// Its cursor.
        cursor: CommitNumber,
        /// The range asked for, exclusive lower end.
        from: CommitNumber,
        /// The range asked for, inclusive upper end.
        to: CommitNumber,
    },
    /// What it read is not kept any more.
    #[error(
        "the files that the run {run} read are not kept any more; deliver its range once more with a new run"
    )]
    Gone {
        /// The run.
        run: RunId,
    },
    /// An export that a group has.
    #[error("`{export}` is an export of the group `{group}`; edit that group")]
    InGroup {
        /// The export.
        export: String,
        /// The group.
        group: String,
    },
    /// Another export goes on from there.
    #[error(
        "`{export}` ends at commit {bound}, where another export goes on; leave the upper end out"
    )]
    Bound {
        /// The export.
        export: String,
        /// Where it ends.
        bound: CommitNumber,
    },
    /// Too many files to be written again.
    #[error(
        "the run {run} has {parts} parts, of at most {RERUN_PARTS_MAX} that are written again; deliver its range once more with a new run"
    )]
    ManyParts {
        /// The run.
        run: RunId,
        /// Its parts.
        parts: u64,
    },
    /// The lower end is above the upper one.
    #[error("the range ends at commit {to}, before it begins at {from}")]
    Backwards {
        /// The lower end.
        from: CommitNumber,
        /// The upper end.
        to: CommitNumber,
    },
    /// The saved export was first used with another definition.
    #[error(
        "`{export}` is saved with {property} {saved}, not {asked}; repeat it as saved or use another name"
    )]
    Differs {
        /// The export.
        export: String,
        /// What differs.
        property: &'static str,
        /// The saved value.
        saved: String,
        /// The value asked for.
        asked: String,
    },
    /// The export has an open run.
    #[error("`{export}` has an open run {run}; resume that run or cancel it")]
    Open {
        /// The export.
        export: String,
        /// The open run.
        run: RunId,
    },
    /// The run of this request was opened before.
    #[error("the run {run} was opened with this key")]
    Repeated {
        /// The run.
        run: RunId,
    },
    /// The key belongs to another request.
    #[error("the key `{key}` was used for another run; use a new key")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// Somebody else holds the run.
    #[error("the run {run} is being worked on by {owner}")]
    Leased {
        /// The run.
        run: RunId,
        /// Who holds it.
        owner: String,
    },
    /// A later holder has taken the run over.
    #[error("the run {run} was taken over by another process")]
    Fenced {
        /// The run.
        run: RunId,
    },
    /// Somebody asked the run to stop.
    #[error("the run {run} was asked to stop")]
    Cancelling {
        /// The run.
        run: RunId,
    },
    /// The run's state does not allow it.
    #[error("the run {run} is {}; it cannot {wanted}", state.as_str())]
    State {
        /// The run.
        run: RunId,
        /// Its state.
        state: RunState,
        /// What was wanted, as a verb: `be cancelled`.
        wanted: &'static str,
    },
    /// What was written is not what was planned.
    #[error("the run {run} does not add up: {what}")]
    Unbalanced {
        /// The run.
        run: RunId,
        /// Both sums.
        what: String,
    },
    /// There is an export of that name.
    #[error(
        "there is an export `{export}` already; edit it with its `ETag` in `If-Match`, or choose another name"
    )]
    Exists {
        /// The export.
        export: String,
    },
    /// Somebody else edited it.
    #[error("the export `{export}` was edited meanwhile; read it again")]
    Changed {
        /// The export.
        export: String,
    },
    /// What was delivered would not go on.
    #[error(
        "`{export}` has delivered up to commit {cursor} with {property} {saved}; ask for `restart` to deliver everything once more, or save it under another name"
    )]
    Restart {
        /// The export.
        export: String,
        /// Its cursor.
        cursor: CommitNumber,
        /// What differs.
        property: &'static str,
        /// The saved value.
        saved: String,
    },
    /// The workspace has as many exports as it may.
    #[error("the workspace has {most} exports, which is as many as there may be")]
    TooMany {
        /// How many.
        most: u64,
    },
    /// As many tickets wait as may.
    #[error("{most} exports wait for their turn, which is as many as may; fetch some first")]
    ManyTickets {
        /// How many.
        most: u64,
    },
    /// A ticket that waits or whose run is open.
    #[error("`{key}` is being made; wait until it is there")]
    UnderWay {
        /// Its key.
        key: String,
    },
    /// Somebody else took the slot that the run was opened for, or its export was paused since.
    #[error(
        "the slot of this run was taken by another process, or its export does not run by itself any more"
    )]
    SlotTaken,
    /// Rows that came in the place of others after the run's snapshot.
    #[error(
        "the rows of the dataset were replaced in commit {commit}, after the snapshot of the run {run} at commit {to}; run it again"
    )]
    Replaced {
        /// The run.
        run: RunId,
        /// Its snapshot.
        to: CommitNumber,
        /// The commit.
        commit: CommitNumber,
    },
    /// The dataset that a run delivers into does not take its rows.
    #[error(transparent)]
    Catalog(Box<CatalogError>),
    /// The metadata database did not answer or refused.
    #[error("the metadata database failed: {reason}")]
    Database {
        /// What it said, safe to show.
        reason: String,
        /// Whether asking again may work.
        retry: bool,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl From<CatalogError> for LedgerError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::Database { reason, retry, source } => {
                Self::Database { reason, retry, source }
            }
            refused => Self::Catalog(Box::new(refused)),
        }
    }
}

impl Failure for LedgerError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } | Self::NoCommit { .. } => Code::NotFound,
            Self::Gone { .. } => Code::Gone,
            Self::Backwards { .. } => Code::Invalid,
            Self::Overlap { .. }
            | Self::Gap { .. }
            | Self::NotDelivered { .. }
            | Self::Differs { .. }
            | Self::Open { .. }
            | Self::Repeated { .. }
            | Self::KeyReused { .. }
            | Self::Leased { .. }
            | Self::Fenced { .. }
            | Self::Cancelling { .. }
            | Self::Exists { .. }
            | Self::Changed { .. }
            | Self::Restart { .. }
            | Self::SlotTaken
            | Self::UnderWay { .. }
            | Self::Bound { .. }
            | Self::InGroup { .. }
            | Self::State { .. } => Code::Conflict,
            Self::ManyTickets { .. } => Code::RateLimited,
            Self::TooMany { .. } | Self::ManyParts { .. } => Code::TooLarge,
            Self::Catalog(error) => error.code(),
            // Whoever tries again reads what is there by then.
            Self::Replaced { .. } | Self::Database { retry: true, .. } => Code::Unavailable,
            Self::Unbalanced { .. } | Self::Database { .. } => Code::Internal,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Catalog(error) => error.fault(),
            Self::Fenced { .. }
            | Self::SlotTaken
            | Self::Unbalanced { .. }
            | Self::Database { .. } => Fault::Own,
            _ => Fault::Request,
        }
    }
}
