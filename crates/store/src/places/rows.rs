//! Destinations, without what is secret of them.

use chrono::{DateTime, Utc};
use model::destination::{Destination, NewDestination, Seen, Terms};
use model::ports::PlaceError;
use model::{DestinationId, WorkspaceId};

use super::{seals, secrets};
use crate::KeyRing;
use crate::catalog::check_workspace;
use crate::database::{Error, Row, Sql, Transaction, args, truncate};
use crate::vault::Key;

/// The columns of a destination.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, workspace, name, url, settings, version, created_at, updated_at
             FROM destination WHERE workspace = $1",
            $tail
        )
    };
}

pub(super) async fn create(
    tx: &mut Transaction,
    ring: &KeyRing,
    (workspace, new): (&WorkspaceId, &NewDestination),
    now: DateTime<Utc>,
) -> Result<Destination, PlaceError> {
    check_workspace(tx, workspace).await?;
    let key = key(tx, ring, &new.terms).await?;
    let sql = "INSERT INTO destination (id, workspace, name, url, settings, version, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, 1, $6, $6) ON CONFLICT DO NOTHING";
    let (id, at) = (new.id.as_str(), truncate(now));
    let values = args![id, workspace.as_str(), &new.name, &new.terms.url, settings(&new.terms), at];
    if tx.execute(sql, values).await? == 0 {
        return Err(PlaceError::Exists { name: new.name.clone() });
    }
    secrets::put(tx, key, (workspace, &new.id), &new.terms).await?;
    find(tx, workspace, &new.name).await
}

/// Returns the key under which the terms' secrets are sealed, if there are some.
async fn key<'a>(
    tx: &mut Transaction,
    ring: &'a KeyRing,
    terms: &Terms,
) -> Result<Option<&'a Key>, PlaceError> {
    if !seals(terms) {
        return Ok(None);
    }
    Ok(Some(secrets::current(tx, ring).await?))
}

fn settings(terms: &Terms) -> String {
    serde_json::to_string(&terms.settings).expect("settings have only string keys")
}

pub(super) async fn find(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Destination, PlaceError> {
    let row = tx.first(select!(" AND name = $2"), args![workspace.as_str(), name]).await?;
    let row = row.ok_or_else(|| PlaceError::NotFound { name: name.to_owned() })?;
    let mut found = destination(&row)?;
    found.secrets = secrets::names(tx, &found.id).await?;
    Ok(found)
}

pub(super) async fn all(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<Vec<Destination>, PlaceError> {
    let rows = tx.all(select!(""), args![workspace.as_str()]).await?;
    let mut all: Vec<Destination> = rows.iter().map(destination).collect::<Result<_, _>>()?;
    let mut names = secrets::all_names(tx, workspace).await?;
    for one in &mut all {
        one.secrets = names.remove(&one.id).unwrap_or_default();
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

pub(super) async fn change(
    tx: &mut Transaction,
    ring: &KeyRing,
    (workspace, name): (&WorkspaceId, &str),
    (seen, terms, now): (&Seen, &Terms, DateTime<Utc>),
) -> Result<Destination, PlaceError> {
    let key = key(tx, ring, terms).await?;
    let sql =
        "UPDATE destination SET url = $5, settings = $6, updated_at = $7, version = version + 1
               WHERE workspace = $1 AND name = $2 AND id = $3 AND version = $4";
    let (space, id, at) = (workspace.as_str(), seen.id.as_str(), truncate(now));
    let values = args![space, name, id, seen.version, &terms.url, settings(terms), at];
    if tx.execute(sql, values).await? == 0 {
        // Which of the two it is depends on whether there is one of the name.
        find(tx, workspace, name).await?;
        return Err(PlaceError::Changed { name: name.to_owned() });
    }
    secrets::put(tx, key, (workspace, &seen.id), terms).await?;
    find(tx, workspace, name).await
}

pub(super) async fn delete(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
    seen: Option<&Seen>,
) -> Result<(), PlaceError> {
    // Held, so that no change puts a secret in between.
    let sql = "SELECT id, version FROM destination WHERE workspace = $1 AND name = $2";
    let row = tx.first(Sql::for_update(sql), args![workspace.as_str(), name]).await?;
    let row = row.ok_or_else(|| PlaceError::NotFound { name: name.to_owned() })?;
    let is = Seen { id: DestinationId::new(row.text("id")?), version: row.count("version")? };
    if seen.is_some_and(|seen| *seen != is) {
        return Err(PlaceError::Changed { name: name.to_owned() });
    }
    secrets::remove(tx, &is.id).await?;
    tx.execute("DELETE FROM destination WHERE id = $1", args![is.id.as_str()]).await?;
    Ok(())
}

fn destination(row: &Row) -> Result<Destination, Error> {
    Ok(Destination {
        id: DestinationId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        name: row.text("name")?,
        url: row.text("url")?,
        settings: row.json("settings")?,
        secrets: Vec::new(),
        version: row.count("version")?,
        created_at: row.at("created_at")?,
        updated_at: row.at("updated_at")?,
    })
}
