//! Canonical datasets, made where they are needed.

use model::canonical::{Canonical, DATASETS};
use model::dataset::{CommitKind, Dataset, NewCommit, SchemaStep};
use model::ports::{Catalog, CatalogError};
use model::schema;
use model::{Clock, Code, Failure, Fault, WorkspaceId};

/// Times that others may change a dataset while it is looked at.
const TRIES: usize = 20;

/// Makes those of the named canonical datasets that are not there, and gives those that are there the columns that they lack.
///
/// Shape: the datasets as they are then, in the order of their names.
///
/// # Errors
///
/// A column of another type, and whatever the catalog says. What was made before stays.
///
/// # Panics
///
/// If a name is none of a canonical dataset.
pub async fn ensure(
    (catalog, clock): (&dyn Catalog, &dyn Clock),
    workspace: &WorkspaceId,
    names: &[&str],
) -> Result<Vec<Dataset>, Error> {
    let mut all = Vec::with_capacity(names.len());
    for name in names {
        let wanted = Canonical::named(name).expect("callers name canonical datasets");
        all.push(one((catalog, clock), workspace, wanted).await?);
    }
    Ok(all)
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
    ensure(ports, workspace, &DATASETS.each_ref().map(|one| one.name)).await
}

async fn one(
    (catalog, clock): (&dyn Catalog, &dyn Clock),
    workspace: &WorkspaceId,
    wanted: &Canonical,
) -> Result<Dataset, Error> {
    for _ in 0..TRIES {
        match catalog.dataset(workspace, wanted.name).await {
            Ok(dataset) => {
                let next = dataset.schema.evolve(&wanted.schema());
                let next = next.map_err(|source| Error::Type { dataset: wanted.name, source })?;
                if next == dataset.schema {
                    return Ok(dataset);
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
                    Ok(made) => return Ok(made),
                    // Somebody else was faster, if it is a dataset.
                    Err(CatalogError::Exists { .. })
                        if catalog.dataset(workspace, wanted.name).await.is_ok() => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(CatalogError::Moved.into())
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
    /// The catalog says no, or does not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Type { source, .. } => source.code(),
            Self::Catalog(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Type { .. } => Fault::Source,
            Self::Catalog(error) => error.fault(),
        }
    }
}
