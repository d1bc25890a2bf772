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
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;
use serde_json::Value;

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
