//! Reads files back with readers that share nothing with the writers.

use std::fmt::Write;
use std::io::Read;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

/// Undoes the compression of a text file.
pub(crate) fn text(compression: &str, bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match compression {
        "gzip" => {
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut text).unwrap();
        }
        "zstd" => text = zstd::decode_all(bytes).unwrap(),
        _ => text = bytes.to_vec(),
    }
    text
}

/// Reads JSON Lines by a schema.
pub(crate) fn jsonl(text: &[u8], schema: &SchemaRef) -> RecordBatch {
    let reader = arrow::json::ReaderBuilder::new(Arc::clone(schema)).with_batch_size(64);
    let batches: Vec<_> = reader.build(text).unwrap().map(Result::unwrap).collect();
    concat_batches(schema, &batches).unwrap()
}

/// Reads a Parquet file.
pub(crate) fn parquet(bytes: &[u8]) -> RecordBatch {
    let file = Bytes::copy_from_slice(bytes);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// A cell as a strict reader sees it: quotes tell text from null.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CsvCell {
    pub(crate) text: String,
    pub(crate) quoted: bool,
}

/// Reads CSV whose quotes are doubled, or that has a backslash in front of what is escaped.
pub(crate) fn csv(text: &[u8], backslash: bool, line_end: &str) -> Vec<Vec<CsvCell>> {
    let text = std::str::from_utf8(text).unwrap();
    let mut rows = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut row = Vec::new();
        loop {
            let (cell, after) = csv_cell(rest, backslash, line_end);
            row.push(cell);
            if let Some(next) = after.strip_prefix(',') {
                rest = next;
                continue;
            }
            rest = after.strip_prefix(line_end).expect("a cell ends with a comma or its line");
            break;
        }
        rows.push(row);
    }
    rows
}

fn csv_cell<'a>(text: &'a str, backslash: bool, line_end: &str) -> (CsvCell, &'a str) {
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text.find([',', '\r', '\n']).expect("every line has an end");
        assert!(
            text[end..].starts_with(',') || text[end..].starts_with(line_end),
            "a bare CR or LF"
        );
        assert!(!text[..end].contains('"'), "a bare quote");
        return (CsvCell { text: text[..end].into(), quoted: false }, &text[end..]);
    };
    let mut cell = String::new();
    loop {
        let at = rest.find(if backslash { &['"', '\\'][..] } else { &['"'][..] }).expect("closed");
        cell.push_str(&rest[..at]);
        let mark = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        let escaped = if backslash { mark == b'\\' } else { rest.starts_with('"') };
        if !escaped {
            return (CsvCell { text: cell, quoted: true }, rest);
        }
        let letter = rest.chars().next().expect("something is escaped");
        cell.push(letter);
        rest = &rest[letter.len_utf8()..];
    }
}

/// Turns rows of CSV into JSON Lines that say the same, for the reader by schema.
pub(crate) fn csv_as_jsonl(rows: &[Vec<CsvCell>], null: &str, schema: &SchemaRef) -> Vec<u8> {
    let mut out = String::new();
    for row in rows {
        assert_eq!(row.len(), schema.fields().len(), "cells of {row:?}");
        let mut mark = '{';
        for (cell, field) in row.iter().zip(schema.fields()) {
            let value = match field.data_type() {
                _ if !cell.quoted && cell.text == null => "null".into(),
                kind if kind.is_nested() || *kind == DataType::Boolean => cell.text.clone(),
                _ => Value::String(cell.text.clone()).to_string(),
            };
            write!(out, "{mark}{}:{value}", Value::String(field.name().clone())).unwrap();
            mark = ',';
        }
        out.push_str("}\n");
    }
    out.into_bytes()
}

/// Where losses are counted: JSON has no NaN and no infinity anywhere; CSV lacks them inside nested
/// values only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floats {
    /// All of them are lost.
    All,
    /// Only those inside nested values.
    Nested,
}

/// Returns what a batch is after its documented losses, with their number.
pub(crate) fn after_losses(batch: &RecordBatch, floats: Floats) -> (RecordBatch, u64) {
    let mut lost = 0;
    let mut arrays = Vec::new();
    for array in batch.columns() {
        if floats == Floats::All || array.data_type().is_nested() {
            lost += (0..array.len()).map(|row| lost_in(array, row)).sum::<u64>();
            arrays.push(without_losses(array));
        } else {
            arrays.push(Arc::clone(array));
        }
    }
    (RecordBatch::try_new(batch.schema(), arrays).unwrap(), lost)
}

fn lost_in(array: &ArrayRef, row: usize) -> u64 {
    if array.is_null(row) {
        return 0;
    }
    let all = |values: ArrayRef| (0..values.len()).map(|row| lost_in(&values, row)).sum();
    match array.data_type() {
        DataType::Float32 => (!array.as_primitive::<Float32Type>().value(row).is_finite()).into(),
        DataType::Float64 => (!array.as_primitive::<Float64Type>().value(row).is_finite()).into(),
        DataType::List(_) => all(array.as_list::<i32>().value(row)),
        DataType::Map(..) => all(Arc::clone(array.as_map().value(row).column(1))),
        DataType::Struct(_) => {
            array.as_struct().columns().iter().map(|column| lost_in(column, row)).sum()
        }
        _ => 0,
    }
}

fn without_losses(array: &ArrayRef) -> ArrayRef {
    let nulls = array.nulls().cloned();
    match array.data_type() {
        DataType::Float32 => {
            let finite = |value: f32| value.is_finite().then_some(value);
            Arc::new(array.as_primitive::<Float32Type>().unary_opt::<_, Float32Type>(finite))
        }
        DataType::Float64 => {
            let finite = |value: f64| value.is_finite().then_some(value);
            Arc::new(array.as_primitive::<Float64Type>().unary_opt::<_, Float64Type>(finite))
        }
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let values = without_losses(list.values());
            Arc::new(ListArray::new(Arc::clone(field), list.offsets().clone(), values, nulls))
        }
        DataType::Struct(fields) => {
            let arrays = array.as_struct().columns().iter().map(without_losses).collect();
            Arc::new(StructArray::new(fields.clone(), arrays, nulls))
        }
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let DataType::Struct(pair) = field.data_type() else { panic!("a map has entries") };
            let arrays = vec![Arc::clone(map.keys()), without_losses(map.values())];
            let entries = StructArray::new(pair.clone(), arrays, None);
            let offsets = map.offsets().clone();
            Arc::new(MapArray::new(Arc::clone(field), offsets, entries, nulls, *sorted))
        }
        _ => Arc::clone(array),
    }
}
