//! Organizations.

use model::OrganizationId;
use model::access::{Organization, Workspace};
use model::ports::AccessError;

use super::{not_found, workspaces};
use crate::database::{Error, Row, Transaction, args};

pub(super) async fn create(
    tx: &mut Transaction,
    new: &Organization,
    first: &Workspace,
) -> Result<(), AccessError> {
    let sql = "INSERT INTO organization (id, name, created_at) VALUES ($1, $2, $3)
               ON CONFLICT DO NOTHING";
    match tx.execute(sql, args![new.id.as_str(), &new.name, new.created_at]).await? {
        0 => Err(AccessError::Exists { what: "organization", name: new.name.clone() }),
        _ => workspaces::create(tx, first).await,
    }
}

/// By id first: a name that is another one's id must not hide it.
pub(super) async fn find(tx: &mut Transaction, name: &str) -> Result<Organization, AccessError> {
    let sql = "SELECT id, name, created_at FROM organization WHERE id = $1 OR name = $1
               ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1";
    let row = tx.first(sql, args![name]).await?;
    row.map_or_else(|| Err(not_found("organization", name)), |row| Ok(organization(&row)?))
}

pub(super) async fn all(tx: &mut Transaction) -> Result<Vec<Organization>, AccessError> {
    let rows = tx.all("SELECT id, name, created_at FROM organization", &[]).await?;
    let mut all: Vec<Organization> = rows.iter().map(organization).collect::<Result<_, _>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn organization(row: &Row) -> Result<Organization, Error> {
    Ok(Organization {
        id: OrganizationId::new(row.text("id")?),
        name: row.text("name")?,
        created_at: row.at("created_at")?,
    })
}
