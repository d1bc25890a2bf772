//! `demo`: the main job on real data, then it exits or serves what is there.
//!
//! UCI Online Retail (see `data/README.md`) is part of the program. Its first 500,000 rows by date are
//! one batch, the rest is a second one. Both imports carry a key, so running the demo again imports
//! nothing twice and exports only what is new.

pub(crate) mod canonical;

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use model::access::FIRST_PRINCIPAL;
use model::dataset::DatasetKind;
use model::export::Advance;
use model::ports::{Catalog, Import, ImportFile, InputFormat, Ledger};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use server::dialects::Example;

use super::export::{Asked, Delivered, deliver};
use super::import::{import_with_bar, sentence};
use crate::app::App;
use crate::failed::Failed;
use crate::output::{Output, bytes, counted};
use canonical::Prepared;

const DATA: &[u8] = include_bytes!("../../data/online_retail.parquet");
const DATASET: &str = "online_retail";
const EXPORT: &str = "demo";

/// Rows of the first batch.
const FIRST_ROWS: usize = 500_000;

/// Does the `demo` command.
pub(crate) async fn demo(app: &App) -> Result<(), Failed> {
    let delivered = deliver_twice(app).await?;
    finish(app, &delivered)
}

/// Does it, and prepares what a server is asked for.
pub(crate) async fn demo_to_serve(app: &App) -> Result<Prepared, Failed> {
    let delivered = deliver_twice(app).await?;
    let prepared = canonical::prepare(app).await?;
    finish(app, &delivered)?;
    Ok(prepared)
}

async fn deliver_twice(app: &App) -> Result<Vec<Delivered>, Failed> {
    let place = app.folder.root().join("demo");
    std::fs::create_dir_all(&place)?;
    say(app, "Sluice demo: real orders of an online shop (UCI Online Retail, CC BY 4.0).\n")?;
    let batches = [(0, FIRST_ROWS, "first.parquet"), (FIRST_ROWS, usize::MAX, "second.parquet")];
    let mut delivered = Vec::new();
    for (at, (first, rows, name)) in batches.into_iter().enumerate() {
        let path = place.join(name);
        cut_out(first, rows, &path)?;
        let report = import_with_bar(app, &import(app, path, name)).await?;
        say(app, &format!("{}. {}", 2 * at + 1, sentence(&report)))?;
        if at == 0 && is_delivered(app).await? {
            say(app, "2. the first batch was delivered before")?;
            continue;
        }
        let one = deliver(app, asked(app)?).await?;
        for sealed in &one {
            say(app, &format!("{}. {}", 2 * at + 2, exported(sealed)))?;
        }
        delivered.extend(one);
    }
    let Some(last) = delivered.last() else {
        return Err(Failed::internal("the demo exported nothing"));
    };
    let report = super::verify::check(Path::new(&last.manifest), export::verify::Chain::Follow)?;
    say(app, &format!("5. {report}"))?;
    Ok(delivered)
}

