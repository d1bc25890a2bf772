//! Cuts rows into pieces at places that depend on the rows alone.
//!
//! The Parquet library looks at page and dictionary limits after every write, so what is written at once
//! must not depend on how batches arrive.

use std::collections::VecDeque;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use futures::StreamExt;
use model::PortError;
use model::limits::{CHUNK_BYTES, CHUNK_ROWS, ROW_GROUP_BYTES, ROW_GROUP_ROWS};
use model::ports::{Positions, RowStream};

use super::super::Error;
use super::types;
use crate::weigh;

/// Rows that are written at once, in their stored types.
pub(super) struct Piece {
    pub(super) batch: RecordBatch,
    /// Input rows read up to and including each row.
    pub(super) read: Vec<u64>,
    pub(super) bytes: u64,
}

/// A stream of rows as pieces.
pub(super) struct Pieces {
    rows: RowStream,
    schema: SchemaRef,
    waiting: VecDeque<Waiting>,
    read_after: u64,
}

/// A batch, taken up to `first`.
struct Waiting {
    batch: RecordBatch,
    read: Positions,
    weights: Vec<u64>,
    first: usize,
}

impl Pieces {
    pub(super) fn new(rows: RowStream, schema: SchemaRef) -> Self {
        Self { rows, schema, waiting: VecDeque::new(), read_after: 0 }
    }

    /// Returns the input rows read by everything taken from the stream.
    pub(super) fn read_after(&self) -> u64 {
        self.read_after
    }

    /// Waits until there is a row; returns false at the end.
    pub(super) async fn more(&mut self) -> Result<bool, PortError> {
        while self.waiting.is_empty() {
            if !self.pull().await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the next piece of a row group that has so many rows and bytes; `None` if it is full or if
    /// there are no more rows.
    pub(super) async fn next(
        &mut self,
        rows: usize,
        bytes: u64,
    ) -> Result<Option<Piece>, PortError> {
        if bytes >= ROW_GROUP_BYTES as u64 {
            return Ok(None);
        }
        let room = CHUNK_ROWS.min(ROW_GROUP_ROWS.saturating_sub(rows));
        let mut taken = Vec::new();
        let mut piece_read = Vec::new();
        let mut piece_bytes = 0;
        while piece_read.len() < room && piece_bytes < CHUNK_BYTES && self.more().await? {
            let next = self.waiting.front_mut().expect("there is more");
            let first = next.first;
            while next.first < next.weights.len()
                && piece_read.len() < room
                && piece_bytes < CHUNK_BYTES
            {
                piece_bytes += next.weights[next.first];
                piece_read.push(next.read.read(next.first));
                next.first += 1;
            }
            taken.push(next.batch.slice(first, next.first - first));
            if next.first == next.weights.len() {
                self.waiting.pop_front();
            }
        }
        if piece_read.is_empty() {
            return Ok(None);
        }
        let batch = match <[RecordBatch; 1]>::try_from(taken) {
            Ok([whole]) => whole,
            Err(several) => concat_batches(&self.schema, &several).map_err(Error::Batch)?,
        };
        Ok(Some(Piece { batch, read: piece_read, bytes: piece_bytes }))
    }

    async fn pull(&mut self) -> Result<bool, PortError> {
        let Some(rows) = self.rows.next().await.transpose()? else {
            return Ok(false);
        };
        self.read_after = rows.read_after;
        if rows.batch.num_rows() > 0 {
            let batch = self.store(&rows.batch)?;
            let weights = weigh::rows(&batch);
            self.waiting.push_back(Waiting { batch, read: rows.read, weights, first: 0 });
        }
        Ok(true)
    }

    fn store(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let (have, schema) = (batch.num_columns(), self.schema.fields().len());
        if have != schema {
            return Err(Error::Shape { have, schema });
        }
        let pairs = batch.columns().iter().zip(self.schema.fields());
        let columns = pairs.map(|(column, field)| types::store(column, field));
        RecordBatch::try_new(self.schema.clone(), columns.collect::<Result<_, _>>()?)
            .map_err(Error::Batch)
    }
}
