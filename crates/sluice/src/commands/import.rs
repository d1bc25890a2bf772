//! `import`: files into a dataset.

use std::path::Path;
use std::sync::Arc;

use model::dataset::DatasetKind;
use model::ports::{
    Import, ImportContent, ImportFile, ImportReport, Ingest, InputFormat, Replace, Upkeep,
};
use model::{BatchId, names};

use crate::app::App;
use crate::cli;
use crate::failed::Failed;
use crate::output::{bytes, counted};
use crate::progress::{Bar, Total};

/// Does the `import` command.
pub(crate) async fn import(app: &App, args: cli::Import) -> Result<(), Failed> {
    names::check("a dataset", &args.dataset)?;
    let rejects = args.partial.then(|| {
        let unique = uuid::Uuid::new_v4().simple();
        app.folder.rejects().join(format!("{}-{unique}.jsonl", args.dataset))
    });
    let import = Import {
        workspace: app.workspace.clone(),
        dataset: args.dataset,
        kind: DatasetKind::default(),
        time_column: None,
        schema: None,
        receive_time: args.receive_time,
        live: false,
        files: args.files.iter().map(|path| file(path)).collect(),
        format: match args.format {
            cli::InputFormat::Auto => InputFormat::Auto,
            cli::InputFormat::Parquet => InputFormat::Parquet,
            cli::InputFormat::Jsonl => InputFormat::Jsonl,
            cli::InputFormat::Json => InputFormat::Json,
            cli::InputFormat::Csv => InputFormat::Csv,
        },
        replace: args.replace.map(|batches| {
            let batches: Vec<BatchId> = batches.into_iter().map(BatchId::new).collect();
            if batches.is_empty() { Replace::All } else { Replace::Batches(batches) }
        }),
        batch: None,
        key: args.key,
        key_days: None,
        rejects,
    };
    let report = import_with_bar(app, &import).await?;
    app.output.value(&report, |out| writeln!(out, "{}", sentence(&report)))?;
    // The rows are in and that is told, whatever becomes of this.
    if let Err(error) = app.lake.tend(&import.workspace, &import.dataset, report.commit).await {
        tracing::warn!(dataset = import.dataset, %error, "small commits were not tidied up");
    }
    Ok(())
}

/// Imports while a bar shows how far it is.
pub(crate) async fn import_with_bar(app: &App, import: &Import) -> Result<ImportReport, Failed> {
    let size = |file: &ImportFile| match &file.content {
        ImportContent::Path(path) => std::fs::metadata(path).map_or(0, |meta| meta.len()),
        ImportContent::Text { bytes, .. } => bytes.len() as u64,
    };
    let bytes = import.files.iter().map(size).sum();
    let bar = Arc::new(Bar::start("importing", Some(Total { bytes })));
    let report = app.lake.import(import, bar.clone()).await?;
    bar.finish();
    Ok(report)
}

/// Says what an import came to.
pub(crate) fn sentence(report: &ImportReport) -> String {
    let ImportReport { dataset, commit, .. } = report;
    if report.repeated {
        return format!(
            "nothing to do: this was imported into `{dataset}` before, in commit {commit}"
        );
    }
    let made = if report.created { "the new dataset " } else { "" };
    let mut text = format!(
        "imported {} into {made}`{dataset}`, commit {commit} ({} stored)",
        counted(report.rows, "row"),
        bytes(report.bytes)
    );
    if let (Some(path), 1..) = (&report.rejects, report.rejected) {
        let rows = counted(report.rejected, "bad row");
        text = format!("{text}; {rows} in {}", path.display());
    }
    text
}

fn file(path: &Path) -> ImportFile {
    ImportFile::at(path.display().to_string(), path.to_owned())
}
