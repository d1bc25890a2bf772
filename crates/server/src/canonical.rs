//! Canonical datasets, made where they are needed.

use bytes::Bytes;
use model::access::Scope;
use model::canonical::{Canonical, DATASETS};
use model::dataset::{CommitKind, Dataset, DatasetKind, NewCommit, SchemaStep};
use model::limits::KEY_DAYS;
use model::ports::{Catalog, CatalogError, Import, ImportContent, ImportFile, InputFormat};
use model::schema::{self, Field, Schema};
use model::{Clock, Code, Failure, Fault, WorkspaceId};
use serde_json::Value;

use crate::Core;
use crate::http::caller::Caller;
use crate::http::problem::Problem;

/// Times that others may change a dataset while it is looked at.
const TRIES: usize = 20;

/// Whether a dataset that is there may be given columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// It may.
    Allowed,
    /// Whoever asks may not change datasets.
    Refused,
}

/// Makes those of the named canonical datasets that are not there, and gives those that are there the columns that they lack. A name that a view has is left
/// alone: whoever made that maps tables of their own.
///
/// Shape: the datasets as they are then, in the order of their names.
///
/// # Errors
///
/// A column of another type, events by another time column, and whatever the catalog says. What was made before stays.
///
/// # Panics
///
/// If a name is none of a canonical dataset.
pub async fn ensure(
    (catalog, clock): (&dyn Catalog, &dyn Clock),
    workspace: &WorkspaceId,
    (names, growth): (&[&str], Growth),
) -> Result<Vec<Dataset>, Error> {
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let wanted = Canonical::named(name).expect("callers name canonical datasets");
        all.extend(one((catalog, clock), workspace, (wanted, growth)).await?);
    }
    Ok(all)
}

/// Does so for whoever asks with a token: only one that may write gives datasets columns.
pub(crate) async fn ensure_for(core: &Core, caller: &Caller, names: &[&str]) -> Result<(), Error> {
    let writes = caller.grant.allows(Scope::DataWrite);
    let growth = if writes { Growth::Allowed } else { Growth::Refused };
    let ports = (&*core.catalog, &*core.clock);
    ensure(ports, &caller.workspace, (names, growth)).await.map(drop)
}

/// Rows for one canonical dataset.
pub(crate) struct Rows {
    /// The dataset.
    pub(crate) dataset: &'static str,
    /// JSON objects.
    pub(crate) all: Vec<Value>,
    /// What makes a repeat add nothing.
    pub(crate) key: Option<String>,
}

