//! What is secret of destinations: sealed on the way in, opened on the way out.

use std::collections::BTreeMap;

use model::destination::{Destination, Terms};
use model::ports::PlaceError;
use model::{DestinationId, SecretText, WorkspaceId};

use crate::KeyRing;
use crate::database::{Error, Sql, Transaction, args};
use crate::vault::{self, Key, Owner, Shut};

/// Returns the key under which secrets are sealed now, and holds it until the transaction ends. The first that seals
/// names the first key of its ring.
pub(crate) async fn current<'a>(
    tx: &mut Transaction,
    ring: &'a KeyRing,
) -> Result<&'a Key, PlaceError> {
    let first = ring.keys().first().ok_or(PlaceError::NoKey)?;
    let sql = "INSERT INTO secret_key (one, key_id) VALUES (1, $1) ON CONFLICT DO NOTHING";
    tx.execute(sql, args![first.id()]).await?;
    let sql = Sql::for_update("SELECT key_id FROM secret_key WHERE one = 1");
    let key = tx.one(sql, args![]).await?.text("key_id")?;
    ring.get(&key).ok_or(PlaceError::OtherKey { key })
}

/// Sets and removes secrets as the terms say.
pub(super) async fn put(
    tx: &mut Transaction,
    key: Option<&Key>,
    (workspace, destination): (&WorkspaceId, &DestinationId),
    terms: &Terms,
) -> Result<(), PlaceError> {
    for (field, secret) in &terms.secrets {
        let (Some(secret), Some(key)) = (secret, key) else {
            let sql = "DELETE FROM destination_secret WHERE destination = $1 AND field = $2";
            tx.execute(sql, args![destination.as_str(), field]).await?;
            continue;
        };
        let sealed = vault::seal(key, &Owner { workspace, destination, field }, secret)?;
        let sql = "INSERT INTO destination_secret (destination, field, key_id, sealed)
                   VALUES ($1, $2, $3, $4)
                   ON CONFLICT (destination, field)
                   DO UPDATE SET key_id = excluded.key_id, sealed = excluded.sealed";
        tx.execute(sql, args![destination.as_str(), field, key.id(), &sealed]).await?;
    }
    Ok(())
}

pub(super) async fn remove(tx: &mut Transaction, id: &DestinationId) -> Result<(), Error> {
    tx.execute("DELETE FROM destination_secret WHERE destination = $1", args![id.as_str()]).await?;
    Ok(())
}

pub(super) async fn names(tx: &mut Transaction, id: &DestinationId) -> Result<Vec<String>, Error> {
    let sql = "SELECT field FROM destination_secret WHERE destination = $1";
    let rows = tx.all(sql, args![id.as_str()]).await?;
    let mut names: Vec<String> =
        rows.iter().map(|row| row.text("field")).collect::<Result<_, _>>()?;
    names.sort();
    Ok(names)
}

/// Returns the names of every destination's secrets.
pub(super) async fn all_names(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<BTreeMap<DestinationId, Vec<String>>, Error> {
    let sql = "SELECT s.destination, s.field FROM destination_secret s
               JOIN destination d ON d.id = s.destination WHERE d.workspace = $1";
    let mut all: BTreeMap<DestinationId, Vec<String>> = BTreeMap::new();
    for row in tx.all(sql, args![workspace.as_str()]).await? {
        let id = DestinationId::new(row.text("destination")?);
        all.entry(id).or_default().push(row.text("field")?);
    }
    for names in all.values_mut() {
        names.sort();
    }
    Ok(all)
}

/// Opens every secret of a destination.
pub(super) async fn open(
    tx: &mut Transaction,
    ring: &KeyRing,
    destination: &Destination,
) -> Result<BTreeMap<String, SecretText>, PlaceError> {
    let sql = "SELECT field, key_id, sealed FROM destination_secret WHERE destination = $1";
    let mut all = BTreeMap::new();
    for row in tx.all(sql, args![destination.id.as_str()]).await? {
        let (field, key) = (row.text("field")?, row.text("key_id")?);
        let Destination { id, workspace, name, .. } = destination;
        let owner = Owner { workspace, destination: id, field: &field };
        let opened = vault::open(ring, &owner, (&key, &row.bytes("sealed")?));
        let secret = opened.map_err(|shut| refused(shut, name, (&field, key)))?;
        all.insert(field, secret);
    }
    Ok(all)
}

/// Says which secret does not open, and not what is in it.
pub(crate) fn refused(shut: Shut, name: &str, (field, key): (&str, String)) -> PlaceError {
    let (name, field) = (name.to_owned(), field.to_owned());
    match shut {
        Shut::UnknownKey => PlaceError::UnknownKey { name, field, key },
        Shut::Damaged => PlaceError::Damaged { name, field, key },
    }
}
