//! Enrolments: the store as [`Enrolments`]. Secrets are sealed as those of destinations are.

use std::collections::BTreeMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::enrolment::{Enrolment, NewEnrolment};
use model::ports::{CatalogError, Enrolments, PlaceError};
use model::{DestinationId, OrganizationId, SecretText, WorkspaceId};

use crate::database::{Error, Row, Transaction, args, transact, truncate};
use crate::places::{current, refused, with_keys};
use crate::vault::{self, Key, Owner};
use crate::{KeyRing, Store};

/// What the one secret of an enrolment is called where it does not open.
const FIELD: &str = "secret";

/// The columns of an enrolment.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT e.door, e.workspace, e.since, e.covered, e.key_id, e.sealed, w.organization
             FROM enrolment e JOIN workspace w ON w.id = e.workspace ",
            $tail
        )
    };
}

#[async_trait]
impl Enrolments for Store {
    async fn enrol(&self, new: &NewEnrolment) -> Result<(Enrolment, bool), PlaceError> {
        with_keys!(self, true, |ring| transact!(self.database, PlaceError, |tx| enrol(
            tx, ring, new
        )))
    }

    async fn enrolment(
        &self,
        workspace: &WorkspaceId,
        door: &str,
    ) -> Result<Option<Enrolment>, CatalogError> {
        Ok(find(&mut self.database.glance().await?, workspace, door).await?)
    }

    async fn enrolled(
        &self,
        door: &str,
        (kind, name): (&str, &str),
    ) -> Result<Option<Enrolment>, CatalogError> {
        let tx = &mut self.database.glance().await?;
        let sql =
            "SELECT workspace FROM enrolment_name WHERE door = $1 AND kind = $2 AND name = $3";
        let Some(row) = tx.first(sql, args![door, kind, name]).await? else { return Ok(None) };
        let workspace = WorkspaceId::new(row.text("workspace")?);
        Ok(find(tx, &workspace, door).await?)
    }

    async fn enrolments(&self, door: &str) -> Result<Vec<Enrolment>, CatalogError> {
        let tx = &mut self.database.glance().await?;
        let rows = tx.all(select!("WHERE e.door = $1 ORDER BY e.workspace"), args![door]).await?;
        let mut names: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let sql = "SELECT kind, name, workspace FROM enrolment_name WHERE door = $1";
        for row in tx.all(sql, args![door]).await? {
            let of = names.entry(row.text("workspace")?).or_default();
            of.insert(row.text("kind")?, row.text("name")?);
        }
        let with_names = |row: &Row| {
            let names = names.remove(&row.text("workspace")?).unwrap_or_default();
            read(row, names)
        };
        Ok(rows.iter().map(with_names).collect::<Result<_, _>>()?)
    }

    async fn enrolment_secret(
        &self,
        workspace: &WorkspaceId,
        door: &str,
    ) -> Result<SecretText, PlaceError> {
        with_keys!(self, false, |ring| self.secret_of(ring, workspace, door).await)
    }

    async fn change_enrolment_secret(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        secret: &SecretText,
    ) -> Result<(), PlaceError> {
        with_keys!(self, true, |ring| transact!(self.database, PlaceError, |tx| change(
            tx,
            ring,
            (workspace, door),
            secret
        )))
    }

    async fn cover(
        &self,
        workspace: &WorkspaceId,
        door: &str,
        to: DateTime<Utc>,
    ) -> Result<(), CatalogError> {
        transact!(self.database, CatalogError, |tx| cover(tx, workspace, door, to))
    }
}

impl Store {
    async fn secret_of(
        &self,
        ring: &KeyRing,
        workspace: &WorkspaceId,
        door: &str,
    ) -> Result<SecretText, PlaceError> {
        let tx = &mut self.database.read().await?;
        let sql = select!("WHERE e.workspace = $1 AND e.door = $2");
        let row = tx.first(sql, args![workspace.as_str(), door]).await?;
        let row = row.ok_or_else(|| not_found(door))?;
        open(ring, &row)
    }
}

fn not_found(door: &str) -> PlaceError {
    PlaceError::NotFound { name: door.to_owned() }
}

/// Returns what the secret of an enrolment is bound to. No id of a destination has a slash.
fn id(door: &str) -> DestinationId {
    DestinationId::new(format!("enrolment/{door}"))
}

fn open(ring: &KeyRing, row: &Row) -> Result<SecretText, PlaceError> {
    let (door, key) = (row.text("door")?, row.text("key_id")?);
    let (workspace, destination) = (WorkspaceId::new(row.text("workspace")?), id(&door));
    let owner = Owner { workspace: &workspace, destination: &destination, field: FIELD };
    let opened = vault::open(ring, &owner, (&key, &row.bytes("sealed")?));
    opened.map_err(|shut| refused(shut, &door, (FIELD, key)))
}

