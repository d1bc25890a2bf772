//! Computes a relation that cannot be mapped row by row, once, for one run.
//!
//! The result is written as private data files under `staged/<run>/e<epoch>`, in the order in which it was
//! computed. Parts are cut from those files. Who takes a run over removes what earlier holders staged; a
//! holder that comes late removes nothing of its successor.

use std::sync::Arc;

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use model::part::Input;
use model::ports::ObjectError;
use model::relation::{BoundRelation, BoundTable};
use model::schema::Schema;
use model::{Failure, Fault, PortError, RunId};

use crate::Lake;
use crate::bind::Planned;
use crate::files::{FilesWriter, Written, batch_bytes};
use crate::read::adapt::adapt;
use crate::session::{self, Error, quote};

/// The folder of what is staged.
const STAGED: &str = "staged";

/// The name of the table that parts of a staged result are cut from.
const TABLE: &str = "staged";

/// Returns how rows of a staged result become output rows: as they are.
pub(crate) fn relation(output: Schema, now: DateTime<Utc>) -> BoundRelation {
    let columns = output.fields.iter().map(|field| quote(&field.name)).collect::<Vec<_>>();
    BoundRelation {
        sql: format!("SELECT {} FROM {}", columns.join(", "), quote(TABLE)),
        views: Vec::new(),
        table: BoundTable {
            name: TABLE.into(),
            dataset: None,
            schema: output.clone(),
            virtual_columns: false,
        },
        now,
        output,
        filtered: false,
    }
}

impl Lake {
    /// Runs the plan and writes what comes out.
    pub(crate) async fn stage(
        &self,
        planned: &Planned,
        output: &Schema,
        folder: String,
    ) -> Result<Vec<Input>, PortError> {
        let physical = planned.session.physical(&planned.plan).await?;
        let mut rows = session::run(&planned.session, physical);
        let schema = output.to_arrow();
        let mut files = FilesWriter::new(Arc::clone(&self.objects), folder, Arc::clone(&schema));
        let written = self.write_all(&mut rows, &mut files, &schema).await;
        if let Err(error) = written {
            files.discard().await;
            return Err(error);
        }
        let id = output.id();
        let input = |file: Written| Input {
            key: file.key,
            file_bytes: file.bytes,
            file_rows: file.rows,
            sha256: file.sha256,
            schema_id: id.clone(),
            first_row: 0,
            rows: file.rows,
            runs: Vec::new(),
        };
        Ok(files.finish().await?.into_iter().map(input).collect())
    }

    async fn write_all(
        &self,
        rows: &mut session::Running,
        files: &mut FilesWriter,
        schema: &arrow::datatypes::SchemaRef,
    ) -> Result<(), PortError> {
        let max = self.limits().staged_bytes;
        let mut bytes: u64 = 0;
        while let Some(batch) = rows.try_next().await? {
            bytes = bytes.saturating_add(batch_bytes(&batch) as u64);
            if bytes > max {
                return Err(Error::Staged { bytes: max }.into());
            }
            let columns = batch.columns().iter().zip(schema.fields());
            let batch = columns
                .map(|(column, field)| adapt(column, field.data_type()))
                .collect::<Result<Vec<_>, _>>()
                .and_then(|columns| RecordBatch::try_new(Arc::clone(schema), columns))
                .map_err(|error| Error::running(error.into(), self.limits()))?;
            files.write(batch).await?;
        }
        Ok(())
    }

    /// Removes what holders up to that epoch staged for a run.
    pub(crate) async fn remove_staged(&self, run: &RunId, epoch: u64) -> Result<(), PortError> {
        for object in self.objects.list(&format!("{STAGED}/{run}")).await.map_err(own)? {
            if epoch_of(object.key.as_str()).is_some_and(|staged| staged <= epoch) {
                self.objects.delete(&object.key).await.map_err(own)?;
            }
        }
        Ok(())
    }
}

/// The lake's store is no destination.
fn own(error: ObjectError) -> PortError {
    PortError::caused(error.code(), Fault::Own, error.to_string(), error)
}

/// Returns where a holder's staged files are.
pub(crate) fn folder(run: &RunId, epoch: u64) -> String {
    format!("{STAGED}/{run}/e{epoch}")
}

fn epoch_of(key: &str) -> Option<u64> {
    key.split('/').nth(2)?.strip_prefix('e')?.parse().ok()
}
