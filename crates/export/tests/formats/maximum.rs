//! A maximum of bytes is hard: no finished file is larger, and nothing is lost between files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use futures::StreamExt;
use model::ports::{Positions, Rows};
use model::{Code, Fault};
use proptest::prelude::*;

use crate::data::Dice;
use crate::read;
use crate::support::{ALL, batch, encode, formats, schema, spec, try_encode, whole, with_maximum};

/// Rows of very different sizes, most of them hard to compress.
fn uneven(seed: u64, rows: usize, text_most: usize) -> RecordBatch {
    let mut dice = Dice(seed);
    let ids: ArrayRef = Arc::new((0_i64..).take(rows).map(Some).collect::<Int64Array>());
    let text = |_| {
        let length = dice.below(text_most + 1);
        (0..length)
            .map(|_| char::from(b'!' + u8::try_from(dice.roll() % 90).unwrap()))
            .collect::<String>()
    };
    let texts: ArrayRef = Arc::new((0..rows).map(text).map(Some).collect::<StringArray>());
    batch(vec![("id", ids), ("text", texts)])
}

/// Writes files until all rows are out; returns them with the rows that each has.
fn files(format: &str, compression: &str, most: u64, batch: &RecordBatch) -> Vec<(Vec<u8>, usize)> {
    let spec = with_maximum(format, compression, most);
    let mut files = Vec::new();
    let mut first = 0;
    while first < batch.num_rows() {
        let rest = batch.slice(first, batch.num_rows() - first);
        let file = encode(&spec, &rest);
        assert!(file.bytes.len() as u64 <= most, "{} of {most} bytes", file.bytes.len());
        let rows = usize::try_from(file.sum.rows_read).unwrap();
        assert!(rows > 0, "a file without rows would come again for ever");
        assert_eq!(file.sum.rows, file.sum.rows_read);
        files.push((file.bytes, rows));
        first += rows;
    }
    files
}

fn lines(format: &str, compression: &str, batch: &RecordBatch) -> Vec<u8> {
    let header: &[(&str, &str)] = if format == "csv" { &[("csv.header", "false")] } else { &[] };
    read::text(compression, &encode(&spec(format, compression, header), batch).bytes)
}

proptest! {
    #![proptest_config(crate::support::cases(5))]

    #[test]
    fn no_file_is_larger_and_all_rows_come_out(
        seed in any::<u64>(), rows in 1_usize..4500, text_most in 0_usize..60, most in 1500_u64..60_000,
    ) {
        let batch = uneven(seed, rows, text_most);
        for (format, compression) in ALL {
            // A Parquet file has a footer; small maxima are tried apart.
            let most = if *format == "parquet" { most + 10_000 } else { most };
            let files = files(format, compression, most, &batch);
            if *format == "parquet" {
                let read: Vec<_> = files.iter().map(|(bytes, _)| read::parquet(bytes)).collect();
                prop_assert!(concat_batches(&batch.schema(), &read).unwrap() == batch);
                continue;
            }
            let mut all = Vec::new();
            for (bytes, _) in &files {
                let text = read::text(compression, bytes);
                let header = if *format == "csv" { "id,text\r\n".len() } else { 0 };
                all.extend_from_slice(&text[header..]);
            }
            prop_assert!(all == lines(format, compression, &batch), "{} {}", format, compression);
        }
    }
}

/// Without compression it can be told from outside that a file takes every row that still fits.
#[test]
fn a_file_is_as_full_as_it_can_be() {
    let batch = uneven(5, 2500, 100);
    for format in ["jsonl", "csv"] {
        for (most, rows) in [(300, 100), (10_000, 1000), (60_000, 2500)] {
            let batch = batch.slice(0, rows);
            let files = files(format, "none", most, &batch);
            assert!(files.len() > 1);
            let mut first = 0;
            for (bytes, rows) in &files[..files.len() - 1] {
                first += rows;
                let next = lines(format, "none", &batch.slice(first, 1));
                let full = (bytes.len() + next.len()) as u64 > most;
                assert!(full, "{format}: one more row fits {most}");
            }
        }
    }
}

