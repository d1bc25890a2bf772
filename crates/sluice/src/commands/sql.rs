//! `sql`: the rows of one SELECT on stdout.

use std::collections::BTreeMap;
use std::io::Write;

use arrow::util::pretty::pretty_format_batches;
use futures::{StreamExt, TryStreamExt};
use model::format::FormatSpec;
use model::ports::{EncodedChunk, Encoder, Positions, Query, Rows, SqlStream};
use model::schema::Schema;

use crate::app::App;
use crate::cli::{self, SqlFormat};
use crate::failed::Failed;
use crate::output::Output;

/// Does the `sql` command.
pub(crate) async fn sql(app: &App, args: cli::Sql) -> Result<(), Failed> {
    let (schema, rows) = app.lake.sql(&app.workspace, &args.text, app.clock.now()).await?;
    match (args.format, app.output) {
        (SqlFormat::Table, Output::Text) => print_table(&schema, rows).await,
        (SqlFormat::Csv, _) => print_text(app, "csv", &schema, rows).await,
        (SqlFormat::Jsonl, _) | (SqlFormat::Table, Output::Json) => {
            print_text(app, "jsonl", &schema, rows).await
        }
    }
}

/// Prints a table per batch, so that a long result streams; the header comes again with each.
async fn print_table(schema: &Schema, mut rows: SqlStream) -> Result<(), Failed> {
    let mut out = std::io::stdout();
    let mut any = false;
    while let Some(batch) = rows.try_next().await? {
        if batch.num_rows() > 0 {
            any = true;
            writeln!(out, "{}", pretty(&[batch])?)?;
        }
    }
    if !any {
        let none = arrow::array::RecordBatch::new_empty(schema.to_arrow());
        writeln!(out, "{}", pretty(&[none])?)?;
    }
    Ok(())
}

fn pretty(batches: &[arrow::array::RecordBatch]) -> Result<impl std::fmt::Display + use<>, Failed> {
    pretty_format_batches(batches).map_err(|e| Failed::internal(format!("cannot print rows: {e}")))
}

async fn print_text(
    app: &App,
    format: &str,
    schema: &Schema,
    rows: SqlStream,
) -> Result<(), Failed> {
    let mut options = BTreeMap::new();
    if format == "jsonl" {
        options.insert("jsonl.nulls".into(), "keep".into());
    } else {
        options.insert("csv.line_end".into(), "lf".into());
    }
    let spec = FormatSpec {
        format: format.into(),
        compression: None,
        options,
        file_rows: None,
        file_bytes: None,
        name: None,
        folder: None,
        md5: false,
    };
    let encoding = app.formats.check(&spec, schema)?;
    let mut read = 0;
    let rows = rows.map_ok(move |batch| {
        let first = read;
        read += batch.num_rows() as u64;
        Rows { batch, read: Positions::Dense { first }, read_after: read }
    });
    let mut encoded = app.formats.encode(&encoding, schema, rows.boxed());
    let mut out = std::io::stdout();
    while let Some(chunk) = encoded.try_next().await? {
        if let EncodedChunk::Bytes(bytes) = chunk {
            out.write_all(&bytes)?;
        }
    }
    Ok(())
}
