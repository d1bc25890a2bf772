//! Files that runs wrote as data files of a dataset.
//!
//! Contract: nothing is written and nothing committed. A file is taken as it is, so it has to be what the lake itself
//! writes: Parquet, in a codec that it keeps, whose columns the dataset has or gets. Its footer is read for statistics.

use std::sync::Arc;

use async_trait::async_trait;
use futures::{FutureExt, StreamExt, TryStreamExt};
use model::dataset::{
    COMMIT_COLUMN, COMMIT_TIME_COLUMN, CommitKind, Dataset, DatasetKind, NewCommit, NewDataset,
    NewFile, Removal, SchemaStep,
};
use model::format::Encoding;
use model::into::{IntoDataset, Write};
use model::ports::{Arrival, Bind, CatalogError, Intake, Stage};
use model::schema::{Field, Schema, Type};
use model::{
    Code, DatasetId, Failure, Fault, FileId, ObjectKey, PortError, RunId, WorkspaceId, schema,
};
use object_store::path::Path;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

use crate::Lake;
use crate::files::{codec_of, statistics_of};
use crate::read::{self, LakeFile};

/// Footers read at the same time.
const FOOTERS_AT_ONCE: usize = 8;

/// The compressions in which the lake keeps files.
const CODECS: [&str; 2] = ["zstd", "snappy"];

#[async_trait]
impl Intake for Lake {
    async fn check(
        &self,
        into: &IntoDataset,
        bind: &Bind,
        (output, encoding): (&Schema, &Encoding),
    ) -> Result<(), PortError> {
        let IntoDataset { dataset: name, .. } = into;
        let spec = &encoding.spec;
        if spec.format != "parquet" || !CODECS.contains(&&*encoding.compression) {
            let (dataset, format) = (name.clone(), spec.format.clone());
            let compression = encoding.compression.clone();
            return Err(Error::Form { dataset, format, compression }.into());
        }
        if spec.name.is_some() || spec.folder.is_some() {
            return Err(Error::Named { dataset: name.clone() }.into());
        }
        let base = self.base(&bind.workspace, name).await?;
        if base.is_none() && self.catalog.view(&bind.workspace, name).await.is_ok() {
            return Err(CatalogError::Exists { what: "view", name: name.clone() }.into());
        }
        fit(name, base.as_ref(), output)?;
        let Some(base) = base else { return Ok(()) };
        // As if it were for a run, so that no bytes are fetched.
        let stage = Stage::Into { run: RunId::mint(bind.now), epoch: 0 };
        let (resolved, _) = self.resolve_relation(&Bind { stage, ..bind.clone() }).await?;
        let reads = resolved.tables.iter().any(|table| table.snapshot.dataset.id == base.id);
        if reads { Err(Error::Reads { dataset: name.clone() }.into()) } else { Ok(()) }
    }

    async fn commits(
        &self,
        workspace: &WorkspaceId,
        into: &IntoDataset,
        (columns, arrivals): (&Schema, &[Arrival]),
    ) -> Result<Vec<NewCommit>, PortError> {
        let base = self.base(workspace, &into.dataset).await?;
        let replaces = into.write == Write::Replace && base.is_some();
        if arrivals.is_empty() && base.is_some() && !replaces {
            return Ok(Vec::new());
        }
        let schema = fit(&into.dataset, base.as_ref(), columns)?;
        let folder = IntoDataset::folder(workspace);
        let mut files = Vec::with_capacity(arrivals.len());
        for (place, arrival) in arrivals.iter().enumerate() {
            let key = ObjectKey::new(format!("{folder}/{}", arrival.key));
            files.push(self.arrived(place as u64, key, arrival, &schema).boxed());
        }
        let files: Vec<NewFile> =
            futures::stream::iter(files).buffered(FOOTERS_AT_ONCE).try_collect().await?;
        let id = base.as_ref().map_or_else(DatasetId::mint, |base| base.id.clone());
        let mut first = NewCommit::new(workspace.clone(), CommitKind::Append, id.clone());
        if replaces {
            (first.kind, first.remove) = (CommitKind::Replace, Removal::All);
        }
        let seen = base.as_ref().map_or_else(|| schema.id(), |base| base.schema.id());
        first.create = base.is_none().then(|| NewDataset {
            id: id.clone(),
            name: into.dataset.clone(),
            kind: DatasetKind::Event,
            time_column: None,
            schema: schema.clone(),
        });
        first.schema = Some(SchemaStep { seen, next: schema.clone() });
        let mut commits = vec![first];
        // Files of one batch follow each other.
        for file in files {
            let last = commits.last_mut().expect("there is a first one");
            if last.batch.as_ref().is_none_or(|batch| *batch == file.batch) {
                last.batch = Some(file.batch.clone());
                last.files.push(file);
                continue;
            }
            let mut next = NewCommit::new(workspace.clone(), CommitKind::Append, id.clone());
            next.schema = Some(SchemaStep { seen: schema.id(), next: schema.clone() });
            next.batch = Some(file.batch.clone());
            next.files.push(file);
            commits.push(next);
        }
        Ok(commits)
    }
}

