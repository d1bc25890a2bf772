//! What keeps rows of a dataset from being removed.

use model::export::Definition;
use model::ports::CursorPin;
use model::{CommitNumber, DatasetId, WorkspaceId};

use crate::database::{Error, Row, Transaction, args};

/// Returns the cursors of the dataset's exports that have delivered something.
pub(super) async fn cursors(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    dataset: &DatasetId,
) -> Result<Vec<CursorPin>, Error> {
    let sql = "SELECT e.name, e.definition, p.at_commit, p.created_at
               FROM pin p JOIN export e ON e.id = p.owner
               WHERE p.workspace = $1 AND p.owner_kind = 'cursor' AND e.last_run IS NOT NULL
               ORDER BY p.at_commit, e.name";
    let rows = tx.all(sql, args![workspace.as_str()]).await?;
    let mut found = Vec::new();
    for row in &rows {
        if is_of(row, dataset)? {
            found.push(CursorPin {
                export: row.text("name")?,
                at: CommitNumber(row.count("at_commit")?),
                since: row.at("created_at")?,
            });
        }
    }
    Ok(found)
}

fn is_of(row: &Row, dataset: &DatasetId) -> Result<bool, Error> {
    let definition: Definition = row.json("definition")?;
    Ok(definition.meaning.is_some_and(|meaning| meaning.dataset.as_ref() == Some(dataset)))
}
