//! A dataset that takes whatever a run has written.

use std::collections::BTreeMap;

use async_trait::async_trait;

use model::dataset::{CommitKind, NewCommit, NewFile};
use model::format::Encoding;
use model::into::IntoDataset;
use model::ports::{Arrival, Bind, Intake};
use model::schema::Schema;
use model::{DatasetId, FileId, PortError, WorkspaceId};

use crate::process::Handle;

#[async_trait]
impl Intake for Handle {
    async fn check(
        &self,
        _: &IntoDataset,
        _: &Bind,
        _: (&Schema, &Encoding),
    ) -> Result<(), PortError> {
        Ok(())
    }

    async fn commits(
        &self,
        workspace: &WorkspaceId,
        _: &IntoDataset,
        (columns, arrivals): (&Schema, &[Arrival]),
    ) -> Result<Vec<NewCommit>, PortError> {
        if arrivals.is_empty() {
            return Ok(Vec::new());
        }
        let file = |(place, arrival): (usize, &Arrival)| NewFile {
            id: FileId::mint(),
            batch: arrival.batch.clone(),
            key: arrival.key.clone(),
            schema_id: columns.id(),
            rows: arrival.rows,
            bytes: arrival.bytes,
            sha256: arrival.sha256.clone(),
            codec: "none".into(),
            statistics: BTreeMap::new(),
            place: place as u64,
            runs: Vec::new(),
            tail: None,
        };
        let kind = CommitKind::Append;
        let mut new = NewCommit::new(workspace.clone(), kind, DatasetId::new("ds_copy"));
        new.files = arrivals.iter().enumerate().map(file).collect();
        Ok(vec![new])
    }
}
