//! Intents: every name that a run writes, noted before it is written.

use model::ObjectKey;
use model::part::PartId;
use model::ports::{Lease, LedgerError};
use model::run::{Intent, RunState};

use super::{lease, parts};
use crate::database::{Row, Transaction, args};

pub(super) async fn intend(
    tx: &mut Transaction,
    lease: &Lease,
    part: PartId,
    intent: &Intent,
) -> Result<(), LedgerError> {
    let held = lease::hold(tx, lease).await?;
    if !matches!(held.state, RunState::Running | RunState::Sealing) {
        return Err(held.refuse("write files"));
    }
    held.go_on()?;
    if !parts::exists(tx, &held, part).await? {
        return Err(held.unbalanced(format!("there is no part {part}")));
    }
    let sql = "INSERT INTO intent (run, sequence, split, epoch, object_key, token)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let values = args![
        held.run.as_str(),
        part.sequence,
        part.split,
        intent.epoch,
        intent.key.as_str(),
        &intent.token
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

/// Returns every intent of a run, by part, then epoch.
pub(super) async fn all(
    tx: &mut Transaction,
    run: &model::RunId,
) -> Result<Vec<Intent>, LedgerError> {
    let sql = "SELECT epoch, object_key, token FROM intent WHERE run = $1
               ORDER BY sequence, split, epoch";
    let rows = tx.all(sql, args![run.as_str()]).await?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Intent, LedgerError> {
    Ok(Intent {
        epoch: row.count("epoch")?,
        key: ObjectKey::new(row.text("object_key")?),
        token: row.text("token")?,
    })
}
