//! Arrow → file → Arrow gives the same rows, outside the counted losses.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::schema::{Field, Schema, Type};
use proptest::prelude::*;

use crate::data::{Dice, any_rows, any_schema};
use crate::read::{self, Floats, after_losses};
use crate::support::{batch, encode, spec};

/// A batch of any columns; so many of them, so many rows.
fn any_batch(seed: u64, columns: usize, rows: usize) -> RecordBatch {
    let mut dice = Dice(seed);
    let schema = any_schema(&mut dice, columns);
    any_rows(&mut dice, &schema, rows)
}

/// Encodes with and without compression; both must say the same.
fn text_of(batch: &RecordBatch, format: &str, options: &[(&str, &str)], lost: u64) -> Vec<u8> {
    let plain = encode(&spec(format, "none", options), batch);
    assert_eq!(plain.sum.uncompressed_bytes, plain.bytes.len() as u64);
    for compression in ["gzip", "zstd"] {
        let packed = encode(&spec(format, compression, options), batch);
        assert_eq!(read::text(compression, &packed.bytes), plain.bytes, "{compression}");
        assert_eq!(packed.sum, plain.sum);
    }
    let rows = batch.num_rows() as u64;
    assert_eq!((plain.sum.rows, plain.sum.rows_read), (rows, rows));
    assert_eq!(plain.sum.values_lost, lost, "values lost");
    plain.bytes
}

fn jsonl(batch: &RecordBatch, options: &[(&str, &str)]) {
    let (expected, lost) = after_losses(batch, Floats::All);
    let text = text_of(batch, "jsonl", options, lost);
    assert_eq!(read::jsonl(&text, &batch.schema()), expected);
    assert_eq!(text.split_inclusive(|byte| *byte == b'\n').count(), batch.num_rows(), "lines");
}

fn csv(batch: &RecordBatch, escape: &str, line_end: &str, null: &str) {
    let (expected, lost) = after_losses(batch, Floats::Nested);
    let options = [("csv.escape", escape), ("csv.line_end", line_end), ("csv.null", null)];
    let text = text_of(batch, "csv", &options, lost);
    let ends = if line_end == "lf" { "\n" } else { "\r\n" };
    let mut rows = read::csv(&text, escape == "backslash", ends);
    let names: Vec<_> = rows.remove(0).into_iter().map(|cell| cell.text).collect();
    let schema = batch.schema();
    assert!(names.iter().eq(schema.fields().iter().map(|field| field.name())), "{names:?}");
    let json = read::csv_as_jsonl(&rows, null, &schema);
    assert_eq!(read::jsonl(&json, &schema), expected);
    // A common reader, which does not tell null from text, sees the same cells.
    let mut reader = csv::ReaderBuilder::new();
    reader.has_headers(false).flexible(true).double_quote(escape == "double");
    if escape == "backslash" {
        reader.escape(Some(b'\\'));
    }
    let others: Vec<_> =
        reader.from_reader(&text[..]).records().skip(1).map(Result::unwrap).collect();
    assert_eq!(others.len(), rows.len());
    for (other, row) in others.iter().zip(&rows) {
        assert!(other.iter().eq(row.iter().map(|cell| cell.text.as_str())), "{other:?} {row:?}");
    }
}

fn csv_lines(batch: &RecordBatch, line_end: &str) {
    let (expected, lost) = after_losses(batch, Floats::Nested);
    let options =
        [("csv.escape", "backslash"), ("csv.line_end", line_end), ("csv.line_breaks", "space")];
    let text = text_of(batch, "csv", &options, lost);
    let ends = if line_end == "lf" { "\n" } else { "\r\n" };
    let lines = std::str::from_utf8(&text).unwrap().split_inclusive(ends);
    // Read one by one: a line break inside a field would leave its quote open.
    let mut rows: Vec<_> = lines.flat_map(|line| read::csv(line.as_bytes(), true, ends)).collect();
    assert_eq!(rows.len(), batch.num_rows() + 1);
    let names: Vec<_> = rows.remove(0).into_iter().map(|cell| cell.text).collect();
    let schema = batch.schema();
    let of_columns = schema.fields().iter().map(|field| spaced(field.name()));
    assert!(names.iter().eq(of_columns.collect::<Vec<_>>().iter()), "{names:?}");
    let columns = expected.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8 => {
            let texts = column.as_string::<i32>().iter().map(|text| text.map(spaced));
            Arc::new(texts.collect::<StringArray>())
        }
        _ => Arc::clone(column),
    });
    let expected = RecordBatch::try_new(batch.schema(), columns.collect()).unwrap();
    let json = read::csv_as_jsonl(&rows, "", &schema);
    assert_eq!(read::jsonl(&json, &schema), expected);
}

