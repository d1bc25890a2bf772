//! Parts: one row each, so that a run of a million is never held whole.

use model::part::{Input, Part, PartId, Receipt};
use model::ports::{Lease, LedgerError};
use model::run::RunState;
use model::{ObjectKey, RunId};

use super::lease::{self, Held};
use crate::database::{Error, Row, Transaction, Value, args};

/// Values of one row in [`add`].
const COLUMNS: usize = 6;

const INSERT: &str = "INSERT INTO part (run, sequence, split, name, inputs, rows_planned)";

pub(super) async fn add(
    tx: &mut Transaction,
    lease: &Lease,
    parts: &[Part],
) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    held.require(RunState::Planning, "take parts")?;
    if let Some(part) = parts.iter().find(|part| part.receipt.is_some()) {
        return Err(held.unbalanced(format!("part {} is written before it is planned", part.id)));
    }
    let values: Vec<Value> = parts.iter().flat_map(|part| values(&held, part)).collect();
    let inserted = tx.insert(INSERT, COLUMNS, &values, "ON CONFLICT DO NOTHING").await?;
    if inserted < parts.len() as u64 {
        for part in parts {
            check_equal(tx, &held, part).await?;
        }
    }
    Ok(())
}

/// Refuses a part that is in the ledger with other content.
async fn check_equal(tx: &mut Transaction, held: &Held, part: &Part) -> Result<(), LedgerError> {
    if find(tx, held, part.id).await?.as_ref() == Some(part) {
        return Ok(());
    }
    Err(held.unbalanced(format!("part {} is in the ledger with other content", part.id)))
}

pub(super) async fn clear(tx: &mut Transaction, lease: &Lease) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    held.require(RunState::Planning, "be planned anew")?;
    tx.execute("DELETE FROM part WHERE run = $1", args![held.run.as_str()]).await?;
    Ok(())
}

pub(super) async fn finish(
    tx: &mut Transaction,
    lease: &Lease,
    id: PartId,
    receipt: &Receipt,
    remainder: Option<&Part>,
) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    held.require(RunState::Running, "have parts written")?;
    let Some(mut part) = find(tx, &held, id).await? else {
        return Err(held.unbalanced(format!("there is no part {id}")));
    };
    if part.receipt.is_some() {
        return repeated(tx, &held, &part, receipt, remainder).await;
    }
    check_rows(&held, &part, receipt, remainder)?;
    if let Some(remainder) = remainder {
        let rest = part.cut(receipt.rows_read);
        check_remainder(&held, id, &rest, remainder)?;
        tx.insert(INSERT, COLUMNS, &values(&held, remainder), "").await?;
    }
    write(tx, &held, &part, receipt).await?;
    Ok(())
}

/// Accepts the same receipt once more and refuses another one.
async fn repeated(
    tx: &mut Transaction,
    held: &Held,
    part: &Part,
    receipt: &Receipt,
    remainder: Option<&Part>,
) -> Result<(), LedgerError> {
    // The remainder may have been written and split itself since: then only its beginning is as it was.
    let there = find(tx, held, part.id.remainder()).await?;
    let same_remainder = match (&there, remainder) {
        (None, None) => true,
        (Some(there), Some(asked)) => {
            there.name == asked.name && begin(&there.inputs) == begin(&asked.inputs)
        }
        _ => false,
    };
    if part.receipt.as_ref() == Some(receipt) && same_remainder {
        return Ok(());
    }
    Err(held.unbalanced(format!("part {} was written before, as something else", part.id)))
}

fn begin(inputs: &[Input]) -> Option<(&ObjectKey, u64)> {
    inputs.first().map(|input| (&input.key, input.first_row))
}

fn check_rows(
    held: &Held,
    part: &Part,
    receipt: &Receipt,
    remainder: Option<&Part>,
) -> Result<(), LedgerError> {
    let (id, planned, read) = (part.id, part.rows_planned(), receipt.rows_read);
    let rest = remainder.map_or(0, Part::rows_planned);
    if read.checked_add(rest) == Some(planned) {
        return Ok(());
    }
    let rest = match remainder {
        Some(_) => format!(" and leaves {rest} over"),
        None => String::new(),
    };
    Err(held.unbalanced(format!("part {id} has {planned} input rows, but read {read}{rest}")))
}

