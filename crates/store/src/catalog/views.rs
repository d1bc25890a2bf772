//! Views: named SQL, kept as it was given.

use model::WorkspaceId;
use model::dataset::View;
use model::ports::CatalogError;

use super::{check_workspace, no_relation, take_name};
use crate::database::{Transaction, args};

pub(super) async fn create(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    view: &View,
) -> Result<(), CatalogError> {
    check_workspace(tx, workspace).await?;
    take_name(tx, workspace, &view.name, None).await?;
    let body = serde_json::to_string(view).expect("a view has only string keys");
    let sql = "INSERT INTO saved_view (workspace, name, body, created_at) VALUES ($1, $2, $3, $4)";
    tx.execute(sql, args![workspace.as_str(), &view.name, body, view.created_at]).await?;
    Ok(())
}

pub(super) async fn by_name(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<View, CatalogError> {
    let sql = "SELECT body FROM saved_view WHERE workspace = $1 AND name = $2";
    match tx.first(sql, args![workspace.as_str(), name]).await? {
        Some(row) => Ok(row.json("body")?),
        None => Err(no_relation(tx, workspace, "view", name).await?),
    }
}

pub(super) async fn all(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
) -> Result<Vec<View>, CatalogError> {
    let sql = "SELECT body FROM saved_view WHERE workspace = $1";
    let rows = tx.all(sql, args![workspace.as_str()]).await?;
    let mut views: Vec<View> = rows.iter().map(|row| row.json("body")).collect::<Result<_, _>>()?;
    views.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(views)
}

pub(super) async fn drop(
    tx: &mut Transaction,
    workspace: &WorkspaceId,
    name: &str,
) -> Result<(), CatalogError> {
    let sql = "DELETE FROM saved_view WHERE workspace = $1 AND name = $2";
    if tx.execute(sql, args![workspace.as_str(), name]).await? == 0 {
        return Err(no_relation(tx, workspace, "view", name).await?);
    }
    let sql = "DELETE FROM relation_name WHERE workspace = $1 AND name = $2 AND kind = 'view'";
    tx.execute(sql, args![workspace.as_str(), name]).await?;
    Ok(())
}