impl Lake {
    async fn base(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<Option<Dataset>, CatalogError> {
        match self.catalog.dataset(workspace, name).await {
            Ok(dataset) => Ok(Some(dataset)),
            Err(CatalogError::NotFound { what: "dataset", .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a file's footer.
    async fn arrived(
        &self,
        place: u64,
        key: ObjectKey,
        arrival: &Arrival,
        schema: &Schema,
    ) -> Result<NewFile, PortError> {
        let Arrival { batch, rows, bytes, sha256, .. } = arrival.clone();
        let path = Path::from(key.as_str());
        let mut file = LakeFile::new(Arc::clone(&self.reader.objects), path, bytes);
        let footer = ArrowReaderMetadata::load_async(&mut file, ArrowReaderOptions::new()).await;
        let footer = footer.map_err(|source| read::Error::Open { key: key.clone(), source })?;
        let have = u64::try_from(footer.metadata().file_metadata().num_rows()).unwrap_or(0);
        if have != rows {
            return Err(read::Error::Rows { key, have, want: rows }.into());
        }
        let Some(codec) = codec_of(footer.metadata()) else {
            return Err(Error::Codec { key }.into());
        };
        Ok(NewFile {
            id: FileId::mint(),
            batch,
            key,
            // The file may lack some of these columns, which then are null.
            schema_id: schema.id(),
            rows,
            bytes,
            sha256,
            codec: codec.to_owned(),
            statistics: statistics_of(footer.metadata(), footer.schema()),
            place,
            runs: Vec::new(),
            tail: None,
        })
    }
}

/// Returns the columns of a dataset after it has taken rows of these.
fn fit(name: &str, base: Option<&Dataset>, rows: &Schema) -> Result<Schema, Error> {
    let refused = |source| Error::Columns { dataset: name.to_owned(), source };
    let reserved = |field: &&Field| field.name == COMMIT_COLUMN || field.name == COMMIT_TIME_COLUMN;
    if let Some(field) = rows.fields.iter().find(reserved) {
        return Err(Error::Reserved { dataset: name.to_owned(), column: field.name.clone() });
    }
    let known = base.map(|base| base.schema.clone()).unwrap_or_default();
    let required = known.fields.iter().find(|known| {
        !known.nullable && rows.field(&known.name).is_none_or(|field| field.nullable)
    });
    if let Some(field) = required {
        return Err(Error::Required { dataset: name.to_owned(), column: field.name.clone() });
    }
    let mut both = known.evolve(rows).map_err(refused)?;
    for field in &mut both.fields {
        field.nullable = known.field(&field.name).is_none_or(|known| known.nullable);
    }
    both.check_kept().map_err(refused)?;
    let time = base.and_then(|base| base.time_column.as_deref());
    let kind = time.and_then(|time| both.field(time)).map(|field| &field.kind);
    match (time, kind) {
        (None, _) | (_, Some(Type::Timestamp { .. } | Type::Date)) => Ok(both),
        (Some(time), kind) => {
            let kind = kind.map_or_else(|| "not there".into(), |kind| format!("`{kind}`"));
            let (dataset, column) = (name.to_owned(), time.to_owned());
            Err(Error::Time { dataset, column, kind })
        }
    }
}

/// Why a dataset does not take the rows of a run.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Other files than its own.
    #[error(
        "the dataset `{dataset}` takes Parquet with `zstd` or `snappy`, not {format} with `{compression}`; leave `format` and `compression` out"
    )]
    Form { dataset: String, format: String, compression: String },
    /// A template of file names.
    #[error(
        "files of the dataset `{dataset}` have no names to choose; leave `name` and `folder` out"
    )]
    Named { dataset: String },
    /// It would read what it delivers.
    #[error(
        "the dataset `{dataset}` is read by the export that is to deliver into it; name another dataset"
    )]
    Reads { dataset: String },
    /// The name of a virtual column.
    #[error(
        "the column `{column}` cannot be kept in the dataset `{dataset}`: every dataset has a virtual one of that name; give it another name"
    )]
    Reserved { dataset: String, column: String },
    /// A column that has no nulls, and may get some.
    #[error(
        "the column `{column}` of the dataset `{dataset}` must have a value, which these rows may lack; take a column that has one"
    )]
    Required { dataset: String, column: String },
    /// Its time column, as something else.
    #[error(
        "the time column `{column}` of the dataset `{dataset}` must be a timestamp or a date, and is {kind} in these rows; cast it"
    )]
    Time { dataset: String, column: String, kind: String },
    /// Columns that it has with other types, or cannot keep.
    #[error("the dataset `{dataset}` does not take these rows: {source}")]
    Columns {
        dataset: String,
        #[source]
        source: schema::Error,
    },
    /// Not what was checked.
    #[error("the file `{key}` is not as the lake keeps files; check who else writes there")]
    Codec { key: ObjectKey },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Form { .. } | Self::Named { .. } | Self::Reserved { .. } | Self::Time { .. } => {
                Code::Invalid
            }
            Self::Reads { .. } | Self::Required { .. } => Code::Conflict,
            Self::Columns { source, .. } => source.code(),
            Self::Codec { .. } => Code::Internal,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Codec { .. } => Fault::Own,
            _ => Fault::Request,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn schema(fields: &[(&str, Type, bool)]) -> Schema {
        let field = |(name, kind, nullable): &(&str, Type, bool)| Field {
            nullable: *nullable,
            ..Field::new(*name, kind.clone())
        };
        Schema { fields: fields.iter().map(field).collect() }
    }

    fn dataset(schema: Schema) -> Dataset {
        Dataset {
            id: DatasetId::mint(),
            workspace: WorkspaceId::default_workspace(),
            name: "d".into(),
            kind: DatasetKind::Event,
            time_column: None,
            schema,
            keep_days: None,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn columns_come_and_never_change() {
        let base = dataset(schema(&[("a", Type::Int64, true), ("r", Type::String, false)]));
        let rows = schema(&[("b", Type::Boolean, false), ("r", Type::String, false)]);
        let both = fit("d", Some(&base), &rows).expect("additive");
        let expected = schema(&[
            ("a", Type::Int64, true),
            ("r", Type::String, false),
            ("b", Type::Boolean, true),
        ]);
        assert_eq!(both, expected);
        for (rows, words) in [
            (vec![("a", Type::String, true), ("r", Type::String, false)], "`int64`"),
            (vec![("a", Type::Int64, true)], "`r` of the dataset `d` must have a value"),
            (vec![("r", Type::String, true)], "must have a value"),
            (vec![("_commit", Type::Int64, true), ("r", Type::String, false)], "virtual"),
            (vec![("i", Type::Interval, true), ("r", Type::String, false)], "does not keep"),
        ] {
            let error = fit("d", Some(&base), &schema(&rows)).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn the_time_column_stays_one() {
        let timed = |fields: &[(&str, Type, bool)]| Dataset {
            time_column: Some("at".into()),
            ..dataset(schema(fields))
        };
        let (bare, known) = (timed(&[]), timed(&[("at", Type::Date, true)]));
        let at = |kind: Type| schema(&[("at", kind, true), ("n", Type::Int64, true)]);
        assert!(fit("d", Some(&bare), &at(Type::Date)).is_ok());
        assert!(fit("d", Some(&known), &schema(&[("n", Type::Int64, true)])).is_ok());
        for rows in [at(Type::String), schema(&[("n", Type::Int64, true)])] {
            let error = fit("d", Some(&bare), &rows).expect_err("no time").to_string();
            assert!(error.contains("time column `at`"), "{error}");
        }
    }

    #[test]
    fn a_new_dataset_may_have_nulls_everywhere() {
        let made = fit("d", None, &schema(&[("a", Type::Int64, false)])).expect("fine");
        assert_eq!(made, schema(&[("a", Type::Int64, true)]));
    }
}