/// Checks that the remainder is exactly what the part did not read.
fn check_remainder(
    held: &Held,
    id: PartId,
    rest: &[Input],
    remainder: &Part,
) -> Result<(), LedgerError> {
    let problem = if remainder.id != id.remainder() {
        format!("what part {id} leaves over is called {}, not {}", remainder.id, id.remainder())
    } else if rest.is_empty() {
        format!("part {id} is split but leaves nothing over")
    } else if remainder.inputs != rest || remainder.receipt.is_some() {
        format!("what part {id} leaves over is not the rows it did not read")
    } else {
        return Ok(());
    };
    Err(held.unbalanced(problem))
}

async fn write(
    tx: &mut Transaction,
    held: &Held,
    part: &Part,
    receipt: &Receipt,
) -> Result<(), Error> {
    let sql = "UPDATE part SET written = 1, inputs = $4, rows_planned = $5, rows_read = $6,
                   rows_out = $7, bytes_out = $8, receipt = $9
               WHERE run = $1 AND sequence = $2 AND split = $3";
    let values = args![
        held.run.as_str(),
        part.id.sequence,
        part.id.split,
        inputs_text(part),
        part.rows_planned(),
        receipt.rows_read,
        receipt.rows,
        receipt.bytes,
        serde_json::to_string(receipt).expect("a receipt has only string keys")
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

/// Returns whether the part is in the ledger.
pub(super) async fn exists(tx: &mut Transaction, held: &Held, id: PartId) -> Result<bool, Error> {
    let sql = "SELECT name FROM part WHERE run = $1 AND sequence = $2 AND split = $3";
    let row = tx.first(sql, args![held.run.as_str(), id.sequence, id.split]).await?;
    Ok(row.is_some())
}

async fn find(tx: &mut Transaction, held: &Held, id: PartId) -> Result<Option<Part>, Error> {
    let sql = "SELECT sequence, split, name, inputs, receipt FROM part
               WHERE run = $1 AND sequence = $2 AND split = $3";
    let row = tx.first(sql, args![held.run.as_str(), id.sequence, id.split]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn page(
    tx: &mut Transaction,
    run: &model::RunId,
    after: Option<PartId>,
    limit: u32,
) -> Result<Vec<Part>, LedgerError> {
    let (sequence, split) =
        after.map_or((-1, -1), |id| (i64::from(id.sequence), i64::from(id.split)));
    let sql = "SELECT sequence, split, name, inputs, receipt FROM part
               WHERE run = $1 AND (sequence, split) > ($2, $3)
               ORDER BY sequence, split LIMIT $4";
    let rows = tx.all(sql, args![run.as_str(), sequence, split, limit]).await?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// Sums over the parts of a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) parts: u64,
    pub(super) written: u64,
    /// Parts of which rows came out: the others make no file.
    pub(super) files: u64,
    pub(super) rows_planned: u64,
    pub(super) rows_read: u64,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

pub(super) async fn sums(tx: &mut Transaction, run: &RunId) -> Result<Sums, Error> {
    let sql = "SELECT COUNT(*) AS parts,
                   CAST(COALESCE(SUM(written), 0) AS BIGINT) AS written,
                   COUNT(CASE WHEN rows_out > 0 THEN 1 END) AS files,
                   CAST(COALESCE(SUM(rows_planned), 0) AS BIGINT) AS rows_planned,
                   CAST(COALESCE(SUM(rows_read), 0) AS BIGINT) AS rows_read,
                   CAST(COALESCE(SUM(rows_out), 0) AS BIGINT) AS rows_out,
                   CAST(COALESCE(SUM(bytes_out), 0) AS BIGINT) AS bytes_out
               FROM part WHERE run = $1";
    let row = tx.one(sql, args![run.as_str()]).await?;
    Ok(Sums {
        parts: row.count("parts")?,
        written: row.count("written")?,
        files: row.count("files")?,
        rows_planned: row.count("rows_planned")?,
        rows_read: row.count("rows_read")?,
        rows: row.count("rows_out")?,
        bytes: row.count("bytes_out")?,
    })
}

fn values(held: &Held, part: &Part) -> [Value; COLUMNS] {
    [
        held.run.as_str().into(),
        part.id.sequence.into(),
        part.id.split.into(),
        (&part.name).into(),
        inputs_text(part).into(),
        part.rows_planned().into(),
    ]
}

fn inputs_text(part: &Part) -> String {
    serde_json::to_string(&part.inputs).expect("inputs have only string keys")
}

fn read(row: &Row) -> Result<Part, Error> {
    let id = PartId { sequence: row.count("sequence")?, split: row.count("split")? };
    let receipt = row.text_or_null("receipt")?.map(|_| row.json("receipt")).transpose()?;
    Ok(Part { id, inputs: row.json("inputs")?, name: row.text("name")?, receipt })
}
