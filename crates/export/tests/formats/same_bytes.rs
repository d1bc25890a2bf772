//! The same rows and encoding give the same bytes, however the stream cuts its batches and however many
//! threads there are.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use model::limits::{CHUNK_BYTES, CHUNK_ROWS};
use proptest::prelude::*;

use crate::data::{Dice, any_rows, any_schema};
use crate::support::{
    ALL, File, THREADS, batch, cut, encode, schema, spec, try_encode, whole, with_maximum,
};

fn encoded(
    spec: &model::format::FormatSpec,
    batch: &RecordBatch,
    threads: usize,
    cuts: &[usize],
) -> File {
    try_encode(&THREADS[threads], spec, &schema(batch), cut(batch, cuts)).unwrap()
}

/// More than a few chunks of plain rows.
fn long(rows: usize) -> RecordBatch {
    let mut dice = Dice(7);
    let ids: ArrayRef = Arc::new((0_i64..).take(rows).map(Some).collect::<Int64Array>());
    let text =
        |at: usize| (!at.is_multiple_of(11)).then(|| format!("row {at} {}", dice.roll() % 1000));
    let texts: ArrayRef = Arc::new((0..rows).map(text).collect::<StringArray>());
    batch(vec![("id", ids), ("text", texts)])
}

proptest! {
    #![proptest_config(crate::support::cases(3))]

    #[test]
    fn neither_threads_nor_batches_show_in_any_format(
        cuts in prop::collection::vec(1_usize..9000, 1..6),
        rows in (CHUNK_ROWS - 1)..(4 * CHUNK_ROWS),
    ) {
        let batch = long(rows);
        for (format, compression) in ALL {
            let spec = spec(format, compression, &[]);
            let expected = try_encode(&THREADS[0], &spec, &schema(&batch), whole(&batch)).unwrap();
            prop_assert_eq!(expected.sum.rows, rows as u64);
            for threads in 0..THREADS.len() {
                prop_assert!(encoded(&spec, &batch, threads, &cuts) == expected, "{} {}", format, compression);
            }
        }
    }

    #[test]
    fn nor_with_a_maximum(cuts in prop::collection::vec(1_usize..9000, 1..6), kib in 20_u64..100) {
        let batch = long(2 * CHUNK_ROWS + 100);
        for (format, compression) in [("jsonl", "gzip"), ("csv", "zstd"), ("parquet", "zstd")] {
            let spec = with_maximum(format, compression, kib << 10);
            let expected = encoded(&spec, &batch, 0, &[batch.num_rows()]);
            for threads in 1..THREADS.len() {
                prop_assert!(encoded(&spec, &batch, threads, &cuts) == expected, "{} {}", format, compression);
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::support::cases(24))]

    #[test]
    fn nor_for_columns_of_any_type(seed in any::<u64>(), cuts in prop::collection::vec(1_usize..40, 1..6)) {
        let mut dice = Dice(seed);
        let columns = any_schema(&mut dice, 3);
        let batch = any_rows(&mut dice, &columns, 100);
        for (format, compression) in ALL {
            let spec = spec(format, compression, &[]);
            let expected = encode(&spec, &batch);
            prop_assert!(encoded(&spec, &batch, 2, &cuts) == expected, "{} {}", format, compression);
        }
    }
}

/// Rows of which a few fill a chunk: chunks end by bytes, and batches must not show in that either.
#[test]
fn nor_when_rows_are_large_and_of_very_different_size() {
    let mut dice = Dice(3);
    let most = usize::try_from(CHUNK_BYTES).unwrap() / 4;
    let mut text = |at: usize| {
        let length = if at.is_multiple_of(3) { dice.below(most) } else { dice.below(9) };
        "x".repeat(length) + &at.to_string()
    };
    let texts: ArrayRef = Arc::new((0..24).map(|at| Some(text(at))).collect::<StringArray>());
    let batch = batch(vec![("a", Arc::clone(&texts)), ("b", texts)]);
    for (format, compression) in [("jsonl", "none"), ("csv", "zstd"), ("parquet", "snappy")] {
        let spec = spec(format, compression, &[]);
        let expected = encoded(&spec, &batch, 0, &[24]);
        for cuts in [&[1][..], &[7, 1, 3], &[23]] {
            assert!(encoded(&spec, &batch, 2, cuts) == expected, "{format} {compression} {cuts:?}");
        }
    }
}
