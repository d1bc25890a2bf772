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
        writeln!(out, "{}", sentence(dataset, &merged))
    })?;
    Ok(())
}

/// Says what a compaction came to.
fn sentence(dataset: &str, done: &Compacted) -> String {
    if done.commits.is_empty() {
        return format!("nothing to do: no files of `{dataset}` are worth merging");
    }
    let sealed = format!("{} of small commits", counted(done.rows_sealed, "row"));
    let merged = counted(done.files_merged, "file");
    let what = match (done.rows_sealed, done.files_merged) {
        (_, 0) => format!("sealed {sealed}"),
        (0, _) => format!("merged {merged}"),
        _ => format!("sealed {sealed} and merged {merged}"),
    };
    let (rows, written) = (counted(done.rows, "row"), counted(done.files_written, "file"));
    format!("{what} into {written}: {rows}, {}", bytes(done.bytes))
}
