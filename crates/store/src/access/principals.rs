//! Principals.

use chrono::{DateTime, Utc};
use model::access::Principal;
use model::ports::AccessError;
use model::{OrganizationId, PrincipalId};

use super::{not_found, organizations};
use crate::database::{Error, Row, Transaction, args, truncate};

pub(super) async fn create(tx: &mut Transaction, new: &Principal) -> Result<(), AccessError> {
    organizations::find(tx, new.organization.as_str()).await?;
    let sql = "INSERT INTO principal (id, organization, name, created_at)
               VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    let (id, organization) = (new.id.as_str(), new.organization.as_str());
    match tx.execute(sql, args![id, organization, &new.name, new.created_at]).await? {
        0 => Err(AccessError::Exists { what: "principal", name: new.name.clone() }),
        _ => Ok(()),
    }
}

pub(super) async fn find(
    tx: &mut Transaction,
    organization: &OrganizationId,
    name: &str,
) -> Result<Principal, AccessError> {
    let sql = "SELECT id, name, organization, created_at, disabled_at FROM principal
               WHERE organization = $1 AND (id = $2 OR name = $2)
               ORDER BY CASE WHEN id = $2 THEN 0 ELSE 1 END LIMIT 1";
    let row = tx.first(sql, args![organization.as_str(), name]).await?;
    row.map_or_else(|| Err(not_found("principal", name)), |row| Ok(principal(&row)?))
}

pub(super) async fn all(
    tx: &mut Transaction,
    organization: &OrganizationId,
) -> Result<Vec<Principal>, AccessError> {
    let sql = "SELECT id, name, organization, created_at, disabled_at FROM principal
               WHERE organization = $1";
    let rows = tx.all(sql, args![organization.as_str()]).await?;
    let mut all: Vec<Principal> = rows.iter().map(principal).collect::<Result<_, _>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

pub(super) async fn disable(
    tx: &mut Transaction,
    organization: &OrganizationId,
    name: &str,
    now: DateTime<Utc>,
) -> Result<Principal, AccessError> {
    let found = find(tx, organization, name).await?;
    let sql = "UPDATE principal SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL";
    tx.execute(sql, args![found.id.as_str(), truncate(now)]).await?;
    find(tx, organization, found.id.as_str()).await
}

fn principal(row: &Row) -> Result<Principal, Error> {
    Ok(Principal {
        id: PrincipalId::new(row.text("id")?),
        name: row.text("name")?,
        organization: OrganizationId::new(row.text("organization")?),
        created_at: row.at("created_at")?,
        disabled_at: row.at_or_null("disabled_at")?,
    })
}
