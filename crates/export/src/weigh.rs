//! How many bytes rows take, from their values alone.
//!
//! Arrow's own measures count buffers, which depend on how batches were cut; here a value weighs the same
//! wherever it lies, so that cuts made by weight are the same for the same rows. The unit is roughly the
//! byte of memory; a null weighs what the empty value of its type does.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Int32Type};

/// Bytes of a value that has a length of its own, besides that length.
const LENGTH_BYTES: u64 = 4;

/// Bytes of a value reached through runs or an unusual dictionary, which is taken for a short one.
const INDIRECT_BYTES: u64 = 16;

/// Returns the weight of each row of a batch.
pub(crate) fn rows(batch: &RecordBatch) -> Vec<u64> {
    let mut sums = vec![0; batch.num_rows()];
    for column in batch.columns() {
        match weight(column) {
            Weight::Each(bytes) => sums.iter_mut().for_each(|sum| *sum += bytes),
            Weight::Upto(upto) => {
                let pairs = upto.windows(2);
                sums.iter_mut().zip(pairs).for_each(|(sum, pair)| *sum += pair[1] - pair[0]);
            }
        }
    }
    sums
}

/// The weight of a column's rows.
enum Weight {
    /// Every row the same.
    Each(u64),
    /// The sum of the first n rows, at n.
    Upto(Vec<u64>),
}

impl Weight {
    fn range(&self, start: usize, end: usize) -> u64 {
        match self {
            Self::Each(bytes) => bytes * (end - start) as u64,
            Self::Upto(upto) => upto[end] - upto[start],
        }
    }
}

fn weight(array: &ArrayRef) -> Weight {
    let nulls = array.nulls();
    let rows = array.len();
    match array.data_type() {
        DataType::Utf8 => {
            let ends = array.as_string::<i32>().offsets().clone();
            sums(rows, nulls, |row| length(ends[row].into(), ends[row + 1].into()))
        }
        DataType::LargeUtf8 => {
            let ends = array.as_string::<i64>().offsets().clone();
            sums(rows, nulls, |row| length(ends[row], ends[row + 1]))
        }
        DataType::Binary => {
            let ends = array.as_binary::<i32>().offsets().clone();
            sums(rows, nulls, |row| length(ends[row].into(), ends[row + 1].into()))
        }
        DataType::LargeBinary => {
            let ends = array.as_binary::<i64>().offsets().clone();
            sums(rows, nulls, |row| length(ends[row], ends[row + 1]))
        }
        DataType::Utf8View => {
            let lengths: Vec<_> = array.as_string_view().lengths().collect();
            sums(rows, nulls, |row| lengths[row].into())
        }
        DataType::BinaryView => {
            let lengths: Vec<_> = array.as_binary_view().lengths().collect();
            sums(rows, nulls, |row| lengths[row].into())
        }
        DataType::Dictionary(..) => dictionary(array),
        _ => nested(array),
    }
}

/// Strings weigh the same with and without a dictionary of the usual kind.
fn dictionary(array: &ArrayRef) -> Weight {
    let Some(dictionary) = array.as_dictionary_opt::<Int32Type>() else {
        return Weight::Each(INDIRECT_BYTES);
    };
    let Some(values) = dictionary.values().as_string_opt::<i32>() else {
        return Weight::Each(INDIRECT_BYTES);
    };
    let (keys, ends) = (dictionary.keys().values(), values.offsets());
    sums(array.len(), array.logical_nulls().as_ref(), |row| {
        let key = index(keys[row].into());
        length(ends[key].into(), ends[key + 1].into())
    })
}

fn nested(array: &ArrayRef) -> Weight {
    let (rows, nulls) = (array.len(), array.nulls());
    match array.data_type() {
        DataType::Struct(_) => {
            let columns: Vec<_> = array.as_struct().columns().iter().map(weight).collect();
            sums(rows, nulls, |row| columns.iter().map(|column| column.range(row, row + 1)).sum())
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (items, ends) = (weight(list.values()), list.offsets());
            sums(rows, nulls, |row| {
                items.range(index(ends[row].into()), index(ends[row + 1].into()))
            })
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let (items, ends) = (weight(list.values()), list.offsets());
            sums(rows, nulls, |row| items.range(index(ends[row]), index(ends[row + 1])))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let (keys, values) = (weight(map.keys()), weight(map.values()));
            let ends = map.offsets();
            sums(rows, nulls, |row| {
                let (start, end) = (index(ends[row].into()), index(ends[row + 1].into()));
                keys.range(start, end) + values.range(start, end)
            })
        }
        DataType::FixedSizeList(_, size) => {
            let items = weight(array.as_fixed_size_list().values());
            let size = index((*size).into());
            sums(rows, nulls, |row| items.range(row * size, (row + 1) * size))
        }
        DataType::FixedSizeBinary(size) => Weight::Each(index((*size).into()) as u64),
        other => Weight::Each(other.primitive_width().map_or(INDIRECT_BYTES, |width| width as u64)),
    }
}

fn sums(rows: usize, nulls: Option<&NullBuffer>, value: impl Fn(usize) -> u64) -> Weight {
    let mut upto = Vec::with_capacity(rows + 1);
    let mut sum = 0;
    upto.push(sum);
    for row in 0..rows {
        sum += LENGTH_BYTES;
        if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
            sum += value(row);
        }
        upto.push(sum);
    }
    Weight::Upto(upto)
}

fn length(start: i64, end: i64) -> u64 {
    index(end - start) as u64
}

fn index(offset: i64) -> usize {
    usize::try_from(offset).expect("arrow offsets ascend from 0")
}
