//! What can go wrong with a run as a whole.

use std::error::Error as StdError;
use std::fmt;

use model::ports::LedgerError;
use model::run::RunState;
use model::{Code, CommitNumber, Failure, Fault, ObjectKey, PortError, RunId};

use crate::stop::Why;
use crate::{cut, deliver, part};

/// Why a run was not planned, not finished or not cancelled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger refused or failed.
    #[error(transparent)]
    Ledger(LedgerError),
    /// The lake, the encoder or the opening of the destination failed.
    #[error(transparent)]
    Port(#[from] Port),
    /// A part failed.
    #[error(transparent)]
    Part(#[from] part::Error),
    /// The seal could not be delivered.
    #[error(transparent)]
    Deliver(#[from] deliver::Error),
    /// The rows cannot be cut into files as asked.
    #[error(transparent)]
    Cut(#[from] cut::Error),
    /// The relation does not map the rows of one dataset one by one.
    #[error(
        "`{relation}` cannot be exported incrementally: only rows of one dataset, one by one, can; leave the name of the export out"
    )]
    NotIncremental {
        /// The relation.
        relation: String,
    },
    /// The slots of an export with windows say which time its runs cover.
    #[error("the slots say which time a window covers; leave `since` and `until` out")]
    WindowTwice,
    /// A window has its run when it is over.
    #[error(
        "a window of `{export}` has its run when it is over; for another time ask for a single run with `since` and `until`"
    )]
    WindowNotOver {
        /// The export.
        export: String,
    },
    /// New rows of several datasets start no run.
    #[error(
        "new rows start runs of a dataset only; use a trigger of kind `cron` or `every`, or export the dataset with `columns` and `where`"
    )]
    NothingToWatch,
    /// There is no cursor without a name.
    #[error("an incremental export needs a name; give it one")]
    Unnamed,
    /// The run has ended.
    #[error("the run {run} is {}; start a new one", state.as_str())]
    Over {
        /// The run.
        run: RunId,
        /// Its state.
        state: RunState,
    },
    /// Somebody stopped the run.
    #[error("the run {run} was cancelled")]
    Cancelled {
        /// The run.
        run: RunId,
    },
    /// Another version of the program planned the run.
    #[error(
        "the run {run} was planned with encoder `{planned}`, this program has `{here}`; cancel that run and start a new one"
    )]
    OtherEncoder {
        /// The run.
        run: RunId,
        /// The encoder of the plan.
        planned: String,
        /// The encoder at hand.
        here: String,
    },
    /// A part of the rows in the place of all.
    #[error(
        "only all rows can come in the place of those that the dataset `{dataset}` has: use the mode `full`, one dataset, and no range of commits; or leave `write=replace` out"
    )]
    ReplacesByPart {
        /// The dataset.
        dataset: String,
    },
    /// More files than one transaction brings.
    #[error(
        "the run has more than {most} files for the dataset `{dataset}`, which can be seen all at once; let files have more rows, or take a smaller range"
    )]
    ManyFiles {
        /// The dataset.
        dataset: String,
        /// How many there may be.
        most: u64,
    },
    /// Its rows are in a dataset.
    #[error(
        "the rows of the run {run} are in the dataset `{dataset}`, where they would come twice; export that dataset"
    )]
    InDataset {
        /// The run.
        run: RunId,
        /// The dataset.
        dataset: String,
    },
    /// A sealed run that another version of the program wrote.
    #[error(
        "the run {run} was written by another version of the program, which this one cannot write byte by byte; deliver its range once more with a new run"
    )]
    EncoderGone {
        /// The run.
        run: RunId,
    },
    /// A sealed run whose rows were put together for it alone.
    #[error(
        "the rows of the run {run} were put together by SQL for it alone and are not kept; deliver its range once more with a new run"
    )]
    WasStaged {
        /// The run.
        run: RunId,
    },
    /// An export before which there is nothing.
    #[error(
        "`{export}` delivers from the first commit on, or windows of time; there is nothing before it to backfill"
    )]
    NothingBefore {
        /// The export.
        export: String,
    },
    /// Everything before an export is delivered.
    #[error("`{export}` has delivered everything up to commit {bound}, where the export began")]
    Backfilled {
        /// The export of what came before.
        export: String,
        /// Where the other began.
        bound: CommitNumber,
    },
    /// An export has the name that a backfill has.
    #[error(
        "`{export}` is not the backfill up to commit {bound}: it is another export, or of an earlier beginning; save this one under another name"
    )]
    OtherBackfill {
        /// The export.
        export: String,
        /// Where the backfill would end.
        bound: CommitNumber,
    },
    /// An export that begins now, where that has no meaning.
    #[error(
        "only an incremental export can begin at the newest commit; windows begin at the start of their schedule"
    )]
    BeginsNow,
    /// A name that no export can have.
    #[error(transparent)]
    Name(#[from] model::names::BadName),
    /// A group that cannot be.
    #[error("the group cannot be saved: {why}")]
    BadGroup {
        /// Why.
        why: String,
    },
    /// What is wrong with one dataset of a group.
    #[error("of the dataset `{dataset}`: {source}")]
    OfDataset {
        /// The dataset.
        dataset: String,
        /// What is wrong.
        #[source]
        source: Box<Error>,
    },
    /// The task of a part died.
    #[error("a part of the run {run} broke off")]
    Broken {
        /// The run.
        run: RunId,
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
    /// The ledger's words contradict each other.
    #[error("the run {run} cannot go on: {what}")]
    Inconsistent {
        /// The run.
        run: RunId,
        /// What is missing.
        what: &'static str,
    },
    /// The manifest is fixed but could not be delivered, so that the run can only finish; or what we keep ourselves does not answer,
    /// which is no reason to give up what is written.
    #[error("{source}; mend that, then resume the run {run}")]
    StaysOpen {
        /// The run.
        run: RunId,
        /// Why it did not finish.
        source: Box<Error>,
    },
    /// The run ended with an error and not all files could be taken away.
    #[error("{source}; left in place, as it may not be ours: {}", list(left))]
    Left {
        /// The files, relative to the destination's root.
        left: Vec<ObjectKey>,
        /// Why the run ended.
        source: Box<Error>,
    },
}

impl Error {
    /// Returns whether another process has taken the run over.
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Ledger(LedgerError::Fenced { .. }))
    }

    /// Returns whether the run ended because somebody cancelled it, files left behind or not.
    pub(crate) fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled { .. } => true,
            Self::Left { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }

    /// Returns whether the work only stopped because it was told to.
    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self, Self::Part(part::Error::Stopped))
    }

    /// Returns the error for work that was told to stop.
    pub(crate) fn stopped(run: &RunId, why: Why) -> Self {
        let run = run.clone();
        match why {
            Why::Cancelled => Self::Cancelled { run },
            Why::Fenced => LedgerError::Fenced { run }.into(),
            Why::Failed => part::Error::Stopped.into(),
        }
    }

    /// Returns the error with the names of files that stay behind.
    pub(crate) fn leaving(self, left: Vec<ObjectKey>) -> Self {
        if left.is_empty() { self } else { Self::Left { left, source: Box::new(self) } }
    }
}

