//! `revert`, `expire` and `compact`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use model::BatchId;
use model::ports::{Compacted, Swept, Upkeep};
use serde::Serialize;

use crate::app::App;
use crate::failed::Failed;
use crate::output::{bytes, counted};
use crate::progress::Bar;

/// What a compaction came to, as it is printed.
#[derive(Serialize)]
struct Done<'a> {
    #[serde(flatten)]
    merged: &'a Compacted,
    swept: Swept,
}

/// Takes the rows of a batch back.
pub(crate) async fn revert(app: &App, batch: &str) -> Result<(), Failed> {
    let commit = app.lake.revert(&app.workspace, &BatchId::new(batch)).await?;
    app.output.value(&commit, |out| {
        let rows = counted(commit.rows_removed, "row");
        writeln!(out, "took {rows} back, commit {}", commit.number)
    })?;
    Ok(())
}

/// Removes old rows.
pub(crate) async fn expire(app: &App, dataset: &str, before: DateTime<Utc>) -> Result<(), Failed> {
    let done = app.lake.expire(&app.workspace, dataset, before).await?;
    app.output.value(&done, |out| match done.commit {
        None => writeln!(out, "nothing to do: no row of `{dataset}` is older"),
        Some(commit) => {
            let rows = counted(done.rows, "row");
            writeln!(out, "removed {rows} from `{dataset}`, commit {commit}")
        }
    })?;
    Ok(())
}

/// Merges small files, and deletes what nobody needs any more.
pub(crate) async fn compact(app: &App, dataset: &str) -> Result<(), Failed> {
    let bar = Arc::new(Bar::start("compacting", None));
    let done = app.lake.compact(&app.workspace, dataset, bar.clone()).await;
    bar.finish();
    let (merged, swept) = (done?, app.lake.sweep(&app.workspace).await?);
    let done = Done { merged: &merged, swept };
    app.output.value(&done, |out| {
        if swept.files > 0 {
            let files = counted(swept.files, "file");
            writeln!(out, "deleted {files} that nobody needs: {}", bytes(swept.bytes))?;
        }
        let done = &merged;
        if done.commits.is_empty() {
            return writeln!(out, "nothing to do: no files of `{dataset}` are worth merging");
        }
        let (merged, written) =
            (counted(done.files_merged, "file"), counted(done.files_written, "file"));
        let rows = counted(done.rows, "row");
        writeln!(out, "merged {merged} into {written}: {rows}, {}", bytes(done.bytes))
    })?;
    Ok(())
}