fn seal(
    key: &Key,
    (workspace, door): (&WorkspaceId, &str),
    secret: &SecretText,
) -> Result<bytes::Bytes, PlaceError> {
    vault::seal(key, &Owner { workspace, destination: &id(door), field: FIELD }, secret)
}

async fn enrol(
    tx: &mut Transaction,
    ring: &KeyRing,
    new: &NewEnrolment,
) -> Result<(Enrolment, bool), PlaceError> {
    let NewEnrolment { door, workspace, names, secret, since, covered } = new;
    let key = current(tx, ring).await?;
    let sql = "SELECT id FROM workspace WHERE id = $1";
    if tx.first(sql, args![workspace.as_str()]).await?.is_none() {
        return Err(PlaceError::NotFound { name: workspace.to_string() });
    }
    let sealed = seal(key, (workspace, door), secret)?;
    let sql = "INSERT INTO enrolment (door, workspace, since, covered, key_id, sealed)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (since, covered) = (truncate(*since), truncate(*covered));
    let values = args![door, workspace.as_str(), since, covered, key.id(), &sealed];
    let is_new = tx.execute(sql, values).await? > 0;
    for (kind, name) in names.iter().filter(|_| is_new) {
        let sql = "INSERT INTO enrolment_name (door, kind, name, workspace)
                   VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        if tx.execute(sql, args![door, kind, name, workspace.as_str()]).await? == 0 {
            return Err(PlaceError::Exists { name: name.clone() });
        }
    }
    let enrolled = find(tx, workspace, door).await?.ok_or_else(|| not_found(door))?;
    Ok((enrolled, is_new))
}

async fn change(
    tx: &mut Transaction,
    ring: &KeyRing,
    (workspace, door): (&WorkspaceId, &str),
    secret: &SecretText,
) -> Result<(), PlaceError> {
    let key = current(tx, ring).await?;
    put(tx, key, (workspace, door), secret).await
}

async fn put(
    tx: &mut Transaction,
    key: &Key,
    (workspace, door): (&WorkspaceId, &str),
    secret: &SecretText,
) -> Result<(), PlaceError> {
    let sealed = seal(key, (workspace, door), secret)?;
    let sql = "UPDATE enrolment SET key_id = $3, sealed = $4 WHERE door = $1 AND workspace = $2";
    let values = args![door, workspace.as_str(), key.id(), &sealed];
    if tx.execute(sql, values).await? == 0 {
        return Err(not_found(door));
    }
    Ok(())
}

async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    door: &str,
) -> Result<Option<Enrolment>, Error> {
    let sql = select!("WHERE e.workspace = $1 AND e.door = $2");
    let Some(row) = tx.first(sql, args![workspace.as_str(), door]).await? else {
        return Ok(None);
    };
    let sql = "SELECT kind, name FROM enrolment_name WHERE door = $1 AND workspace = $2";
    let names = tx.all(sql, args![door, workspace.as_str()]).await?;
    let names = names.iter().map(|row| Ok((row.text("kind")?, row.text("name")?)));
    read(&row, names.collect::<Result<_, Error>>()?).map(Some)
}

fn read(row: &Row, names: BTreeMap<String, String>) -> Result<Enrolment, Error> {
    Ok(Enrolment {
        door: row.text("door")?,
        workspace: WorkspaceId::new(row.text("workspace")?),
        organization: OrganizationId::new(row.text("organization")?),
        names,
        since: row.at("since")?,
        covered: row.at("covered")?,
    })
}

async fn cover(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    door: &str,
    to: DateTime<Utc>,
) -> Result<(), Error> {
    let sql =
        "UPDATE enrolment SET covered = $3 WHERE door = $1 AND workspace = $2 AND covered < $3";
    tx.execute(sql, args![door, workspace.as_str(), truncate(to)]).await?;
    Ok(())
}

/// Seals what is under other keys under this one; returns how many there were, and what could not be opened.
pub(crate) async fn reseal(
    tx: &mut Transaction,
    (ring, key): (&KeyRing, &Key),
) -> Result<(u64, Vec<(WorkspaceId, PlaceError)>), PlaceError> {
    // There are few: one a workspace and door.
    let rows = tx.all(select!("WHERE e.key_id <> $1"), args![key.id()]).await?;
    let (mut done, mut lost) = (0, Vec::new());
    for row in &rows {
        let (workspace, door) = (WorkspaceId::new(row.text("workspace")?), row.text("door")?);
        match open(ring, row) {
            Ok(secret) => {
                put(tx, key, (&workspace, &door), &secret).await?;
                done += 1;
            }
            Err(reason @ (PlaceError::UnknownKey { .. } | PlaceError::Damaged { .. })) => {
                lost.push((workspace, reason));
            }
            Err(error) => return Err(error),
        }
    }
    Ok((done, lost))
}
