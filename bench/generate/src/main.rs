//! Writes made-up events for measurements, the same for a seed on every machine.
//!
//! ```text
//! bench-generate --rows N --format parquet|jsonl --out FILE [--seed N]
//! ```
//!
//! Memory does not grow with the number of rows: one thread makes batches, another writes them, and at most
//! a few wait in between.

mod columns;
mod events;
mod random;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::events::{BATCH_ROWS, Events};

/// Batches between the thread that makes them and the one that writes them.
const WAITING_BATCHES: usize = 4;

/// Rows of one row group of a Parquet file.
const ROW_GROUP_ROWS: usize = 250_000;

/// Bytes gathered before the file is written to.
const BUFFER_BYTES: usize = 1 << 20;

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, Debug)]
enum Format {
    Parquet,
    JsonLines,
}

#[derive(Debug)]
struct Arguments {
    rows: u64,
    seed: u64,
    format: Format,
    out: PathBuf,
}

fn main() -> ExitCode {
    match arguments(std::env::args().skip(1)).and_then(|arguments| generate(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-generate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, Failed> {
    let (mut rows, mut seed, mut format, mut out) = (None, 1, None, None);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("`{word}` needs a value"))?;
        match word.as_str() {
            "--rows" => rows = Some(number(&word, &value)?),
            "--seed" => seed = number(&word, &value)?,
            "--out" => out = Some(PathBuf::from(value)),
            "--format" if value == "parquet" => format = Some(Format::Parquet),
            "--format" if value == "jsonl" => format = Some(Format::JsonLines),
            _ => return Err(format!("`{word} {value}` is not understood").into()),
        }
    }
    Ok(Arguments {
        rows: rows.ok_or("`--rows` is missing")?,
        seed,
        format: format.ok_or("`--format` is missing")?,
        out: out.ok_or("`--out` is missing")?,
    })
}

fn number(word: &str, value: &str) -> Result<u64, Failed> {
    value.parse().map_err(|error| format!("`{word} {value}`: {error}").into())
}

fn generate(arguments: &Arguments) -> Result<(), Failed> {
    let (sender, batches) = sync_channel(WAITING_BATCHES);
    let out = BufWriter::with_capacity(BUFFER_BYTES, File::create(&arguments.out)?);
    thread::scope(|scope| {
        scope.spawn(move || {
            let events = Events::new(arguments.seed);
            let mut left = arguments.rows;
            for number in 0.. {
                let rows = left.min(BATCH_ROWS as u64);
                left -= rows;
                let rows = usize::try_from(rows).expect("at most a batch");
                // The writer hangs up when it fails.
                if rows == 0 || sender.send(events.batch(number, rows)).is_err() {
                    return;
                }
            }
        });
        match arguments.format {
            Format::Parquet => write_parquet(out, batches),
            Format::JsonLines => write_json_lines(out, batches),
        }
    })
}

fn write_parquet(out: impl Write + Send, batches: Receiver<RecordBatch>) -> Result<(), Failed> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(out, Events::schema(), Some(properties))?;
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.into_inner()?.flush()?;
    Ok(())
}

fn write_json_lines(out: impl Write, batches: Receiver<RecordBatch>) -> Result<(), Failed> {
    let mut writer = LineDelimitedWriter::new(out);
    for batch in batches {
        writer.write(&batch)?;
    }
    writer.finish()?;
    writer.into_inner().flush()?;
    Ok(())
}
