//! Who may do what.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::access::{Audit, Grant, NewAudit, NewToken, Organization, Principal, Token, Workspace};
use crate::failure::{Code, Failure, Fault};
use crate::ids::{AuditId, OrganizationId, PrincipalId, TokenId, WorkspaceId};
use crate::ports::CatalogError;

/// Organizations, workspaces, principals and tokens, and the log of changes.
///
/// Every call is one transaction. Names are found by their text and ids by theirs; whoever may not see a thing gets
/// the answer for one that never existed.
#[async_trait]
pub trait Access: Send + Sync {
    /// Makes an organization with its first workspace; `Exists` if the name is taken.
    async fn create_organization(
        &self,
        new: &Organization,
        first: &Workspace,
    ) -> Result<(), AccessError>;

    /// Returns an organization by id or name.
    async fn organization(&self, name: &str) -> Result<Organization, AccessError>;

    /// Returns every organization, by name.
    async fn organizations(&self) -> Result<Vec<Organization>, AccessError>;

    /// Makes a workspace; `NotFound` without its organization, `Exists` if the name is taken.
    async fn create_workspace(&self, new: &Workspace) -> Result<(), AccessError>;

    /// Returns a workspace of the organization by id or name.
    async fn workspace(
        &self,
        organization: &OrganizationId,
        name: &str,
    ) -> Result<Workspace, AccessError>;

    /// Returns every workspace of the organization, by name.
    async fn workspaces(
        &self,
        organization: &OrganizationId,
    ) -> Result<Vec<Workspace>, AccessError>;

    /// Makes a principal; `Exists` if the organization has one of that name.
    async fn create_principal(&self, new: &Principal) -> Result<(), AccessError>;

    /// Returns every principal of the organization, by name.
    async fn principals(
        &self,
        organization: &OrganizationId,
    ) -> Result<Vec<Principal>, AccessError>;

    /// Shuts a principal out, by id or name; again changes nothing.
    async fn disable_principal(
        &self,
        organization: &OrganizationId,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<Principal, AccessError>;

    /// Makes a token for a principal of the organization.
    async fn create_token(
        &self,
        organization: &OrganizationId,
        new: &NewToken,
        now: DateTime<Utc>,
    ) -> Result<Token, AccessError>;

    /// Does so, and takes back all other tokens that the principal has for that workspace, in one step: of those who ask at once the last has one that is valid.
    async fn renew_token(
        &self,
        organization: &OrganizationId,
        new: &NewToken,
        now: DateTime<Utc>,
    ) -> Result<Token, AccessError>;

    /// Makes the first principal with an administrator's token, unless the default organization ever had a principal;
    /// returns whether it did. Asked again with the same token, by id and text, it says so again.
    async fn create_first_token(
        &self,
        principal: &PrincipalId,
        new: &NewToken,
        now: DateTime<Utc>,
    ) -> Result<bool, AccessError>;

    /// Returns every token of the organization, oldest first.
    async fn tokens(&self, organization: &OrganizationId) -> Result<Vec<Token>, AccessError>;

    /// Takes a token back; again changes nothing.
    async fn revoke_token(
        &self,
        organization: &OrganizationId,
        id: &TokenId,
        now: DateTime<Utc>,
    ) -> Result<Token, AccessError>;

    /// Returns what the token with this SHA-256 opens now; nothing if it is unknown, expired or revoked, or its principal is
    /// shut out. Notes the use, to a minute.
    async fn grant(&self, sha256: &str, now: DateTime<Utc>) -> Result<Option<Grant>, AccessError>;

    /// Writes down that a change is asked for, before it is made.
    async fn begin_audit(&self, new: &NewAudit, now: DateTime<Utc>) -> Result<(), AccessError>;

    /// Writes down what came of it, and the target if only now it has a name.
    async fn end_audit(
        &self,
        id: &AuditId,
        outcome: &str,
        target: Option<&str>,
    ) -> Result<(), AccessError>;

    /// Returns changes of the workspace, or those of the organization in no workspace, oldest first, after the one named.
    async fn audits(
        &self,
        organization: &OrganizationId,
        workspace: Option<&WorkspaceId>,
        page: (Option<&AuditId>, u32),
    ) -> Result<Vec<Audit>, AccessError>;
}

/// What went wrong with workspaces, principals or tokens.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The named thing does not exist, for whoever asks.
    #[error("no {what} `{name}`")]
    NotFound {
        /// `organization`, `workspace`, `principal`, `token`, `run` or `link`.
        what: &'static str,
        /// The name or id asked for.
        name: String,
    },
    /// The name is taken.
    #[error("the {what} `{name}` exists already; choose another name")]
    Exists {
        /// `organization`, `workspace` or `principal`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// The principal is shut out.
    #[error("the principal `{name}` is disabled; it gets no tokens")]
    Disabled {
        /// Its name.
        name: String,
    },
    /// More than there may be.
    #[error(
        "the workspace has {max} {what}; those that are over are forgotten after a week, make fewer"
    )]
    TooMany {
        /// `links`.
        what: &'static str,
        /// The most.
        max: u64,
    },
    /// The metadata database did not answer or refused.
    #[error(transparent)]
    Database(#[from] CatalogError),
}

impl Failure for AccessError {
    fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::Exists { .. } | Self::Disabled { .. } => Code::Conflict,
            Self::TooMany { .. } => Code::RateLimited,
            Self::Database(error) => error.code(),
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::Disabled { .. }
            | Self::TooMany { .. } => Fault::Request,
            Self::Database(error) => error.fault(),
        }
    }
}
