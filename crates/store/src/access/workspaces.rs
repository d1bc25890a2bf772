//! Workspaces.

use model::access::Workspace;
use model::ports::AccessError;
use model::{OrganizationId, WorkspaceId};

use super::{not_found, organizations};
use crate::database::{Error, Row, Transaction, args};

pub(super) async fn create(tx: &mut Transaction, new: &Workspace) -> Result<(), AccessError> {
    organizations::find(tx, new.organization.as_str()).await?;
    let sql = "INSERT INTO workspace (id, name, organization, created_at)
               VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let (id, organization) = (new.id.as_str(), new.organization.as_str());
    match tx.execute(sql, args![id, &new.name, organization, new.created_at]).await? {
        0 => Err(AccessError::Exists { what: "workspace", name: new.name.clone() }),
        _ => Ok(()),
    }
}

/// By id first: a name that is another one's id must not hide it.
pub(super) async fn find(
    tx: &mut Transaction,
    organization: &OrganizationId,
    name: &str,
) -> Result<Workspace, AccessError> {
    let sql = "SELECT id, name, organization, created_at FROM workspace
               WHERE organization = $1 AND (id = $2 OR name = $2)
               ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END LIMIT 1";
    let row = tx.first(sql, args![organization.as_str(), name]).await?;
    row.map_or_else(|| Err(not_found("workspace", name)), |row| Ok(workspace(&row)?))
}

pub(super) async fn all(
    tx: &mut Transaction,
    organization: &OrganizationId,
) -> Result<Vec<Workspace>, AccessError> {
    let sql = "SELECT id, name, organization, created_at FROM workspace WHERE organization = $1";
    let rows = tx.all(sql, args![organization.as_str()]).await?;
    let mut all: Vec<Workspace> = rows.iter().map(workspace).collect::<Result<_, _>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn workspace(row: &Row) -> Result<Workspace, Error> {
    Ok(Workspace {
        id: WorkspaceId::new(row.text("id")?),
        name: row.text("name")?,
        organization: OrganizationId::new(row.text("organization")?),
        created_at: row.at("created_at")?,
    })
}
