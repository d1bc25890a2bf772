//! Answers SQL over the workspace at its head.

use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use model::ports::{Query, SqlStream};
use model::schema::Schema;
use model::{CommitNumber, PortError, WorkspaceId};

use crate::Lake;
use crate::bind::{self, Resolved, between};
use crate::read::adapt::adapt;
use crate::session::{self, Error, Session};

#[async_trait]
impl Query for Lake {
    async fn sql(
        &self,
        workspace: &WorkspaceId,
        sql: &str,
        now: DateTime<Utc>,
    ) -> Result<(Schema, SqlStream), PortError> {
        let (resolved, text) = self.resolve_sql(workspace, sql, None).await?;
        let session = self.session(&resolved, now).await?;
        let plan = session.plan(&text).await?;
        let schema = bind::output(&plan)?;
        let physical = session.physical(&plan).await?;
        let columns = schema.to_arrow();
        let limits = self.limits().clone();
        let rows = session::run(&session, physical).map_err(PortError::from).map(move |batch| {
            let batch = batch?;
            let values = batch.columns().iter().zip(columns.fields());
            let values = values.map(|(column, field)| adapt(column, field.data_type()));
            let batch = values
                .collect::<Result<Vec<_>, _>>()
                .and_then(|values| RecordBatch::try_new(Arc::clone(&columns), values));
            Ok(batch.map_err(|error| Error::running(error.into(), &limits))?)
        });
        Ok((schema, Box::pin(rows)))
    }

    async fn check_view(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        sql: &str,
        now: DateTime<Utc>,
    ) -> Result<Schema, PortError> {
        let (resolved, text) = self.resolve_sql(workspace, sql, Some(name)).await?;
        let session = self.session(&resolved, now).await?;
        let plan = session.plan(&text).await?;
        // Types that do not fit are found here, not when the view is read.
        let schema = bind::output(&plan)?;
        session.optimize(&plan).await?;
        Ok(schema)
    }
}

impl Lake {
    /// Makes a session that knows what was resolved, with all its rows.
    async fn session(&self, resolved: &Resolved, now: DateTime<Utc>) -> Result<Session, PortError> {
        let session = Session::new(now, self.limits(), Some(&self.scratch))?;
        for table in &resolved.tables {
            let files = &table.snapshot.files;
            let rows = between(files, CommitNumber(0), table.snapshot.at);
            bind::add_table(&session, table, rows)?;
        }
        for view in &resolved.views {
            session.add_view(&view.name, &view.text).await?;
        }
        Ok(session)
    }
}

#[cfg(test)]
mod tests;
