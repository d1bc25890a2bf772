//! Enabling a workspace: from then on its rows are exported hour by hour.

use std::collections::BTreeMap;

use model::access::Workspace;
use model::enrolment::{Enrolment, NewEnrolment};
use model::ports::{Catalog, Enrolments, PlaceError};
use model::{Clock, Failure, Fault, PortError, SecretText, digest};

use super::platform::READS;
use super::{AI, CLIENT, Hour, NAME, PROJECT};
use crate::canonical::{self, Growth};

/// Random bits of the system's.
type Random = fn() -> Result<[u8; 32], PortError>;

/// Letters and digits of a project's uid.
const UID_CHARS: usize = 8;

/// Hex digits of an `ai`.
const AI_DIGITS: usize = 16;

/// A workspace that is enabled.
#[derive(Debug)]
pub struct Enabled {
    /// Its names.
    pub enrolment: Enrolment,
    /// Its secret, if it was enabled now.
    pub secret: Option<SecretText>,
    /// Why its canonical datasets do not fit, if they do not: only views of its own can be exported then.
    pub misfit: Option<String>,
}

/// Enables a workspace; one that is enabled stays as it is.
///
/// # Errors
///
/// Where no secret can be kept, and whatever the metadata database says.
pub async fn enable(
    (enrolments, catalog): (&dyn Enrolments, &dyn Catalog),
    workspace: &Workspace,
    (random, clock): (Random, &dyn Clock),
) -> Result<Enabled, PortError> {
    let now = clock.now();
    let name = |chars: usize| Ok::<_, PortError>(digest::hex(&random()?)[..chars].to_owned());
    let names = BTreeMap::from([
        (AI.to_owned(), name(AI_DIGITS)?),
        (PROJECT.to_owned(), name(UID_CHARS)?),
        (CLIENT.to_owned(), name(32)?),
    ]);
    let secret = SecretText::new(digest::hex(&random()?));
    let new = NewEnrolment {
        door: NAME.into(),
        workspace: workspace.id.clone(),
        names,
        secret: secret.clone(),
        since: now,
        // GI-12: the hour that it is in is the first.
        covered: Hour::of(now).start(),
    };
    // Before the first hour, so that none is read without a column. What does not fit is for the hours to complain of.
    let ensured =
        canonical::ensure((catalog, clock), &workspace.id, (READS, Growth::Allowed)).await;
    let misfit = ensured.err().map(|error| match error.fault() {
        Fault::Source => Ok(error.to_string()),
        _ => Err(error),
    });
    let misfit = misfit.transpose()?;
    let (enrolment, is_new) = enrolments.enrol(&new).await?;
    Ok(Enabled { enrolment, secret: is_new.then_some(secret), misfit })
}

/// Puts another secret in the place of a workspace's; returns it. Codes stay valid, links do not.
///
/// # Errors
///
/// Of a workspace that is not enabled, and as [`enable`].
pub async fn change_secret(
    enrolments: &dyn Enrolments,
    workspace: &Workspace,
    random: Random,
) -> Result<SecretText, PortError> {
    let secret = SecretText::new(digest::hex(&random()?));
    enrolments.change_enrolment_secret(&workspace.id, NAME, &secret).await.map_err(|error| {
        match error {
            PlaceError::NotFound { .. } => PortError::new(
                model::Code::NotFound,
                model::Fault::Request,
                format!("the workspace `{}` is not enabled; enable it first", workspace.name),
            ),
            error => error.into(),
        }
    })?;
    Ok(secret)
}
