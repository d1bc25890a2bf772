//! Documents: the store as [`Documents`].
//!
//! A write names what it is built on, and its statement decides: of two on the same basis one finds its row.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::WorkspaceId;
use model::document::{Basis, Document, NewDocument};
use model::ports::{CatalogError, DocumentError, Documents};

use crate::Store;
use crate::catalog::check_workspace;
use crate::database::{Conflict, Error, Row, Transaction, args, transact, truncate};

/// The columns of a document.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT kind, id, body, etag, author, created_at, updated_at FROM document
             WHERE workspace = $1 AND kind = $2 ",
            $tail
        )
    };
}

#[async_trait]
impl Documents for Store {
    async fn document(
        &self,
        workspace: &WorkspaceId,
        kind: &str,
        id: &str,
    ) -> Result<Document, DocumentError> {
        let tx = &mut self.database.read().await?;
        find(tx, workspace, (kind, id)).await?.ok_or_else(|| not_found(kind, id))
    }

    async fn documents(
        &self,
        workspace: &WorkspaceId,
        kind: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, DocumentError> {
        let tx = &mut self.database.read().await?;
        let sql = select!("AND id > $3 ORDER BY id LIMIT $4");
        let values = args![workspace.as_str(), kind, after.unwrap_or_default(), limit];
        let rows = tx.all(sql, values).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn write_document(
        &self,
        workspace: &WorkspaceId,
        new: &NewDocument,
        basis: &Basis,
        now: DateTime<Utc>,
    ) -> Result<Document, DocumentError> {
        transact!(self.database, DocumentError, |tx| write(tx, workspace, (new, basis), now))
    }

    async fn remove_document(
        &self,
        workspace: &WorkspaceId,
        (kind, id): (&str, &str),
        basis: &Basis,
    ) -> Result<(), DocumentError> {
        transact!(self.database, DocumentError, |tx| remove(tx, workspace, (kind, id), basis))
    }
}

async fn write(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    (new, basis): (&NewDocument, &Basis),
    now: DateTime<Utc>,
) -> Result<Document, DocumentError> {
    check_workspace(tx, workspace).await?;
    let NewDocument { kind, id, body, etag, author } = new;
    let (space, body, at) = (workspace.as_str(), body.to_string(), truncate(now));
    let written = match basis {
        Basis::Nothing => {
            let sql = "INSERT INTO document
                           (workspace, kind, id, body, etag, author, created_at, updated_at)
                       VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING";
            tx.execute(sql, args![space, kind, id, body, etag, author, at]).await?
        }
        Basis::Etag(seen) => {
            let sql = "UPDATE document SET body = $4, etag = $5, author = $6, updated_at = $7
                       WHERE workspace = $1 AND kind = $2 AND id = $3 AND etag = $8";
            tx.execute(sql, args![space, kind, id, body, etag, author, at, seen]).await?
        }
        Basis::Anything => {
            let sql = "UPDATE document SET body = $4, etag = $5, author = $6, updated_at = $7
                       WHERE workspace = $1 AND kind = $2 AND id = $3";
            tx.execute(sql, args![space, kind, id, body, etag, author, at]).await?
        }
    };
    let found = find(tx, workspace, (kind, id)).await?;
    if written == 0 {
        return Err(refused(found.is_some(), basis, (kind, id)));
    }
    found.ok_or_else(|| not_found(kind, id))
}

async fn remove(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    (kind, id): (&str, &str),
    basis: &Basis,
) -> Result<(), DocumentError> {
    let space = workspace.as_str();
    let removed = match basis {
        Basis::Nothing => 0,
        Basis::Etag(seen) => {
            let sql = "DELETE FROM document
                       WHERE workspace = $1 AND kind = $2 AND id = $3 AND etag = $4";
            tx.execute(sql, args![space, kind, id, seen]).await?
        }
        Basis::Anything => {
            let sql = "DELETE FROM document WHERE workspace = $1 AND kind = $2 AND id = $3";
            tx.execute(sql, args![space, kind, id]).await?
        }
    };
    if removed == 0 {
        let there = find(tx, workspace, (kind, id)).await?.is_some();
        return Err(refused(there, basis, (kind, id)));
    }
    Ok(())
}

/// Returns why nothing was changed.
fn refused(there: bool, basis: &Basis, (kind, id): (&str, &str)) -> DocumentError {
    let (kind, id) = (kind.to_owned(), id.to_owned());
    match (there, basis) {
        (false, _) => DocumentError::NotFound { kind, id },
        (true, Basis::Nothing) => DocumentError::Exists { kind, id },
        (true, _) => DocumentError::Changed { kind, id },
    }
}

fn not_found(kind: &str, id: &str) -> DocumentError {
    DocumentError::NotFound { kind: kind.to_owned(), id: id.to_owned() }
}

async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    (kind, id): (&str, &str),
) -> Result<Option<Document>, Error> {
    let row = tx.first(select!("AND id = $3"), args![workspace.as_str(), kind, id]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Document, Error> {
    Ok(Document {
        kind: row.text("kind")?,
        id: row.text("id")?,
        body: row.json("body")?,
        etag: row.text("etag")?,
        author: row.text("author")?,
        created_at: row.at("created_at")?,
        updated_at: row.at("updated_at")?,
    })
}

impl From<Error> for DocumentError {
    fn from(error: Error) -> Self {
        Self::Database(CatalogError::from(error))
    }
}

impl Conflict for DocumentError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_conflict())
    }
}
