//! `commits`: the history of a dataset; `mark`: a commit that only fixes a time.

use model::dataset::{Commit, CommitKind, Committed, NewCommit};
use model::ports::Catalog;
use model::{BatchId, CommitNumber, DatasetId};

use crate::app::App;
use crate::failed::Failed;
use crate::output::{bytes, count, table};

/// Commits asked for at once.
const PAGE: u32 = 10_000;

/// Prints every commit that changed the dataset, oldest first.
pub(crate) async fn commits(app: &App, dataset: &str) -> Result<(), Failed> {
    let mut all: Vec<Commit> = Vec::new();
    loop {
        let after = all.last().map_or(CommitNumber(0), |commit| commit.number);
        let page = app.store.commits(&app.workspace, dataset, after, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if is_last {
            break;
        }
    }
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|commit| {
            vec![
                commit.number.to_string(),
                commit.time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
                commit.kind.as_str().into(),
                count(commit.rows),
                count(commit.rows_removed),
                count(commit.files),
                bytes(commit.bytes),
                commit.batches.first().map_or_else(|| "-".into(), BatchId::to_string),
            ]
        })
        .collect();
    app.output.value(&all, |out| {
        table(out, &["commit", "time", "kind", "rows", "removed", "files", "size", "batch"], &rows)
    })?;
    Ok(())
}

/// Makes a commit without rows.
pub(crate) async fn mark(app: &App) -> Result<(), Failed> {
    let nothing = DatasetId::new("");
    let new = NewCommit::new(app.workspace.clone(), CommitKind::Mark, nothing);
    let (Committed::New(commit) | Committed::Repeated(commit)) =
        app.store.commit(&new, app.clock.now()).await?;
    app.output.value(&commit, |out| {
        writeln!(out, "commit {} of {}", commit.number, commit.time.to_rfc3339())
    })?;
    Ok(())
}
