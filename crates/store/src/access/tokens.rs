//! Tokens: what they open, and who made them.

use chrono::{DateTime, TimeDelta, Utc};
use model::access::{DEFAULT, FIRST_PRINCIPAL, Grant, NewToken, Principal, Scope, Token};
use model::ports::AccessError;
use model::{OrganizationId, PrincipalId, TokenId, WorkspaceId};

use super::{not_found, principals, workspaces};
use crate::database::{Error, Row, Transaction, args, truncate};

/// Seconds within which a second use is not noted: a write for every request would be felt.
const USE_SECONDS: i64 = 60;

/// The columns of a token.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT t.id, t.principal, t.workspace, t.scopes, t.created_at, t.expires_at, t.revoked_at,
                 t.used_at, p.organization, p.disabled_at
             FROM token t JOIN principal p ON p.id = t.principal ",
            $tail
        )
    };
}

pub(super) async fn create(
    tx: &mut Transaction,
    organization: &OrganizationId,
    new: &NewToken,
    now: DateTime<Utc>,
) -> Result<Token, AccessError> {
    let principal = principals::find(tx, organization, &new.principal).await?;
    if principal.disabled_at.is_some() {
        return Err(AccessError::Disabled { name: principal.name });
    }
    let workspace = match &new.workspace {
        Some(name) => Some(workspaces::find(tx, organization, name).await?.id),
        None => None,
    };
    insert(tx, &principal.id, (new, workspace.as_ref()), now).await?;
    find(tx, organization, &new.id).await
}

pub(super) async fn renew(
    tx: &mut Transaction,
    organization: &OrganizationId,
    new: &NewToken,
    now: DateTime<Utc>,
) -> Result<Token, AccessError> {
    // Whoever comes second waits here, and sees what the first has made.
    let sql = "UPDATE organization SET created_at = created_at WHERE id = $1";
    tx.execute(sql, args![organization.as_str()]).await?;
    let made = create(tx, organization, new, now).await?;
    let sql = "UPDATE token SET revoked_at = $4 WHERE principal = $1 AND id <> $2
                   AND COALESCE(workspace, '') = $3 AND revoked_at IS NULL
                   AND (expires_at IS NULL OR expires_at > $4)";
    let workspace = made.workspace.as_ref().map_or("", WorkspaceId::as_str);
    let (principal, id) = (made.principal.as_str(), made.id.as_str());
    tx.execute(sql, args![principal, id, workspace, truncate(now)]).await?;
    Ok(made)
}

pub(super) async fn create_first(
    tx: &mut Transaction,
    principal: &PrincipalId,
    new: &NewToken,
    now: DateTime<Utc>,
) -> Result<bool, AccessError> {
    // Whoever comes second waits here for the first.
    tx.execute("UPDATE organization SET created_at = created_at WHERE id = $1", args![DEFAULT])
        .await?;
    let sql = "SELECT COUNT(*) AS n FROM principal WHERE organization = $1";
    if tx.one(sql, args![DEFAULT]).await?.int("n")? > 0 {
        let sql = "SELECT id FROM token WHERE id = $1 AND sha256 = $2";
        return Ok(tx.first(sql, args![new.id.as_str(), &new.sha256]).await?.is_some());
    }
    let first = Principal {
        id: principal.clone(),
        name: FIRST_PRINCIPAL.into(),
        organization: OrganizationId::new(DEFAULT),
        created_at: now,
        disabled_at: None,
    };
    principals::create(tx, &first).await?;
    insert(tx, principal, (new, None), now).await?;
    Ok(true)
}

async fn insert(
    tx: &mut Transaction,
    principal: &PrincipalId,
    (new, workspace): (&NewToken, Option<&WorkspaceId>),
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    let sql = "INSERT INTO token (id, principal, workspace, sha256, scopes, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let (id, workspace) = (new.id.as_str(), workspace.map(WorkspaceId::as_str));
    let (scopes, expires) = (scopes.join(" "), new.expires_at.map(truncate));
    let values =
        args![id, principal.as_str(), workspace, &new.sha256, scopes, truncate(now), expires];
    tx.execute(sql, values).await?;
    Ok(())
}

pub(super) async fn all(
    tx: &mut Transaction,
    organization: &OrganizationId,
) -> Result<Vec<Token>, AccessError> {
    let sql = select!("WHERE p.organization = $1 ORDER BY t.created_at, t.id");
    let rows = tx.all(sql, args![organization.as_str()]).await?;
    Ok(rows.iter().map(token).collect::<Result<_, _>>()?)
}

async fn find(
    tx: &mut Transaction,
    organization: &OrganizationId,
    id: &TokenId,
) -> Result<Token, AccessError> {
    let sql = select!("WHERE p.organization = $1 AND t.id = $2");
    let row = tx.first(sql, args![organization.as_str(), id.as_str()]).await?;
    row.map_or_else(|| Err(not_found("token", id.as_str())), |row| Ok(token(&row)?))
}

pub(super) async fn revoke(
    tx: &mut Transaction,
    organization: &OrganizationId,
    id: &TokenId,
    now: DateTime<Utc>,
) -> Result<Token, AccessError> {
    find(tx, organization, id).await?;
    let sql = "UPDATE token SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    tx.execute(sql, args![id.as_str(), truncate(now)]).await?;
    find(tx, organization, id).await
}

/// Returns the grant and whether the use needs no note.
pub(super) async fn grant(
    tx: &mut Transaction,
    sha256: &str,
    now: DateTime<Utc>,
) -> Result<Option<(Grant, bool)>, AccessError> {
    let Some(row) = tx.first(select!("WHERE t.sha256 = $1"), args![sha256]).await? else {
        return Ok(None);
    };
    let token = token(&row)?;
    let is_over = token.expires_at.is_some_and(|expires| expires <= now);
    if is_over || token.revoked_at.is_some() || row.at_or_null("disabled_at")?.is_some() {
        return Ok(None);
    }
    let is_noted = token.used_at.is_some_and(|used| now - used < TimeDelta::seconds(USE_SECONDS));
    let organization = OrganizationId::new(row.text("organization")?);
    let Token { id, principal, workspace, scopes, .. } = token;
    Ok(Some((Grant { token: id, principal, organization, workspace, scopes }, is_noted)))
}

pub(super) async fn note_use(
    tx: &mut Transaction,
    id: &TokenId,
    now: DateTime<Utc>,
) -> Result<(), AccessError> {
    tx.execute("UPDATE token SET used_at = $2 WHERE id = $1", args![id.as_str(), truncate(now)])
        .await?;
    Ok(())
}

fn token(row: &Row) -> Result<Token, Error> {
    let scopes = row.text("scopes")?;
    let parsed = scopes.split_whitespace().map(Scope::parse).collect::<Option<Vec<_>>>();
    Ok(Token {
        id: TokenId::new(row.text("id")?),
        principal: PrincipalId::new(row.text("principal")?),
        workspace: row.text_or_null("workspace")?.map(WorkspaceId::new),
        scopes: parsed.ok_or(Error::Value { column: "scopes", value: scopes })?,
        created_at: row.at("created_at")?,
        expires_at: row.at_or_null("expires_at")?,
        revoked_at: row.at_or_null("revoked_at")?,
        used_at: row.at_or_null("used_at")?,
    })
}