/// Takes rows in, in one commit; durable when it returns. What was taken in under the same key before is not taken again, whatever it says now.
pub(crate) async fn take(core: &Core, workspace: &WorkspaceId, rows: Rows) -> Result<(), Problem> {
    let wanted = (&[rows.dataset][..], Growth::Allowed);
    let ensured = ensure((&*core.catalog, &*core.clock), workspace, wanted).await?;
    if ensured.is_empty() {
        let detail = format!(
            "the workspace has a view `{}`, and messages go into a dataset of that name; drop the view to take them in",
            rows.dataset
        );
        return Err(Problem::new(Code::Conflict, detail));
    }
    let lines: Vec<String> = rows.all.iter().map(|row| format!("{row}\n")).collect();
    let bytes = Bytes::from(lines.concat());
    let text_bytes_max = bytes.len() as u64;
    let content = ImportContent::Text { bytes, text_bytes_max };
    let import = Import {
        workspace: workspace.clone(),
        dataset: rows.dataset.into(),
        kind: DatasetKind::default(),
        time_column: None,
        schema: None,
        files: vec![ImportFile { name: "message".into(), content }],
        format: InputFormat::Jsonl,
        replace: None,
        batch: None,
        key: rows.key,
        key_days: Some(KEY_DAYS),
        rejects: None,
        receive_time: None,
        live: true,
    };
    let permit = core.room_for(text_bytes_max).await;
    match core.take_in(import, permit).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.downcast_ref(), Some(CatalogError::KeyReused { .. })) => {
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Does so for each there is.
///
/// # Errors
///
/// As [`ensure`].
pub async fn ensure_all(
    ports: (&dyn Catalog, &dyn Clock),
    workspace: &WorkspaceId,
) -> Result<Vec<Dataset>, Error> {
    let names = DATASETS.each_ref().map(|one| one.name);
    ensure(ports, workspace, (&names, Growth::Allowed)).await
}

async fn one(
    (catalog, clock): (&dyn Catalog, &dyn Clock),
    workspace: &WorkspaceId,
    (wanted, growth): (&Canonical, Growth),
) -> Result<Option<Dataset>, Error> {
    for _ in 0..TRIES {
        match catalog.dataset(workspace, wanted.name).await {
            Ok(dataset) => {
                let Some(next) = grown(&dataset, wanted)? else { return Ok(Some(dataset)) };
                if growth == Growth::Refused {
                    return Err(Error::Lacks { dataset: wanted.name });
                }
                let step = SchemaStep { seen: dataset.schema.id(), next };
                let commit = NewCommit::new(workspace.clone(), CommitKind::Append, dataset.id);
                let commit = NewCommit { schema: Some(step), ..commit };
                match catalog.commit(&commit, clock.now()).await {
                    Ok(_) | Err(CatalogError::Moved) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(CatalogError::NotFound { what: "dataset", .. }) => {
                let new = wanted.new_dataset();
                match catalog.create_dataset(workspace, &new, clock.now()).await {
                    Ok(made) => return Ok(Some(made)),
                    // Somebody else was faster, or it is a view.
                    Err(CatalogError::Exists { .. }) => {
                        if catalog.view(workspace, wanted.name).await.is_ok() {
                            return Ok(None);
                        }
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(CatalogError::Moved.into())
}

/// Returns the columns of a dataset with those that it lacks; none where it lacks none. Its own stay what they are.
fn grown(dataset: &Dataset, wanted: &Canonical) -> Result<Option<Schema>, Error> {
    let (name, canonical) = (wanted.name, wanted.schema());
    let fits = dataset.schema.evolve(&canonical);
    fits.map_err(|source| Error::Type { dataset: name, source })?;
    // Windows on what goes into a view are on it.
    let time = dataset.time_column.as_deref();
    if wanted.kind == DatasetKind::Event && time != Some(wanted.time_column) {
        let (wanted, have) = (wanted.time_column, time.unwrap_or("none").to_owned());
        return Err(Error::Time { dataset: name, wanted, have });
    }
    let has = |field: &Field| dataset.schema.field(&field.name).is_some();
    let lacking: Vec<_> = canonical.fields.into_iter().filter(|field| !has(field)).collect();
    let fields = dataset.schema.fields.iter().cloned();
    let next = (!lacking.is_empty()).then(|| fields.chain(lacking).collect());
    Ok(next.map(|fields| Schema { fields }))
}

/// Why a canonical dataset is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is there with other columns.
    #[error("the dataset `{dataset}` does not fit: {source}; see docs/guides/map-your-data.md")]
    Type {
        /// The dataset.
        dataset: &'static str,
        /// Which column.
        source: schema::Error,
    },
    /// It lacks columns, and whoever asks may not add them.
    #[error(
        "the dataset `{dataset}` lacks columns of the canonical one; run `sluice dataset canonical`, or see docs/guides/map-your-data.md"
    )]
    Lacks {
        /// The dataset.
        dataset: &'static str,
    },
    /// Its time column is another one.
    #[error(
        "the dataset `{dataset}` has the time column `{have}`, not `{wanted}`; see docs/guides/map-your-data.md"
    )]
    Time {
        /// The dataset.
        dataset: &'static str,
        /// The canonical one.
        wanted: &'static str,
        /// Its own.
        have: String,
    },
    /// The catalog says no, or does not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Type { source, .. } => source.code(),
            Self::Lacks { .. } | Self::Time { .. } => Code::Conflict,
            Self::Catalog(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Type { .. } | Self::Lacks { .. } | Self::Time { .. } => Fault::Source,
            Self::Catalog(error) => error.fault(),
        }
    }
}