/// Text is compressed in members of a mebibyte; here rows end in some members, and in others none does.
#[test]
fn rows_larger_than_a_member_keep_to_the_maximum_too() {
    let mut dice = Dice(11);
    let letters: String =
        (0..3 << 20).map(|_| char::from(b'a' + u8::try_from(dice.roll() % 26).unwrap())).collect();
    let lengths = [10, 900_000, 2_600_000, 0, 1_048_560, 5, 700_000, 2_200_000, 1_500_000, 40];
    let text = |length: usize| {
        let start = dice.below(letters.len() - length);
        letters[start..start + length].to_owned()
    };
    let texts: ArrayRef =
        Arc::new(lengths.map(text).into_iter().map(Some).collect::<StringArray>());
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let batch = batch(vec![("id", ids), ("text", texts)]);
    let all = lines("jsonl", "none", &batch);
    for (compression, maxima) in [
        ("none", [2_700_000, 3_500_000, 5_000_000]),
        ("gzip", [1_700_000, 2_200_000, 3_300_000]),
        ("zstd", [1_700_000, 2_200_000, 3_300_000]),
    ] {
        for most in maxima {
            let files = files("jsonl", compression, most, &batch);
            assert!(files.len() > 1, "{compression} {most}");
            let text = files.iter().flat_map(|(bytes, _)| read::text(compression, bytes));
            assert!(text.eq(all.iter().copied()), "{compression} {most}");
        }
    }
}

#[test]
fn a_row_that_fits_no_file_is_an_error_that_says_what_to_do() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(3000)]));
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = batch(vec![("id", ids), ("text", texts)]);
    for (format, compression) in ALL {
        let spec = with_maximum(format, compression, 20);
        let error = try_encode(formats(), &spec, &schema(&batch), whole(&batch)).unwrap_err();
        assert_eq!(error.fault(), Fault::Request, "{format} {compression}: {error}");
        assert!(matches!(error.code(), Code::Invalid | Code::TooLarge), "{error}");
        let message = error.to_string();
        assert!(message.contains("allow more bytes a file") && message.contains("20"), "{message}");
    }
}

/// The first row fits, a later one never will: the first file ends before it, the next one fails.
#[test]
fn a_large_row_ends_the_file_before_it() {
    let texts: ArrayRef =
        Arc::new(StringArray::from(vec!["a".into(), "b".into(), "x".repeat(900), "c".into()]));
    let batch = batch(vec![("id", Arc::clone(&texts)), ("text", texts)]);
    let spec = with_maximum("jsonl", "none", 300);
    let file = encode(&spec, &batch);
    assert_eq!((file.sum.rows, file.sum.rows_read), (2, 2));
    let rest = batch.slice(2, 2);
    assert!(try_encode(formats(), &spec, &schema(&batch), whole(&rest)).is_err());
}

/// Output rows of a filter: the cut is told in input rows.
#[test]
fn rows_read_counts_input_rows() {
    let batch = uneven(1, 1000, 40);
    let read: Vec<u64> = (0..1000).map(|row| 3 * row + 2).collect();
    for (format, compression) in ALL {
        let stream = || {
            let rows = Rows {
                batch: batch.clone(),
                read: Positions::Sparse(read.clone()),
                read_after: 3005,
            };
            futures::stream::iter([Ok(rows)]).boxed()
        };
        let encoded = |spec| try_encode(formats(), &spec, &schema(&batch), stream()).unwrap().sum;
        let all = encoded(spec(format, compression, &[]));
        assert_eq!((all.rows, all.rows_read), (1000, 3005), "{format} {compression}");
        let some = encoded(with_maximum(format, compression, 9_000));
        assert!(some.rows > 0 && some.rows < 1000, "{format} {compression}: {some:?}");
        assert_eq!(some.rows_read, 3 * (some.rows - 1) + 2, "{format} {compression}");
    }
}
