//! Named destinations: where they are kept, and who says what one may be.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::destination::{Destination, NewDestination, OpenDestination, Seen, Terms};
use crate::failure::{Code, Failure, Fault, PortError};
use crate::ids::WorkspaceId;
use crate::ports::CatalogError;

/// Destinations of workspaces. Secrets are sealed on the way in and come out by [`Places::open_destination`] alone.
///
/// Every call is one transaction. Whoever asks has checked the terms. A destination of another workspace is answered
/// like one that never was.
#[async_trait]
pub trait Places: Send + Sync {
    /// Makes a destination; `Exists` if the workspace has one of that name.
    async fn create_destination(
        &self,
        workspace: &WorkspaceId,
        new: &NewDestination,
        now: DateTime<Utc>,
    ) -> Result<Destination, PlaceError>;

    /// Returns every destination, by name.
    async fn destinations(&self, workspace: &WorkspaceId) -> Result<Vec<Destination>, PlaceError>;

    /// Returns a destination.
    async fn destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<Destination, PlaceError>;

    /// Changes a destination; `Changed` unless it is as it was seen.
    async fn change_destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        change: (&Seen, &Terms),
        now: DateTime<Utc>,
    ) -> Result<Destination, PlaceError>;

    /// Removes a destination and its secrets; `Changed` unless it is as it was seen, where that is said.
    async fn delete_destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        seen: Option<&Seen>,
    ) -> Result<(), PlaceError>;

    /// Returns a destination with its secrets, for whoever delivers.
    async fn open_destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<OpenDestination, PlaceError>;
}

/// Says which destinations a tenant may have.
#[async_trait]
pub trait PlaceRules: Send + Sync {
    /// Checks a URL with its settings and the names of its secrets; returns the one text of the place.
    async fn check(
        &self,
        url: &str,
        settings: &BTreeMap<String, String>,
        secrets: &BTreeSet<String>,
    ) -> Result<String, BadPlace>;
}

/// Why a tenant may not have a destination.
#[derive(Debug)]
pub struct BadPlace {
    /// The part of it that is wrong: `url`, `settings` or `secrets`.
    pub part: &'static str,
    /// What is wrong.
    pub error: PortError,
}

/// What went wrong with destinations. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// It does not exist, for whoever asks.
    #[error("no destination `{name}`")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// The name is taken.
    #[error("the destination `{name}` exists already; choose another name")]
    Exists {
        /// The name.
        name: String,
    },
    /// It is not as it was seen.
    #[error("the destination `{name}` was changed meanwhile; read it again and repeat the change")]
    Changed {
        /// Its name.
        name: String,
    },
    /// A secret is to be kept, and there is no key.
    #[error(
        "secrets cannot be kept without a key; set `key_file` under `[secrets]`, or SLUICE_SECRETS_KEY"
    )]
    NoKey,
    /// Secrets are sealed under a key that is not there.
    #[error(
        "secrets are sealed under the key `{key}`, which is not there; add it behind the others, or seal everything under the first one by `sluice secrets rotate`"
    )]
    OtherKey {
        /// The id of the key.
        key: String,
    },
    /// A secret was sealed under a key that is not there.
    #[error(
        "the secret `{field}` of the destination `{name}` was sealed under the key `{key}`, which is not there; add that key behind the others, or set the secret anew"
    )]
    UnknownKey {
        /// The destination.
        name: String,
        /// The secret.
        field: String,
        /// The id of the key.
        key: String,
    },
    /// What is kept is not what was sealed for this destination and secret.
    #[error(
        "the secret `{field}` of the destination `{name}` does not open with its key `{key}`, because it was altered or moved; set it anew"
    )]
    Damaged {
        /// The destination.
        name: String,
        /// The secret.
        field: String,
        /// The id of the key.
        key: String,
    },
    /// The keys cannot be read or made.
    #[error("{reason}")]
    Keys {
        /// Where and why.
        reason: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The metadata database did not answer or refused.
    #[error(transparent)]
    Database(#[from] CatalogError),
}

impl Failure for PlaceError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::Exists { .. }
            | Self::Changed { .. }
            | Self::NoKey
            | Self::OtherKey { .. }
            | Self::UnknownKey { .. }
            | Self::Damaged { .. } => Code::Conflict,
            Self::Keys { .. } => Code::Internal,
            Self::Database(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Changed { .. }
            | Self::NoKey
            | Self::OtherKey { .. }
            | Self::UnknownKey { .. } => Fault::Request,
            Self::Damaged { .. } | Self::Keys { .. } => Fault::Own,
            Self::Database(error) => error.fault(),
        }
    }
}