/// Whether everything up to the newest commit has been delivered.
async fn is_delivered(app: &App) -> Result<bool, Failed> {
    let head = app.store.head(&app.workspace).await?.map(|(number, _)| number);
    match app.store.export(&app.workspace, EXPORT).await {
        Ok(export) => Ok(Some(export.cursor) == head),
        Err(model::ports::LedgerError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn import(app: &App, path: PathBuf, name: &str) -> Import {
    Import {
        workspace: app.workspace.clone(),
        dataset: DATASET.into(),
        kind: DatasetKind::Event,
        time_column: Some("invoice_date".into()),
        schema: None,
        receive_time: None,
        live: false,
        replace: None,
        files: vec![ImportFile::at(name, path)],
        format: InputFormat::Parquet,
        batch: None,
        key: Some(format!("demo/{name}")),
        key_days: None,
        rejects: None,
    }
}

fn asked(app: &App) -> Result<Asked, Failed> {
    let to = app.folder.root().join("exports");
    let to = to.to_str().ok_or_else(|| Failed::request("the data folder's path is not UTF-8"))?;
    let mut asked = Asked::dataset(DATASET, to);
    asked.format.compression = Some("gzip".into());
    asked.export = Some(EXPORT.into());
    asked.advance = Advance::Cursor;
    Ok(asked)
}

fn exported(sealed: &Delivered) -> String {
    if sealed.rows == 0 {
        return "exported what is new: nothing, and there is a manifest that says so".into();
    }
    let (rows, files) = (counted(sealed.rows, "row"), counted(sealed.files, "file"));
    let range = format!("commits ({}, {}]", sealed.from, sealed.to);
    format!("exported {rows} as gzip JSON Lines: {files}, {}, {range}", bytes(sealed.bytes))
}

fn finish(app: &App, delivered: &[Delivered]) -> Result<(), Failed> {
    let mut out = io::stdout();
    if app.output == Output::Json {
        serde_json::to_writer_pretty(&mut out, delivered).map_err(io::Error::from)?;
        return Ok(writeln!(out)?);
    }
    let dir = app.folder.root().display();
    writeln!(out, "\nWhere it lies")?;
    match &app.bucket {
        None => writeln!(out, "  lake       {}", app.folder.lake().display())?,
        Some(bucket) => writeln!(out, "  lake       {}", bucket.place())?,
    }
    for one in delivered {
        writeln!(out, "  manifest   {}", one.manifest)?;
    }
    writeln!(out, "\nWhat to try next")?;
    let sql =
        "SELECT country, count(*) AS rows FROM online_retail GROUP BY country ORDER BY rows DESC";
    writeln!(out, "  sluice --dir {dir} sql \"{sql}\"")?;
    writeln!(out, "  sluice --dir {dir} run list")?;
    writeln!(
        out,
        "  sluice --dir {dir} export run --dataset online_retail --where \"quantity < 0\" --format csv --to {dir}/exports"
    )?;
    Ok(())
}

/// Returns lines for a shell that ask a server at its URL for what the demo left: those that need the first one, then those
/// that are complete in themselves.
pub(crate) fn requests(app: &App, address: &str, prepared: &Prepared) -> Vec<String> {
    let file = app.folder.admin_token();
    let token = if file.is_file() {
        format!("$(cat {})", quoted(&file))
    } else {
        // Somebody took it away, or another node made the first token of a shared database.
        let (dir, principal) = (quoted(app.folder.root()), FIRST_PRINCIPAL);
        format!("$(sluice --dir {dir} token create --principal {principal} --scope admin)")
    };
    let v1 = format!("{address}/v1");
    let bearer = "-H \"Authorization: Bearer $token\"";
    let sql = "SELECT country, count(*) AS rows FROM online_retail GROUP BY country ORDER BY rows DESC LIMIT 5";
    let new = "{\"id\":1,\"price\":9.5,\"country\":\"FR\"}";
    let mut lines = vec![
        format!("token={token}"),
        format!("curl -s {v1}/datasets/{DATASET} {bearer}"),
        format!(
            "curl -s {v1}/sql {bearer} -H 'Content-Type: application/json' -d '{{\"sql\": \"{sql}\"}}'"
        ),
        format!(
            "curl -s {v1}/datasets/orders/rows {bearer} -H 'Content-Type: application/x-ndjson' -d '{new}'"
        ),
        format!("curl -s {v1}/datasets/orders/commits {bearer}"),
    ];
    for (kind, token) in &prepared.tokens {
        let example = Example {
            url: address,
            token,
            day: prepared.newest.date_naive(),
            hour: prepared.newest,
            enrolment: prepared.enrolments.get(kind.name),
        };
        lines.extend((kind.examples)(&example));
    }
    lines
}

/// Returns a path as one word of a shell, whatever is in it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Friendly lines are the demo's result; under `--json` they would not be JSON.
pub(crate) fn say(app: &App, line: &str) -> Result<(), Failed> {
    if app.output == Output::Text {
        let mut out = io::stdout();
        writeln!(out, "{line}")?;
        // Also where it is no terminal: whoever reads it may be waiting.
        out.flush()?;
    }
    Ok(())
}

/// Writes rows `[first, first + rows)` of the bundled data as a Parquet file, the same bytes each time.
fn cut_out(first: usize, rows: usize, path: &Path) -> Result<(), Failed> {
    let failed = |e: &dyn std::fmt::Display| {
        Failed::internal(format!("cannot write `{}`: {e}", path.display()))
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from_static(DATA))
        .and_then(|builder| builder.with_offset(first).with_limit(rows).build())
        .map_err(|e| failed(&e))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(path)?;
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let mut writer =
        ArrowWriter::try_new(file, schema, Some(properties)).map_err(|e| failed(&e))?;
    for batch in reader {
        writer.write(&batch.map_err(|e| failed(&e))?).map_err(|e| failed(&e))?;
    }
    writer.close().map_err(|e| failed(&e))?;
    Ok(())
}
