//! `revert`, `expire`, `compact` and `upkeep`.

use std::sync::Arc;

use chrono::{DateTime, Days, Utc};
use model::dataset::Dataset;
use model::ports::{Catalog, Compacted, Swept, Upkeep};
use model::{BatchId, Code, PortError};
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
pub(crate) async fn expire(
    app: &App,
    dataset: &str,
    before: Option<DateTime<Utc>>,
) -> Result<(), Failed> {
    let rule = app.store.dataset(&app.workspace, dataset).await?.keep_days;
    let Some(before) = before.or_else(|| rule.and_then(|days| oldest(app, days))) else {
        return Err(Failed::request(format!(
            "`{dataset}` has no retention rule; say `--before`, or set one with `sluice dataset keep`"
        )));
    };
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

/// Returns the time before which rows go by a rule.
fn oldest(app: &App, days: u32) -> Option<DateTime<Utc>> {
    app.clock.now().checked_sub_days(Days::new(days.into()))
}

/// What was done for a dataset, as it is printed.
#[derive(Default, Serialize)]
struct Kept {
    dataset: String,
    #[serde(flatten)]
    merged: Compacted,
    rows_removed: u64,
    /// Why something could not be done.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocked: Vec<String>,
}

/// Does what is due for every dataset. What cannot be done for one holds up no other.
pub(crate) async fn upkeep(app: &App) -> Result<(), Failed> {
    let mut all = Vec::new();
    let mut failed = None;
    for dataset in app.store.datasets(&app.workspace).await? {
        let mut kept = Kept { dataset: dataset.name.clone(), ..Kept::default() };
        for done in [remove_old(app, &dataset, &mut kept).await, merge(app, &mut kept).await] {
            match done {
                Ok(()) => {}
                // Dropped meanwhile, or somebody else is at it, or an export comes first.
                Err(error) if error.code() == Code::NotFound => {}
                Err(error) if error.code() == Code::Conflict => {
                    kept.blocked.push(error.to_string());
                }
                Err(error) => {
                    kept.blocked.push(error.to_string());
                    failed.get_or_insert(error);
                }
            }
        }
        all.push(kept);
    }
    let swept = app.lake.sweep(&app.workspace).await?;
    let done = serde_json::json!({ "datasets": &all, "swept": swept });
    app.output.value(&done, |out| {
        for Kept { dataset, merged, rows_removed, blocked } in &all {
            if *rows_removed > 0 {
                writeln!(out, "removed {} from `{dataset}`", counted(*rows_removed, "row"))?;
            }
            writeln!(out, "{}", sentence(dataset, merged))?;
            for why in blocked {
                writeln!(out, "not all is done for `{dataset}`: {why}")?;
            }
        }
        writeln!(out, "{}", deleted(swept))
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn remove_old(app: &App, dataset: &Dataset, kept: &mut Kept) -> Result<(), PortError> {
    if let Some(before) = dataset.keep_days.and_then(|days| oldest(app, days)) {
        kept.rows_removed = app.lake.expire(&app.workspace, &dataset.name, before).await?.rows;
    }
    Ok(())
}

async fn merge(app: &App, kept: &mut Kept) -> Result<(), PortError> {
    let bar = Arc::new(Bar::start("compacting", None));
    let merged = app.lake.compact(&app.workspace, &kept.dataset, bar.clone()).await;
    bar.finish();
    kept.merged = merged?;
    Ok(())
}

fn deleted(swept: Swept) -> String {
    match swept.files {
        0 => "no file is there that nobody needs".into(),
        files => {
            let files = counted(files, "file");
            format!("deleted {files} that nobody needs: {}", bytes(swept.bytes))
        }
    }
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
            writeln!(out, "{}", deleted(swept))?;
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
