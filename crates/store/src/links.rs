//! Links to the files of runs: the store as [`Links`].

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::limits::LINKS_MAX;
use model::link::{Link, LinkKey, NewLink, OpenLink};
use model::ports::{AccessError, Links};
use model::{LinkId, OrganizationId, RunId, WorkspaceId};

use crate::Store;
use crate::access::not_found;
use crate::database::{Error, Row, Transaction, args, transact, truncate};

/// The columns of a link.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT l.id, l.workspace, l.run, l.key, l.author, l.created_at, l.expires_at, l.revoked_at, w.organization
             FROM link l JOIN workspace w ON w.id = l.workspace ",
            $tail
        )
    };
}

#[async_trait]
impl Links for Store {
    async fn create_link(&self, new: &NewLink) -> Result<(), AccessError> {
        transact!(self.database, AccessError, |tx| create(tx, new))
    }

    async fn link(&self, workspace: &WorkspaceId, id: &LinkId) -> Result<Link, AccessError> {
        find(&mut self.database.glance().await?, workspace, id).await
    }

    async fn links(
        &self,
        workspace: &WorkspaceId,
        before: Option<&LinkId>,
        limit: u32,
    ) -> Result<Vec<Link>, AccessError> {
        let tx = &mut self.database.glance().await?;
        let rows = if let Some(before) = before {
            let sql = select!("WHERE l.workspace = $1 AND l.id < $2 ORDER BY l.id DESC LIMIT $3");
            tx.all(sql, args![workspace.as_str(), before.as_str(), limit]).await?
        } else {
            let sql = select!("WHERE l.workspace = $1 ORDER BY l.id DESC LIMIT $2");
            tx.all(sql, args![workspace.as_str(), limit]).await?
        };
        Ok(rows.iter().map(link).collect::<Result<_, _>>()?)
    }

    async fn revoke_link(
        &self,
        workspace: &WorkspaceId,
        id: &LinkId,
        now: DateTime<Utc>,
    ) -> Result<Link, AccessError> {
        transact!(self.database, AccessError, |tx| revoke(tx, workspace, id, now))
    }

    async fn open_link(&self, id: &LinkId) -> Result<Option<OpenLink>, AccessError> {
        let tx = &mut self.database.glance().await?;
        let row = tx.first(select!("WHERE l.id = $1"), args![id.as_str()]).await?;
        Ok(row.map(|row| open(&row)).transpose()?)
    }

    async fn forget_links(&self, before: DateTime<Utc>, limit: u32) -> Result<u64, AccessError> {
        transact!(self.database, AccessError, |tx| forget(tx, before, limit))
    }
}

async fn create(tx: &mut Transaction, new: &NewLink) -> Result<(), AccessError> {
    let link = &new.link;
    let (workspace, run) = (link.workspace.as_str(), link.run.as_str());
    let sql = "SELECT id FROM run WHERE workspace = $1 AND id = $2";
    if tx.first(sql, args![workspace, run]).await?.is_none() {
        return Err(not_found("run", run));
    }
    let sql = "SELECT COUNT(*) AS n FROM link WHERE workspace = $1";
    if tx.one(sql, args![workspace]).await?.count::<u64>("n")? >= LINKS_MAX {
        return Err(AccessError::TooMany { what: "links", max: LINKS_MAX });
    }
    let sql = "INSERT INTO link (id, workspace, run, key, author, created_at, expires_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let key = bytes::Bytes::copy_from_slice(new.key.reveal());
    let (created, expires) = (truncate(link.created_at), truncate(link.expires_at));
    let values = args![link.id.as_str(), workspace, run, &key, &link.author, created, expires];
    tx.execute(sql, values).await?;
    Ok(())
}

async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &LinkId,
) -> Result<Link, AccessError> {
    let sql = select!("WHERE l.workspace = $1 AND l.id = $2");
    let row = tx.first(sql, args![workspace.as_str(), id.as_str()]).await?;
    row.map_or_else(|| Err(not_found("link", id.as_str())), |row| Ok(link(&row)?))
}

async fn revoke(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    id: &LinkId,
    now: DateTime<Utc>,
) -> Result<Link, AccessError> {
    let sql = "UPDATE link SET revoked_at = $3
               WHERE workspace = $1 AND id = $2 AND revoked_at IS NULL";
    tx.execute(sql, args![workspace.as_str(), id.as_str(), truncate(now)]).await?;
    find(tx, workspace, id).await
}

async fn forget(
    tx: &mut Transaction,
    before: DateTime<Utc>,
    limit: u32,
) -> Result<u64, AccessError> {
    let sql = "DELETE FROM link WHERE id IN (SELECT id FROM link WHERE expires_at < $1 LIMIT $2)";
    Ok(tx.execute(sql, args![truncate(before), limit]).await?)
}

fn link(row: &Row) -> Result<Link, Error> {
    Ok(Link {
        id: LinkId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        run: RunId::new(row.text("run")?),
        author: row.text("author")?,
        created_at: row.at("created_at")?,
        expires_at: row.at("expires_at")?,
        revoked_at: row.at_or_null("revoked_at")?,
    })
}

fn open(row: &Row) -> Result<OpenLink, Error> {
    let key = row.bytes("key")?;
    let bits = <[u8; 32]>::try_from(&*key);
    let bits = bits.map_err(|_| Error::Value { column: "key", value: "(not shown)".into() })?;
    Ok(OpenLink {
        link: link(row)?,
        organization: OrganizationId::new(row.text("organization")?),
        key: LinkKey::new(bits),
    })
}
