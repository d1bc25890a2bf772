//! Enrolments.

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::enrolment::{Enrolment, NewEnrolment};
use crate::ids::WorkspaceId;
use crate::ports::{CatalogError, PlaceError};
use crate::secret::SecretText;

/// Keeps what doors call workspaces. Every call is one transaction.
#[async_trait]
pub trait Enrolments: Send + Sync {
    /// Enrols a workspace, and says so; one that is enrolled stays as it is. `NotFound` without the workspace, `Exists` if another one has
    /// one of the names.
    async fn enrol(&self, new: &NewEnrolment) -> Result<(Enrolment, bool), PlaceError>;

    /// Returns the enrolment of a workspace.
    async fn enrolment(
        &self,
        workspace: &WorkspaceId,
        door: &str,
    ) -> Result<Option<Enrolment>, CatalogError>;

    /// Returns the enrolment that a door knows by a name of a kind.
    async fn enrolled(
        &self,
        door: &str,
        named: (&str, &str),
    ) -> Result<Option<Enrolment>, CatalogError>;

    /// Returns every enrolment of a door.
    async fn enrolments(&self, door: &str) -> Result<Vec<Enrolment>, CatalogError>;

    /// Returns the secret of an enrolment; `NotFound` without one.
    async fn enrolment_secret(
        &self,
        workspace: &WorkspaceId,
        door: &str,
    ) -> Result<SecretText, PlaceError>;

    /// Puts another secret in its place; `NotFound` without an enrolment.
    async fn change_enrolment_secret(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        secret: &SecretText,
    ) -> Result<(), PlaceError>;

    /// Notes up to where what the door makes by itself was asked for, unless somebody has noted more.
    async fn cover(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        to: DateTime<Utc>,
    ) -> Result<(), CatalogError>;
}
