//! Files of sealed runs, as doors and links give them out.

use bytes::Bytes;
use model::into::IntoDataset;
use model::part::Receipt;
use model::ports::{LedgerError, Runs};
use model::run::{RunState, RunStatus};
use model::{Code, Failure, Fault, RunId, WorkspaceId};
use run::Destinations;

use crate::Core;
use crate::http::download::{Content, Download};

/// What the manifest is called.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Returns the manifest of a sealed run.
pub(crate) async fn manifest(
    core: &Core,
    workspace: &WorkspaceId,
    run: &RunId,
) -> Result<Download, Error> {
    let run = core.executor.ledger.run(workspace, run).await?;
    let Some(frozen) = run.manifest.filter(|_| run.state == RunState::Sealed) else {
        return Err(Error::NotSealed { run: run.id, state: run.state });
    };
    let bytes = frozen.text.len() as u64;
    let content = Content::Memory(Bytes::from(frozen.text));
    let named = (MANIFEST.into(), "application/json");
    Ok(Download::summed(named, (bytes, frozen.sha256), content))
}

/// Returns a file of a sealed run in a managed destination by its place in the manifest, from 1.
pub(crate) async fn file(
    core: &Core,
    workspace: &WorkspaceId,
    run: &RunId,
    number: u64,
) -> Result<Download, Error> {
    let status = held(&*core.executor.runs, &*core.destinations, (workspace, run)).await?;
    let found = core.executor.runs.files(workspace, run, number, 1).await?;
    let receipt = found.into_iter().next().ok_or_else(|| Error::missing(&status, number))?;
    let objects = core.destinations.open(workspace, &status.definition.destination).await;
    let objects = objects.map_err(run::Port::from)?;
    let name = name(&receipt).to_owned();
    let kind = media_type(&name);
    let content = Content::Stored(objects, receipt.key);
    let file = Download::summed((name, kind), (receipt.bytes, receipt.sha256), content);
    Ok(Download { md5: receipt.md5, ..file })
}

/// Returns a run whose files we have: it is sealed, and they are in a managed destination.
pub(crate) async fn held(
    runs: &dyn Runs,
    destinations: &dyn Destinations,
    (workspace, run): (&WorkspaceId, &RunId),
) -> Result<RunStatus, Error> {
    let status = runs.brief(workspace, run).await?;
    if status.state != RunState::Sealed {
        return Err(Error::NotSealed { run: status.id, state: status.state });
    }
    let destination = &status.definition.destination;
    if let Some(into) = IntoDataset::of(destination) {
        return Err(Error::InDataset { run: status.id, dataset: into.dataset });
    }
    if !destinations.is_managed(destination) {
        return Err(Error::Elsewhere { run: status.id });
    }
    Ok(status)
}

/// Returns what a file may be saved as: its name without folders.
pub(crate) fn name(receipt: &Receipt) -> &str {
    receipt.key.as_str().rsplit('/').next().unwrap_or_default()
}

/// Returns what a file is by its name; a packed one is what it is packed as, since its bytes are what was summed.
fn media_type(name: &str) -> &'static str {
    let kinds = [
        (".gz", "application/gzip"),
        (".zst", "application/zstd"),
        (".jsonl", "application/x-ndjson"),
        (".csv", "text/csv"),
        (".parquet", "application/vnd.apache.parquet"),
    ];
    let kind = kinds.into_iter().find(|(end, _)| name.ends_with(end));
    kind.map_or("application/octet-stream", |(_, kind)| kind)
}

/// Why there is no file to be given out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is under way, or it failed.
    #[error("the run {run} is {}; there are files once it is sealed", state.as_str())]
    NotSealed {
        /// The run.
        run: RunId,
        /// Its state.
        state: RunState,
    },
    /// We do not have them.
    #[error("the files of the run {run} went to a destination of their own; fetch them there")]
    Elsewhere {
        /// The run.
        run: RunId,
    },
    /// They became rows.
    #[error(
        "the rows of the run {run} are in the dataset `{dataset}`; ask for rows there, or export that dataset"
    )]
    InDataset {
        /// The run.
        run: RunId,
        /// The dataset.
        dataset: String,
    },
    /// A number that none of its files has.
    #[error("the run {run} has no file {number}; it has {files}")]
    NoFile {
        /// The run.
        run: RunId,
        /// The number.
        number: u64,
        /// How many it has.
        files: u64,
    },
    /// The ledger says no, or does not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The destination says no, or does not answer.
    #[error(transparent)]
    Destination(#[from] run::Port),
}

impl Error {
    /// Makes the error for a number that none of a run's files has.
    pub(crate) fn missing(run: &RunStatus, number: u64) -> Self {
        let files = run.sums.as_ref().map_or(0, |sums| sums.files);
        Self::NoFile { run: run.id.clone(), number, files }
    }
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::NotSealed { .. } | Self::Elsewhere { .. } | Self::InDataset { .. } => {
                Code::Conflict
            }
            Self::NoFile { .. } => Code::NotFound,
            Self::Ledger(error) => error.code(),
            Self::Destination(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::NotSealed { .. }
            | Self::Elsewhere { .. }
            | Self::InDataset { .. }
            | Self::NoFile { .. } => Fault::Request,
            Self::Ledger(error) => error.fault(),
            Self::Destination(error) => error.fault(),
        }
    }
}
