//! Named destinations and their secrets: the store as [`Places`].
//!
//! Whoever seals a secret holds the row of the current key until it is written, and holds it first of all rows. So once
//! a rotation has named another key, nothing is sealed under the one before, whichever process was about to.

mod rotation;
mod rows;
mod secrets;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::WorkspaceId;
use model::destination::{Destination, NewDestination, OpenDestination, Seen, Terms};
use model::ports::{CatalogError, PlaceError, Places};

pub use rotation::{Lost, Resealed};
pub(crate) use secrets::{current, refused};

use crate::database::{Conflict, Error, Transaction, transact};
use crate::{KeyRing, Store};

/// Times that keys are read in all when a secret is under one that is not there: another process may just rotate them.
pub(crate) const KEY_TRIES: u32 = 5;

/// Does something with the keys: `with_keys!(store, seals, |ring| body)`, again with those that are there then.
macro_rules! with_keys {
    ($store:expr, $seals:expr, |$ring:ident| $body:expr) => {{
        let mut tries = 1;
        loop {
            let read = $store.vault.ring($seals).await?;
            let $ring = &read;
            match $body {
                Err(PlaceError::OtherKey { .. } | PlaceError::UnknownKey { .. })
                    if tries < $crate::places::KEY_TRIES =>
                {
                    tries += 1;
                }
                outcome => break outcome,
            }
        }
    }};
}

pub(crate) use with_keys;

#[async_trait]
impl Places for Store {
    async fn create_destination(
        &self,
        workspace: &WorkspaceId,
        new: &NewDestination,
        now: DateTime<Utc>,
    ) -> Result<Destination, PlaceError> {
        with_keys!(self, seals(&new.terms), |ring| transact!(self.database, PlaceError, |tx| {
            rows::create(tx, ring, (workspace, new), now)
        }))
    }

    async fn destinations(&self, workspace: &WorkspaceId) -> Result<Vec<Destination>, PlaceError> {
        rows::all(&mut self.read_places().await?, workspace).await
    }

    async fn destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<Destination, PlaceError> {
        rows::find(&mut self.read_places().await?, workspace, name).await
    }

    async fn change_destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        (seen, terms): (&Seen, &Terms),
        now: DateTime<Utc>,
    ) -> Result<Destination, PlaceError> {
        with_keys!(self, seals(terms), |ring| transact!(self.database, PlaceError, |tx| {
            rows::change(tx, ring, (workspace, name), (seen, terms, now))
        }))
    }

    async fn delete_destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        seen: Option<&Seen>,
    ) -> Result<(), PlaceError> {
        transact!(self.database, PlaceError, |tx| rows::delete(tx, workspace, name, seen))
    }

    async fn open_destination(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<OpenDestination, PlaceError> {
        with_keys!(self, false, |ring| self.open_with(ring, workspace, name).await)
    }
}

impl Store {
    async fn read_places(&self) -> Result<Transaction, PlaceError> {
        Ok(self.database.read().await?)
    }

    async fn open_with(
        &self,
        ring: &KeyRing,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<OpenDestination, PlaceError> {
        let tx = &mut self.read_places().await?;
        let destination = rows::find(tx, workspace, name).await?;
        let secrets = secrets::open(tx, ring, &destination).await?;
        Ok(OpenDestination { destination, secrets })
    }
}

/// Returns whether a change seals something, for which a key has to be there.
fn seals(terms: &Terms) -> bool {
    terms.secrets.values().any(Option::is_some)
}

impl From<Error> for PlaceError {
    fn from(error: Error) -> Self {
        Self::Database(CatalogError::from(error))
    }
}

impl Conflict for PlaceError {
    fn is_conflict(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_conflict())
    }
}
