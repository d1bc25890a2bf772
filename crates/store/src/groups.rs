//! Groups of exports: the store as [`Groups`].

use std::collections::BTreeSet;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::document::Basis;
use model::export::{Export, ExportState, SaveExport};
use model::group::{Group, GroupExports, SaveGroup, member};
use model::ports::{Groups, LedgerError};
use model::{GroupId, WorkspaceId};

use crate::Store;
use crate::database::{Error, Row, Sql, Transaction, args, transact, truncate, word};
use crate::exports::{self as saved, has_left, lock_names, remove};
use crate::ledger::exports;

/// Why the export of a dataset that is in a group no more does not run.
const LEFT: &str = "its dataset has left the group";

/// The columns of a group.
macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, workspace, name, body, version, author, created_at, updated_at FROM export_group ",
            $tail
        )
    };
}

const BY_NAME: &str = select!("WHERE workspace = $1 AND name = $2");

#[async_trait]
impl Groups for Store {
    async fn save_group(
        &self,
        save: &SaveGroup,
        basis: &Basis,
    ) -> Result<GroupExports, LedgerError> {
        transact!(self.database, LedgerError, |tx| save_one(tx, save, basis))
    }

    async fn group(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<GroupExports, LedgerError> {
        let tx = &mut self.database.read().await?;
        let group = tx.first(BY_NAME, args![workspace.as_str(), name]).await?;
        let group = group.ok_or_else(|| no_group(name))?;
        with_exports(tx, read(&group)?).await
    }

    async fn groups(&self, workspace: &WorkspaceId) -> Result<Vec<Group>, LedgerError> {
        let tx = &mut self.database.glance().await?;
        let sql = select!("WHERE workspace = $1 ORDER BY name");
        let rows = tx.all(sql, args![workspace.as_str()]).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn delete_group(&self, workspace: &WorkspaceId, name: &str) -> Result<(), LedgerError> {
        transact!(self.database, LedgerError, |tx| delete(tx, workspace, name))
    }

    async fn set_group_state(
        &self,
        workspace: &WorkspaceId,
        name: &str,
        state: ExportState,
        now: DateTime<Utc>,
    ) -> Result<GroupExports, LedgerError> {
        transact!(self.database, LedgerError, |tx| set_state(tx, (workspace, name), state, now))
    }
}

async fn save_one(
    tx: &mut Transaction,
    save: &SaveGroup,
    basis: &Basis,
) -> Result<GroupExports, LedgerError> {
    lock_names(tx, &save.workspace).await?;
    let held = hold(tx, &save.workspace, &save.name).await?;
    let paused = match &held {
        Some(held) => is_paused(&with_exports(tx, held.clone()).await?.exports),
        None => false,
    };
    let now = truncate(save.now);
    let group = match (held, basis) {
        (None, Basis::Nothing) => Group {
            id: GroupId::mint(),
            workspace: save.workspace.clone(),
            name: save.name.clone(),
            terms: save.terms.clone(),
            version: 1,
            author: save.author.clone(),
            created_at: now,
            updated_at: now,
        },
        (None, _) => return Err(no_group(&save.name)),
        (Some(held), Basis::Nothing) => return Err(LedgerError::Exists { export: held.name }),
        (Some(held), Basis::Etag(seen)) if *seen != held.tag() => {
            return Err(LedgerError::Changed { export: held.name });
        }
        (Some(held), _) => Group {
            terms: save.terms.clone(),
            version: held.version + 1,
            author: save.author.clone(),
            updated_at: now,
            ..held
        },
    };
    write(tx, &group).await?;
    for one in &save.members {
        save_member(tx, one, (&group, paused)).await?;
    }
    leave(tx, &group).await?;
    with_exports(tx, group).await
}

async fn delete(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<(), LedgerError> {
    lock_names(tx, workspace).await?;
    let held = hold(tx, workspace, name).await?.ok_or_else(|| no_group(name))?;
    for member in exports::of_group(tx, workspace, name).await? {
        let member = exports::hold(tx, workspace, &member.name).await?.unwrap_or(member);
        if !has_left(tx, &member.id).await? {
            remove(tx, &member).await?;
        }
    }
    // Those that had left are of no group now.
    let sql = "UPDATE export SET group_name = NULL, left_state = NULL
               WHERE workspace = $1 AND group_name = $2 AND deleted_name IS NULL";
    tx.execute(sql, args![workspace.as_str(), name]).await?;
    tx.execute("DELETE FROM export_group WHERE id = $1", args![held.id.as_str()]).await?;
    Ok(())
}

/// Whether a group is stopped: all of its exports are.
fn is_paused(members: &[Export]) -> bool {
    !members.is_empty() && members.iter().all(|one| one.state == ExportState::Paused)
}

async fn write(tx: &mut Transaction, group: &Group) -> Result<(), Error> {
    let sql = "INSERT INTO export_group (id, workspace, name, body, version, author, created_at, updated_at)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
               ON CONFLICT (id) DO UPDATE SET body = excluded.body, version = excluded.version,
                   author = excluded.author, updated_at = excluded.updated_at";
    let body = serde_json::to_string(&group.terms).expect("terms have only string keys");
    let values = args![
        group.id.as_str(),
        group.workspace.as_str(),
        &group.name,
        body,
        group.version,
        &group.author,
        group.created_at,
        group.updated_at
    ];
    tx.execute(sql, values).await?;
    Ok(())
}

async fn save_member(
    tx: &mut Transaction,
    save: &SaveExport,
    (group, paused): (&Group, bool),
) -> Result<(), LedgerError> {
    let export = match exports::hold(tx, &save.workspace, &save.name).await? {
        None => {
            let made = saved::create(tx, save).await?;
            if paused {
                // One that comes into a group that is stopped waits with the others.
                exports::update(tx, &Export { state: ExportState::Paused, ..made.clone() }).await?;
            }
            made
        }
        Some(held) if held.group.as_ref() != Some(&group.name) => {
            return Err(LedgerError::Exists { export: held.name });
        }
        Some(held) => {
            come_back(tx, save, (&held, paused)).await?;
            let held = exports::by_name(tx, &save.workspace, &save.name).await?;
            let is_as_before = held.definition.difference(&save.definition).is_none()
                && (&held.schedule, &held.watches) == (&save.schedule, &save.watches);
            if is_as_before && !save.restart {
                return Ok(());
            }
            saved::edit(tx, save, held).await?
        }
    };
    let sql = "UPDATE export SET group_name = $2 WHERE id = $1";
    tx.execute(sql, args![export.id.as_str(), &group.name]).await?;
    exports::note_version(tx, &export, &save.author, truncate(save.now)).await?;
    Ok(())
}

/// Takes the export of a dataset that had left back: it runs if it did, or if it was broken, unless the group is stopped.
async fn come_back(
    tx: &mut Transaction,
    save: &SaveExport,
    (held, paused): (&Export, bool),
) -> Result<(), LedgerError> {
    let sql = "SELECT left_state FROM export WHERE id = $1";
    let row = tx.one(sql, args![held.id.as_str()]).await?;
    let Some(left) = row.text_or_null("left_state")? else { return Ok(()) };
    let sql = "UPDATE export SET left_state = NULL, reason = NULL, failures = 0 WHERE id = $1";
    tx.execute(sql, args![held.id.as_str()]).await?;
    if !paused && left != word(&ExportState::Paused) {
        // As if it was resumed: what was committed meanwhile is looked for.
        let name = (&save.workspace, save.name.as_str());
        saved::set_state(tx, name, ExportState::Active, save.now).await?;
    }
    Ok(())
}

/// Pauses the exports of datasets that are in the group no more. Nothing else of them is written: a run may be moving their cursor.
async fn leave(tx: &mut Transaction, group: &Group) -> Result<(), LedgerError> {
    let datasets = group.terms.datasets.iter();
    let stay: BTreeSet<String> = datasets.map(|dataset| member(&group.name, dataset)).collect();
    let sql = "UPDATE export SET left_state = state, state = $2, reason = $3
               WHERE id = $1 AND left_state IS NULL";
    let paused = word(&ExportState::Paused);
    for export in exports::of_group(tx, &group.workspace, &group.name).await? {
        if !stay.contains(&export.name) {
            tx.execute(sql, args![export.id.as_str(), &paused, LEFT]).await?;
        }
    }
    Ok(())
}

async fn set_state(
    tx: &mut Transaction,
    (workspace, name): (&WorkspaceId, &str),
    state: ExportState,
    now: DateTime<Utc>,
) -> Result<GroupExports, LedgerError> {
    let group = hold(tx, workspace, name).await?.ok_or_else(|| no_group(name))?;
    for dataset in &group.terms.datasets {
        saved::set_state(tx, (workspace, &member(name, dataset)), state, now).await?;
    }
    with_exports(tx, group).await
}

async fn hold(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<Option<Group>, Error> {
    let row = tx.first(Sql::for_update(BY_NAME), args![workspace.as_str(), name]).await?;
    row.as_ref().map(read).transpose()
}

async fn with_exports(tx: &mut Transaction, group: Group) -> Result<GroupExports, LedgerError> {
    let mut all = exports::of_group(tx, &group.workspace, &group.name).await?;
    let place = |export: &Export| {
        let mut datasets = group.terms.datasets.iter();
        datasets.position(|dataset| member(&group.name, dataset) == export.name)
    };
    all.retain(|export| place(export).is_some());
    all.sort_by_key(place);
    Ok(GroupExports { group, exports: all })
}

fn no_group(name: &str) -> LedgerError {
    LedgerError::NotFound { what: "group", name: name.to_owned(), nearest: None }
}

fn read(row: &Row) -> Result<Group, Error> {
    Ok(Group {
        id: GroupId::new(row.text("id")?),
        workspace: WorkspaceId::new(row.text("workspace")?),
        name: row.text("name")?,
        terms: row.json("body")?,
        version: row.count("version")?,
        author: row.text("author")?,
        created_at: row.at("created_at")?,
        updated_at: row.at("updated_at")?,
    })
}
