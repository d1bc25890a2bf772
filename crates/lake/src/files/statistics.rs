//! Reads what a Parquet footer says about the columns of a file.
//!
//! Contract: bounds only, and only where every row group has them: `min` is at most, `max` at least, every
//! value (long texts are cut by Parquet itself). Floats have no bounds, because Parquet leaves NaN out of
//! them while SQL sorts NaN above all numbers. Nested columns have none.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, UInt64Array};
use arrow::compute::{self, SortOptions};
use arrow::datatypes::{DataType, Int64Type, Schema, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use model::dataset::ColumnStatistics;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use serde_json::Value;

use crate::session::BATCH_ROWS;

/// Returns the statistics of the top-level columns of `schema`, which the file has.
pub(crate) fn statistics_of(
    metadata: &ParquetMetaData,
    schema: &Schema,
) -> BTreeMap<String, ColumnStatistics> {
    let mut out = BTreeMap::new();
    for field in schema.fields() {
        if field.data_type().is_nested() {
            continue;
        }
        // A footer without usable statistics is a file without statistics, not an error.
        if let Ok(statistics) = column(metadata, schema, field.name()) {
            out.insert(field.name().clone(), statistics);
        }
    }
    out
}

/// Returns the codec that all column chunks have, if it is one that the lake keeps.
pub(crate) fn codec_of(metadata: &ParquetMetaData) -> Option<&'static str> {
    let mut codecs =
        metadata.row_groups().iter().flat_map(RowGroupMetaData::columns).map(|chunk| {
            match chunk.compression() {
                Compression::ZSTD(_) => Some("zstd"),
                Compression::SNAPPY => Some("snappy"),
                _ => None,
            }
        });
    let first = codecs.next()??;
    codecs.all(|codec| codec == Some(first)).then_some(first)
}

/// Returns how many rows of these row groups one batch may have so that it stays within `bytes`.
///
/// Shape: from 1 to [`BATCH_ROWS`]. A dictionary holds a long text once for any number of rows: where the
/// writer said how long the texts of all rows are together, that counts.
pub(crate) fn batch_rows<'a>(
    groups: impl Iterator<Item = &'a RowGroupMetaData>,
    bytes: u64,
) -> usize {
    let width = |group: &RowGroupMetaData| {
        let column = |chunk: &ColumnChunkMetaData| {
            let plain = chunk.unencoded_byte_array_data_bytes().unwrap_or(0);
            u64::try_from(chunk.uncompressed_size().max(plain)).unwrap_or(0)
        };
        let rows = u64::try_from(group.num_rows()).unwrap_or(0).max(1);
        group.columns().iter().map(column).sum::<u64>() / rows
    };
    let widest = groups.map(width).max().unwrap_or(0).max(1);
    usize::try_from(bytes / widest).unwrap_or(BATCH_ROWS).clamp(1, BATCH_ROWS)
}

fn column(
    metadata: &ParquetMetaData,
    schema: &Schema,
    name: &str,
) -> Result<ColumnStatistics, ParquetError> {
    let groups = metadata.row_groups();
    let parquet = metadata.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(name, schema, parquet)?
        .with_missing_null_counts_as_zero(false);
    let nulls = converter.row_group_null_counts(groups)?;
    let total = (nulls.null_count() == 0).then(|| compute::sum(&nulls).unwrap_or(0));
    let rows: Vec<u64> =
        groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).collect();
    let bound = |values: ArrayRef, last: bool| {
        let known = (0..rows.len())
            .all(|at| values.is_valid(at) || (nulls.is_valid(at) && nulls.value(at) == rows[at]));
        if known { extreme(&values, last) } else { None }
    };
    let kind = converter.arrow_field().data_type();
    let (min, max) = if kind.is_floating() || has_old_bounds(&converter, groups) {
        (None, None)
    } else {
        (
            bound(converter.row_group_mins(groups)?, false),
            bound(converter.row_group_maxes(groups)?, true),
        )
    };
    Ok(ColumnStatistics { min, max, nulls: total })
}

/// Returns whether some bounds are of the kind that old writers made: their order is not that of the
/// values (text was compared by signed bytes), so nothing may be left out by them.
fn has_old_bounds(converter: &StatisticsConverter<'_>, groups: &[RowGroupMetaData]) -> bool {
    converter.parquet_column_index().is_some_and(|at| {
        let chunks = groups.iter().filter_map(|group| group.column(at).statistics());
        chunks.into_iter().any(Statistics::is_min_max_deprecated)
    })
}

/// Returns the least or the greatest of the row groups' values.
fn extreme(values: &ArrayRef, last: bool) -> Option<Value> {
    let options = SortOptions { descending: last, nulls_first: false };
    let order = compute::sort_to_indices(values, Some(options), Some(1)).ok()?;
    let order: UInt64Array =
        compute::cast(&order, &DataType::UInt64).ok()?.as_primitive::<UInt64Type>().clone();
    let at = usize::try_from(*order.values().first()?).ok()?;
    values.is_valid(at).then(|| value(values, at)).flatten()
}

fn value(values: &ArrayRef, at: usize) -> Option<Value> {
    match values.data_type() {
        DataType::Boolean => Some(values.as_boolean().value(at).into()),
        DataType::UInt64 => Some(values.as_primitive::<UInt64Type>().value(at).into()),
        kind if kind.is_integer() => {
            let wide = compute::cast(values, &DataType::Int64).ok()?;
            Some(wide.as_primitive::<Int64Type>().value(at).into())
        }
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Date32
        | DataType::Timestamp(..) => {
            let options = FormatOptions::default().with_display_error(false);
            let text = ArrayFormatter::try_new(values, &options).ok()?.value(at).try_to_string();
            text.ok().map(Value::String)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

    use super::*;

    fn rows_of(column: ArrayRef) -> usize {
        let batch = RecordBatch::try_from_iter(vec![("x", column)]).unwrap();
        let mut out = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut out, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let footer =
            ArrowReaderMetadata::load(&Bytes::from(out), ArrowReaderOptions::new()).unwrap();
        batch_rows(footer.metadata().row_groups().iter(), 1 << 20)
    }

    #[test]
    fn a_batch_of_long_texts_has_few_rows_also_out_of_a_dictionary() {
        assert_eq!(rows_of(Arc::new(Int64Array::from_iter_values(0..10_000))), BATCH_ROWS);
        let long = "x".repeat(16 << 10);
        let same = StringArray::from_iter_values(std::iter::repeat_n(long, 10_000));
        let rows = rows_of(Arc::new(same));
        assert!((32..=64).contains(&rows), "{rows}");
    }
}
