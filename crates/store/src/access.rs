//! Organizations, workspaces, principals, tokens and the log of changes: the store as an [`Access`].

mod audits;
mod organizations;
mod principals;
mod tokens;
mod workspaces;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::access::{Audit, Grant, NewAudit, NewToken, Organization, Principal, Token, Workspace};
use model::ports::{Access, AccessError, CatalogError};
use model::{AuditId, OrganizationId, PrincipalId, TokenId, WorkspaceId};

use crate::Store;
use crate::database::{Conflict, Error, Transaction, transact};

#[async_trait]
impl Access for Store {
    async fn create_organization(
        &self,
        new: &Organization,
        first: &Workspace,
    ) -> Result<(), AccessError> {
        transact!(self.database, AccessError, |tx| organizations::create(tx, new, first))
    }

    async fn organization(&self, name: &str) -> Result<Organization, AccessError> {
        organizations::find(&mut self.read().await?, name).await
    }

    async fn organizations(&self) -> Result<Vec<Organization>, AccessError> {
        organizations::all(&mut self.read().await?).await
    }

    async fn create_workspace(&self, new: &Workspace) -> Result<(), AccessError> {
        transact!(self.database, AccessError, |tx| workspaces::create(tx, new))
    }

    async fn workspace(
        &self,
        organization: &OrganizationId,
        name: &str,
    ) -> Result<Workspace, AccessError> {
        workspaces::find(&mut self.read().await?, organization, name).await
    }

    async fn workspaces(
        &self,
        organization: &OrganizationId,
    ) -> Result<Vec<Workspace>, AccessError> {
        workspaces::all(&mut self.read().await?, organization).await
    }

    async fn create_principal(&self, new: &Principal) -> Result<(), AccessError> {
        transact!(self.database, AccessError, |tx| principals::create(tx, new))
    }

    async fn principals(
        &self,
        organization: &OrganizationId,
    ) -> Result<Vec<Principal>, AccessError> {
        principals::all(&mut self.read().await?, organization).await
    }

    async fn disable_principal(
        &self,
        organization: &OrganizationId,
        name: &str,
        now: DateTime<Utc>,
    ) -> Result<Principal, AccessError> {
        transact!(self.database, AccessError, |tx| principals::disable(tx, organization, name, now))
    }

    async fn create_token(
        &self,
        organization: &OrganizationId,
        new: &NewToken,
        now: DateTime<Utc>,
    ) -> Result<Token, AccessError> {
        transact!(self.database, AccessError, |tx| tokens::create(tx, organization, new, now))
    }

    async fn renew_token(
        &self,
        organization: &OrganizationId,
        new: &NewToken,
        now: DateTime<Utc>,
    ) -> Result<Token, AccessError> {
        transact!(self.database, AccessError, |tx| tokens::renew(tx, organization, new, now))
    }

    async fn create_first_token(
        &self,
        principal: &PrincipalId,
        new: &NewToken,
        now: DateTime<Utc>,
    ) -> Result<bool, AccessError> {
        transact!(self.database, AccessError, |tx| tokens::create_first(tx, principal, new, now))
    }

    async fn tokens(&self, organization: &OrganizationId) -> Result<Vec<Token>, AccessError> {
        tokens::all(&mut self.read().await?, organization).await
    }

    async fn revoke_token(
        &self,
        organization: &OrganizationId,
        id: &TokenId,
        now: DateTime<Utc>,
    ) -> Result<Token, AccessError> {
        transact!(self.database, AccessError, |tx| tokens::revoke(tx, organization, id, now))
    }

    async fn grant(&self, sha256: &str, now: DateTime<Utc>) -> Result<Option<Grant>, AccessError> {
        let found = tokens::grant(&mut self.database.glance().await?, sha256, now).await?;
        let Some((grant, is_noted)) = found else { return Ok(None) };
        if !is_noted {
            let noted: Result<(), AccessError> =
                transact!(self.database, AccessError, |tx| tokens::note_use(tx, &grant.token, now));
            // A note is no reason to refuse whoever asks.
            if let Err(error) = noted {
                tracing::warn!(%error, token.id = %grant.token, "a use was not noted");
            }
        }
        Ok(Some(grant))
    }

    async fn begin_audit(&self, new: &NewAudit, now: DateTime<Utc>) -> Result<(), AccessError> {
        transact!(self.database, AccessError, |tx| audits::begin(tx, new, now))
    }

    async fn end_audit(
        &self,
        id: &AuditId,
        outcome: &str,
        target: Option<&str>,
    ) -> Result<(), AccessError> {
        transact!(self.database, AccessError, |tx| audits::end(tx, id, outcome, target))
    }

    async fn audits(
        &self,
        organization: &OrganizationId,
        workspace: Option<&WorkspaceId>,
        page: (Option<&AuditId>, u32),
    ) -> Result<Vec<Audit>, AccessError> {
        audits::page(&mut self.read().await?, organization, workspace, page).await
    }
}

impl Store {
    async fn read(&self) -> Result<Transaction, AccessError> {
        Ok(self.database.read().await?)
    }
}

impl From<Error> for AccessError {
    fn from(error: Error) -> Self {
        Self::Database(CatalogError::from(error))
    }
}

impl Conflict for AccessError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_conflict())
    }
}

pub(crate) fn not_found(what: &'static str, name: &str) -> AccessError {
    AccessError::NotFound { what, name: name.to_owned() }
}
