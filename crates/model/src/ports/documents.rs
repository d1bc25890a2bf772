//! Documents of workspaces.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::document::{Basis, Document, NewDocument};
use crate::failure::{Code, Failure, Fault};
use crate::ids::WorkspaceId;
use crate::ports::CatalogError;

/// Keeps documents. Every call is one transaction; of two writes on the same basis one is made.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Returns a document.
    async fn document(
        &self,
        workspace: &WorkspaceId,
        kind: &str,
        id: &str,
    ) -> Result<Document, DocumentError>;

    /// Returns documents of a kind by id, up to `limit` after `after`.
    async fn documents(
        &self,
        workspace: &WorkspaceId,
        kind: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Document>, DocumentError>;

    /// Writes a document, if what is there is the basis.
    async fn write_document(
        &self,
        workspace: &WorkspaceId,
        new: &NewDocument,
        basis: &Basis,
        now: DateTime<Utc>,
    ) -> Result<Document, DocumentError>;

    /// Removes a document, if what is there is the basis.
    async fn remove_document(
        &self,
        workspace: &WorkspaceId,
        (kind, id): (&str, &str),
        basis: &Basis,
    ) -> Result<(), DocumentError>;
}

/// What went wrong with documents.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It does not exist, for whoever asks.
    #[error("no {kind} `{id}`")]
    NotFound {
        /// The kind asked for.
        kind: String,
        /// The id asked for.
        id: String,
    },
    /// It is not as whoever writes has seen it.
    #[error("the {kind} `{id}` was changed meanwhile; read it again and repeat the change")]
    Changed {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// It is there already.
    #[error("the {kind} `{id}` exists already; read it, and build the change on its tag")]
    Exists {
        /// Its kind.
        kind: String,
        /// Its id.
        id: String,
    },
    /// The metadata database did not answer or refused.
    #[error(transparent)]
    Database(#[from] CatalogError),
}

impl Failure for DocumentError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::Changed { .. } | Self::Exists { .. } => Code::Conflict,
            Self::Database(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Database(error) => error.fault(),
            _ => Fault::Request,
        }
    }
}
