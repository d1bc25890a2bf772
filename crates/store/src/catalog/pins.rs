//! What keeps rows and files of a dataset from being removed.

use model::export::Definition;
use model::ports::{Pin, PinOwner};
use model::{CommitNumber, DatasetId, RunId, WorkspaceId};

use crate::database::{Error, Row, Transaction, args};

/// Returns the exports of the dataset that have delivered something, open runs that may read it, and the ticket for which most is kept.
pub(super) async fn of_dataset(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    dataset: &DatasetId,
) -> Result<Vec<Pin>, Error> {
    let exports = "SELECT e.name AS owner, e.definition, e.bound, p.at_commit, p.created_at
                   FROM pin p JOIN export e ON e.id = p.owner
                   WHERE p.workspace = $1 AND p.owner_kind = 'cursor' AND e.last_run IS NOT NULL
                   ORDER BY p.at_commit, e.name";
    let runs = "SELECT r.id AS owner, r.definition, p.at_commit, p.created_at
                FROM pin p JOIN run r ON r.id = p.owner
                WHERE p.workspace = $1 AND p.owner_kind = 'run'
                ORDER BY p.at_commit, r.id";
    let mut found = Vec::new();
    for row in tx.all(exports, args![workspace.as_str()]).await? {
        if reads(&row)?.as_ref() == Some(dataset) {
            found.push(pin(&row, PinOwner::Export(row.text("owner")?))?);
        }
    }
    for row in tx.all(runs, args![workspace.as_str()]).await? {
        // A view may read any.
        if reads(&row)?.is_none_or(|read| read == *dataset) {
            found.push(pin(&row, PinOwner::Run(RunId::new(row.text("owner")?)))?);
        }
    }
    let ticket = "SELECT door, key, to_commit AS at_commit, drawn_at AS created_at FROM ticket
                  WHERE workspace = $1 AND to_commit IS NOT NULL AND (run IS NULL OR again_at IS NOT NULL)
                  ORDER BY to_commit, key LIMIT 1";
    for row in tx.all(ticket, args![workspace.as_str()]).await? {
        let name = format!("{} {}", row.text("door")?, row.text("key")?);
        found.push(pin(&row, PinOwner::Ticket(name))?);
    }
    Ok(found)
}

/// Returns the one dataset that a definition reads, if it is known.
fn reads(row: &Row) -> Result<Option<DatasetId>, Error> {
    let definition: Definition = row.json("definition")?;
    Ok(definition.meaning.and_then(|meaning| meaning.dataset))
}

fn pin(row: &Row, owner: PinOwner) -> Result<Pin, Error> {
    let at = CommitNumber(row.count("at_commit")?);
    let until = match owner {
        PinOwner::Export(_) => row.int_or_null("bound")?,
        PinOwner::Run(_) | PinOwner::Ticket(_) => None,
    };
    let until = until.map(|bound| CommitNumber(bound.unsigned_abs()));
    Ok(Pin { owner, at, until, since: row.at("created_at")? })
}