impl From<LedgerError> for Error {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Cancelling { run } => Self::Cancelled { run },
            other => Self::Ledger(other),
        }
    }
}

impl From<PortError> for Error {
    fn from(error: PortError) -> Self {
        Self::Port(Port(error))
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Ledger(error) => error.code(),
            Self::Port(error) => error.code(),
            Self::Part(error) => error.code(),
            Self::Deliver(error) => error.code(),
            Self::Cut(error) => error.code(),
            Self::NotIncremental { .. }
            | Self::Unnamed
            | Self::WindowTwice
            | Self::BadGroup { .. }
            | Self::BeginsNow
            | Self::Name(_)
            | Self::ReplacesByPart { .. }
            | Self::NothingToWatch => Code::Invalid,
            Self::EncoderGone { .. } => Code::Gone,
            Self::ManyFiles { .. } => Code::TooLarge,
            Self::WindowNotOver { .. }
            | Self::WasStaged { .. }
            | Self::InDataset { .. }
            | Self::Over { .. }
            | Self::Cancelled { .. }
            | Self::NothingBefore { .. }
            | Self::Backfilled { .. }
            | Self::OtherBackfill { .. }
            | Self::OtherEncoder { .. } => Code::Conflict,
            Self::Broken { .. } | Self::Inconsistent { .. } => Code::Internal,
            Self::OfDataset { source, .. }
            | Self::StaysOpen { source, .. }
            | Self::Left { source, .. } => source.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Ledger(error) => error.fault(),
            Self::Port(error) => error.fault(),
            Self::Part(error) => error.fault(),
            Self::Deliver(error) => error.fault(),
            Self::Cut(error) => error.fault(),
            Self::NotIncremental { .. }
            | Self::Unnamed
            | Self::WindowTwice
            | Self::WindowNotOver { .. }
            | Self::NothingToWatch
            | Self::Over { .. }
            | Self::Cancelled { .. }
            | Self::EncoderGone { .. }
            | Self::WasStaged { .. }
            | Self::InDataset { .. }
            | Self::ManyFiles { .. }
            | Self::ReplacesByPart { .. }
            | Self::NothingBefore { .. }
            | Self::Backfilled { .. }
            | Self::OtherBackfill { .. }
            | Self::BeginsNow
            | Self::Name(_)
            | Self::BadGroup { .. }
            | Self::OtherEncoder { .. } => Fault::Request,
            Self::Broken { .. } | Self::Inconsistent { .. } => Fault::Own,
            Self::OfDataset { source, .. }
            | Self::StaysOpen { source, .. }
            | Self::Left { source, .. } => source.fault(),
        }
    }
}

fn list(keys: &[ObjectKey]) -> String {
    /// Names shown in one message.
    const SHOWN: usize = 5;
    let mut text: Vec<_> = keys.iter().take(SHOWN).map(|key| format!("`{key}`")).collect();
    if keys.len() > SHOWN {
        text.push(format!("and {} more", keys.len() - SHOWN));
    }
    text.join(", ")
}

/// What a port said, as an error with its chain of causes.
#[derive(Debug)]
pub struct Port(PortError);

impl Port {
    /// Returns what the port said.
    pub fn inner(&self) -> &PortError {
        &self.0
    }
}

impl From<PortError> for Port {
    fn from(error: PortError) -> Self {
        Self(error)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Port {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.as_error().source()
    }
}

impl Failure for Port {
    fn code(&self) -> Code {
        self.0.code()
    }

    fn fault(&self) -> Fault {
        self.0.fault()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_run_is_one_also_where_files_stay() {
        let cancelled = || Error::Cancelled { run: RunId::new("r") };
        assert!(cancelled().is_cancelled());
        assert!(cancelled().leaving(vec![ObjectKey::new("k")]).is_cancelled());
        assert!(!Error::Unnamed.leaving(vec![ObjectKey::new("k")]).is_cancelled());
    }
}
