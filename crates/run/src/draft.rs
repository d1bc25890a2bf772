//! A bound relation and how it is cut, before the ledger knows of it.

use std::sync::Arc;

use model::format::{Encoding, FormatSpec};
use model::limits::COPY_BYTES_MAX;
use model::part::{Input, PartId};
use model::ports::{Bind, Bound, CatalogError, Encoder, NameContext, Relations};
use model::relation::BoundRelation;
use model::{CommitNumber, PortError};

use crate::cut::{Cut, Names, PartSize, check_name, part_count, rows_per_part, stored_bytes};
use crate::error::Error;
use crate::plan::Amount;
use crate::sample::{Sample, sample};

/// A bound relation, and how it is cut.
pub(crate) struct Draft {
    pub(crate) relation: Arc<BoundRelation>,
    pub(crate) encoding: Encoding,
    pub(crate) inputs: Vec<Input>,
    pub(crate) reset: Vec<CommitNumber>,
    pub(crate) row_by_row: bool,
    pub(crate) rows: u64,
    pub(crate) parts: u32,
    sample: Sample,
    size: PartSize,
}

/// Times a relation is bound anew because rows were moved before they were sampled.
const TRIES: usize = 5;

/// Binds, checks the format and samples the first rows.
pub(crate) async fn draft(
    relations: &dyn Relations,
    encoder: &dyn Encoder,
    bind: &Bind,
    format: &FormatSpec,
) -> Result<Draft, Error> {
    for _ in 1..TRIES {
        match once(relations, encoder, bind, format).await {
            // Rows of the tail were sealed before they were sampled.
            Err(Error::Port(error)) if is_moved(error.inner()) => {}
            drafted => return drafted,
        }
    }
    once(relations, encoder, bind, format).await
}

async fn once(
    relations: &dyn Relations,
    encoder: &dyn Encoder,
    bind: &Bind,
    format: &FormatSpec,
) -> Result<Draft, Error> {
    let Bound { relation, inputs, row_by_row, copies, reset } = relations.bind(bind).await?;
    let encoding = encoder.check(format, &relation.output)?;
    let relation = Arc::new(relation);
    let rows = inputs.iter().map(|input| input.rows).sum();
    let (sample, size) = if fits_copying(&inputs, &encoding, copies.as_deref()) {
        // Nothing is encoded, so there is nothing to learn from a sample.
        let bytes = inputs.iter().map(stored_bytes).sum();
        (Sample { rows_read: rows, rows, bytes }, PartSize::Files)
    } else {
        let sample = sample(relations, encoder, &relation, (&inputs, &encoding)).await?;
        (sample, PartSize::Rows(rows_per_part(format, &sample, &inputs)))
    };
    let parts = part_count(&inputs, size)?;
    Ok(Draft { relation, encoding, inputs, reset, row_by_row, rows, parts, sample, size })
}

fn fits_copying(inputs: &[Input], encoding: &Encoding, stored: Option<&str>) -> bool {
    encoding.copies
        && stored == Some(encoding.compression.as_str())
        && inputs.iter().all(|input| stored_bytes(input) <= COPY_BYTES_MAX)
}

fn is_moved(error: &PortError) -> bool {
    matches!(error.downcast_ref::<CatalogError>(), Some(CatalogError::Moved))
}

impl Draft {
    /// Yields the inputs of every part.
    pub(crate) fn parts(&self) -> Cut {
        Cut::new(self.inputs.clone(), self.size)
    }

    /// Renders every name and checks that they differ. Without parts one name is tried all the same.
    pub(crate) fn names(
        &self,
        encoder: &dyn Encoder,
        context: &NameContext,
    ) -> Result<Vec<String>, Error> {
        let name = |sequence| {
            let part = PartId::planned(sequence);
            encoder.name(&self.encoding, context, part, u64::from(self.parts))
        };
        if self.parts == 0 {
            check_name(&name(0)?)?;
        }
        let mut taken = Names::default();
        let mut names = Vec::with_capacity(self.parts as usize);
        for sequence in 0..self.parts {
            let name = name(sequence)?;
            taken.take(&name)?;
            names.push(name);
        }
        Ok(names)
    }

    /// Returns the rows and the bytes that come out.
    pub(crate) fn amounts(&self) -> (Amount, Amount) {
        let Sample { rows_read, rows, bytes } = self.sample;
        let scale = |amount: u64| match u128::from(rows_read) {
            0 => 0,
            read => {
                u64::try_from(u128::from(amount) * u128::from(self.rows) / read).unwrap_or(u64::MAX)
            }
        };
        let rows = match () {
            () if !self.relation.filtered => Amount::Exact(self.rows),
            () if rows_read == self.rows => Amount::Exact(rows),
            () => Amount::Estimate(scale(rows)),
        };
        let bytes = if self.rows == 0 { Amount::Exact(0) } else { Amount::Estimate(scale(bytes)) };
        (rows, bytes)
    }
}