fn spaced(text: &str) -> String {
    text.replace("\r\n", " ").replace(['\r', '\n'], " ")
}

fn parquet(batch: &RecordBatch, compression: &str) {
    let file = encode(&spec("parquet", compression, &[]), batch);
    // Parquet has no whole seconds; they are stored as milliseconds.
    let cast_back =
        |(column, field): (&ArrayRef, &FieldRef)| cast(column, field.data_type()).unwrap();
    let read = read::parquet(&file.bytes);
    let columns = read.columns().iter().zip(batch.schema_ref().fields()).map(cast_back).collect();
    assert_eq!(RecordBatch::try_new(batch.schema(), columns).unwrap(), *batch);
    let rows = batch.num_rows() as u64;
    assert_eq!((file.sum.rows, file.sum.rows_read, file.sum.values_lost), (rows, rows, 0));
}

proptest! {
    #![proptest_config(crate::support::cases(128))]

    #[test]
    fn any_rows_come_back_from_json_lines(
        seed in any::<u64>(), columns in 1_usize..5, rows in 0_usize..80,
        int64 in prop::sample::select(vec!["number", "string"]),
        nulls in prop::sample::select(vec!["omit", "keep"]),
    ) {
        jsonl(&any_batch(seed, columns, rows), &[("jsonl.int64", int64), ("jsonl.nulls", nulls)]);
    }

    #[test]
    fn any_rows_come_back_from_csv(
        seed in any::<u64>(), columns in 2_usize..5, rows in 0_usize..80,
        escape in prop::sample::select(vec!["double", "backslash"]),
        line_end in prop::sample::select(vec!["crlf", "lf"]),
        null in prop::sample::select(vec!["", "\\N", "null", "0", "true", " "]),
    ) {
        csv(&any_batch(seed, columns, rows), escape, line_end, null);
    }

    /// As a reader sees them that goes by lines: every line ends a row.
    #[test]
    fn any_rows_come_back_from_lines_of_csv_with_a_space_for_each_line_break(
        seed in any::<u64>(), columns in 2_usize..5, rows in 0_usize..80,
        line_end in prop::sample::select(vec!["crlf", "lf"]),
    ) {
        csv_lines(&any_batch(seed, columns, rows), line_end);
    }

    #[test]
    fn any_rows_come_back_from_parquet(
        seed in any::<u64>(), columns in 1_usize..5, rows in 0_usize..80,
        compression in prop::sample::select(vec!["none", "snappy", "gzip", "zstd"]),
    ) {
        parquet(&any_batch(seed, columns, rows), compression);
    }

    #[test]
    fn bytes_come_back_through_base64(seed in any::<u64>(), rows in 0_usize..40) {
        let columns = [("id", Type::Int32), ("a", Type::Binary), ("b", Type::FixedBinary { bytes: 5 })];
        let columns = columns.map(|(name, kind)| Field::new(name, kind));
        let batch = any_rows(&mut Dice(seed), &Schema { fields: columns.into() }, rows);
        let text = encode(&spec("jsonl", "none", &[]), &batch).bytes;
        let lines = std::str::from_utf8(&text).unwrap().lines();
        for (row, line) in lines.enumerate() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let read = |name| line.get(name).map(|text| STANDARD.decode(text.as_str().unwrap()).unwrap());
            let a = batch.column(1).as_binary::<i32>();
            prop_assert_eq!(read("a"), (!a.is_null(row)).then(|| a.value(row).to_vec()));
            let b = batch.column(2).as_fixed_size_binary().value(row).to_vec();
            prop_assert_eq!(read("b"), Some(b));
        }
        parquet(&batch, "zstd");
    }
}

/// Dictionaries, views and large offsets are ways to store text, not other text.
#[test]
fn how_arrays_are_stored_does_not_show() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a,b"),
        None,
        Some(""),
        Some("long enough for a view of its own"),
        Some("a,b"),
        None,
    ]));
    let dictionary = DataType::Dictionary(DataType::Int8.into(), DataType::Utf8.into());
    let kinds = [DataType::Utf8View, DataType::LargeUtf8, dictionary];
    let plain = batch(vec![("t", Arc::clone(&texts)), ("u", Arc::clone(&texts))]).slice(1, 5);
    for (format, compression) in crate::support::ALL {
        let spec = spec(format, compression, &[]);
        let expected = encode(&spec, &plain);
        for kind in &kinds {
            let other = cast(&texts, kind).unwrap();
            let stored = batch(vec![("t", Arc::clone(&other)), ("u", other)]).slice(1, 5);
            assert_eq!(encode(&spec, &stored), expected, "{format} {compression} {kind}");
        }
    }
}
