//! The log of changes.

use chrono::{DateTime, Utc};
use model::access::{Audit, NewAudit};
use model::ports::AccessError;
use model::{AuditId, OrganizationId, WorkspaceId};

use crate::database::{Error, Row, Transaction, args, truncate};

/// Entries of an organization.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, time, actor, workspace, action, target, request, outcome FROM audit
             WHERE organization = $1 AND ",
            $tail
        )
    };
}

pub(super) async fn begin(
    tx: &mut Transaction,
    new: &NewAudit,
    now: DateTime<Utc>,
) -> Result<(), AccessError> {
    let actor = serde_json::to_string(&new.actor).expect("an actor has only string keys");
    let sql =
        "INSERT INTO audit (id, time, actor, organization, workspace, action, target, request)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = args![
        new.id.as_str(),
        truncate(now),
        actor,
        new.organization.as_str(),
        new.workspace.as_ref().map(WorkspaceId::as_str),
        &new.action,
        &new.target,
        new.request.as_deref()
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

pub(super) async fn end(
    tx: &mut Transaction,
    id: &AuditId,
    outcome: &str,
    target: Option<&str>,
) -> Result<(), AccessError> {
    let sql = "UPDATE audit SET outcome = $2, target = COALESCE($3, target) WHERE id = $1";
    tx.execute(sql, args![id.as_str(), outcome, target]).await?;
    Ok(())
}

pub(super) async fn page(
    tx: &mut Transaction,
    organization: &OrganizationId,
    workspace: Option<&WorkspaceId>,
    (after, limit): (Option<&AuditId>, u32),
) -> Result<Vec<Audit>, AccessError> {
    let after = after.map_or("", AuditId::as_str);
    let rows = if let Some(workspace) = workspace {
        let sql = select!("workspace = $2 AND id > $3 ORDER BY id LIMIT $4");
        tx.all(sql, args![organization.as_str(), workspace.as_str(), after, limit]).await?
    } else {
        let sql = select!("workspace IS NULL AND id > $2 ORDER BY id LIMIT $3");
        tx.all(sql, args![organization.as_str(), after, limit]).await?
    };
    Ok(rows.iter().map(audit).collect::<Result<_, _>>()?)
}

fn audit(row: &Row) -> Result<Audit, Error> {
    Ok(Audit {
        id: AuditId::new(row.text("id")?),
        time: row.at("time")?,
        actor: row.json("actor")?,
        workspace: row.text_or_null("workspace")?.map(WorkspaceId::new),
        action: row.text("action")?,
        target: row.text("target")?,
        request: row.text_or_null("request")?,
        outcome: row.text_or_null("outcome")?,
    })
}
