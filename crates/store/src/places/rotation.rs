//! Sealing every secret under the newest key.
//!
//! Contract: first the newest key becomes the current one, so that nothing more is sealed under another; then some
//! secrets a transaction are opened and sealed anew. Killed anywhere, every secret is whole under a key of the ring,
//! and the same call finishes the work. Older keys may go once it returned without losses.

use model::limits::RESEAL_SECRETS;
use model::ports::PlaceError;
use model::{DestinationId, WorkspaceId};

use super::secrets::{current, refused};
use crate::database::{Row, Transaction, args, transact};
use crate::vault::{self, Key, Owner};
use crate::{KeyRing, Store, enrolments};

/// What sealing anew came to.
#[derive(Debug, Default)]
pub struct Resealed {
    /// The id of the key under which secrets are now.
    pub key: String,
    /// Secrets that were under other keys.
    pub secrets: u64,
    /// Those that could not be opened, and stay as they are.
    pub lost: Vec<Lost>,
}

/// A secret that could not be opened.
#[derive(Debug)]
pub struct Lost {
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Which it is, and why.
    pub reason: PlaceError,
}

/// How far a rotation is.
#[derive(Debug, Default)]
struct Batch {
    /// The last secret that was looked at; nothing at the end.
    last: Option<(String, String)>,
    secrets: u64,
    lost: Vec<Lost>,
}

impl Store {
    /// Seals every secret under the first key of the ring, and every later one, too.
    pub async fn reseal(&self) -> Result<Resealed, PlaceError> {
        let ring = &self.vault.ring(true).await?;
        let first = ring.keys().first().ok_or(PlaceError::NoKey)?;
        transact!(self.database, PlaceError, |tx| set_current(tx, first))?;
        let mut done = Resealed { key: first.id().to_owned(), ..Resealed::default() };
        let mut last = (String::new(), String::new());
        loop {
            let batch = transact!(self.database, PlaceError, |tx| batch(tx, ring, first, &last))?;
            done.secrets += batch.secrets;
            done.lost.extend(batch.lost);
            match batch.last {
                Some(next) => last = next,
                None => break,
            }
        }
        let rest = transact!(self.database, PlaceError, |tx| enrolled(tx, ring, first))?;
        done.secrets += rest.secrets;
        done.lost.extend(rest.lost);
        Ok(done)
    }
}

/// Waits for those that seal under the key before.
async fn set_current(tx: &mut Transaction, key: &Key) -> Result<(), PlaceError> {
    let sql = "INSERT INTO secret_key (one, key_id) VALUES (1, $1)
               ON CONFLICT (one) DO UPDATE SET key_id = excluded.key_id";
    tx.execute(sql, args![key.id()]).await?;
    Ok(())
}

/// Seals the secrets of enrolments anew.
async fn enrolled(tx: &mut Transaction, ring: &KeyRing, first: &Key) -> Result<Batch, PlaceError> {
    let key = held(tx, ring, first).await?;
    let (secrets, lost) = enrolments::reseal(tx, (ring, key)).await?;
    let lost = lost.into_iter().map(|(workspace, reason)| Lost { workspace, reason }).collect();
    Ok(Batch { last: None, secrets, lost })
}

/// Returns the key under which all is sealed anew, held so that no secret that is set now is overwritten by the one before.
async fn held<'a>(
    tx: &mut Transaction,
    ring: &'a KeyRing,
    first: &Key,
) -> Result<&'a Key, PlaceError> {
    let key = current(tx, ring).await?;
    if key.id() != first.id() {
        // Another rotation goes on with another key.
        return Err(PlaceError::OtherKey { key: key.id().to_owned() });
    }
    Ok(key)
}

async fn batch(
    tx: &mut Transaction,
    ring: &KeyRing,
    first: &Key,
    after: &(String, String),
) -> Result<Batch, PlaceError> {
    let key = held(tx, ring, first).await?;
    let sql = "SELECT s.destination, s.field, s.key_id, s.sealed, d.workspace, d.name
               FROM destination_secret s JOIN destination d ON d.id = s.destination
               WHERE s.key_id <> $1
                 AND (s.destination > $2 OR (s.destination = $2 AND s.field > $3))
               ORDER BY s.destination, s.field LIMIT $4";
    let rows = tx.all(sql, args![key.id(), &after.0, &after.1, RESEAL_SECRETS]).await?;
    let mut done = Batch::default();
    for row in &rows {
        match reseal(tx, ring, key, row).await? {
            None => done.secrets += 1,
            Some(lost) => done.lost.push(lost),
        }
        done.last = Some((row.text("destination")?, row.text("field")?));
    }
    Ok(done)
}

async fn reseal(
    tx: &mut Transaction,
    ring: &KeyRing,
    key: &Key,
    row: &Row,
) -> Result<Option<Lost>, PlaceError> {
    let workspace = WorkspaceId::new(row.text("workspace")?);
    let destination = DestinationId::new(row.text("destination")?);
    let (field, old) = (row.text("field")?, row.text("key_id")?);
    let owner = Owner { workspace: &workspace, destination: &destination, field: &field };
    let secret = match vault::open(ring, &owner, (&old, &row.bytes("sealed")?)) {
        Ok(secret) => secret,
        Err(shut) => {
            let reason = refused(shut, &row.text("name")?, (&field, old));
            return Ok(Some(Lost { workspace, reason }));
        }
    };
    let sealed = vault::seal(key, &owner, &secret)?;
    let sql = "UPDATE destination_secret SET key_id = $3, sealed = $4
               WHERE destination = $1 AND field = $2";
    tx.execute(sql, args![destination.as_str(), &field, key.id(), &sealed]).await?;
    Ok(None)
}
