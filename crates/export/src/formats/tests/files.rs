//! Whole files of many rows: the same bytes however they are made, and never more than the maximum.

use proptest::prelude::*;

use super::*;

/// Rows of many types, made from a seed.
pub(super) fn events(rows: usize, seed: u64) -> RecordBatch {
    let hash = |row: usize, column: u64| {
        let mixed = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ (seed + column).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 7
    };
    let word = |row: usize, column: u64| {
        let hash = hash(row, column);
        (!hash.is_multiple_of(7)).then(|| {
            ["", "é", "a,\"b\"", "line\nbreak", " x "][(hash % 5) as usize]
                .repeat((hash % 9) as usize)
        })
    };
    let range = || 0..rows;
    let id = Int64Array::from_iter_values(range().map(|row| row as i64));
    let name = StringArray::from_iter(range().map(|row| word(row, 1)));
    let price = Float64Array::from_iter(
        range().map(|row| (hash(row, 2) % 5 > 0).then(|| hash(row, 2) as f64 / 1e6)),
    );
    let at = TimestampMillisecondArray::from_iter(
        range().map(|row| Some((hash(row, 3) % (1 << 41)) as i64)),
    )
    .with_timezone("UTC");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(range().map(|row| {
        let length = hash(row, 4) % 4;
        (length < 3).then(|| {
            (0..length)
                .map(|at| (at > 0).then_some((hash(row, at) % 100) as i32))
                .collect::<Vec<_>>()
        })
    }));
    let fields = Fields::from(vec![
        Field::new("w", DataType::Utf8, true),
        Field::new("n", DataType::Int64, false),
    ]);
    let parts: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(range().map(|row| word(row, 5)))),
        Arc::new(Int64Array::from_iter_values(range().map(|row| hash(row, 6) as i64))),
    ];
    let valid = NullBuffer::from_iter(range().map(|row| hash(row, 7) % 6 > 0));
    let object = StructArray::new(fields, parts, (rows > 0).then_some(valid));
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(id) as ArrayRef, false),
        ("name", Arc::new(name), true),
        ("price", Arc::new(price), true),
        ("at", Arc::new(at), true),
        ("list", Arc::new(list), true),
        ("object", Arc::new(object), true),
    ])
    .unwrap()
}

const KINDS_TRIED: [(&str, &str); 8] = [
    ("jsonl", "none"),
    ("jsonl", "gzip"),
    ("jsonl", "zstd"),
    ("csv", "none"),
    ("csv", "gzip"),
    ("parquet", "none"),
    ("parquet", "zstd"),
    ("parquet", "snappy"),
];

/// Encodes everything under a maximum, remainder after remainder, as a run does.
fn files(
    formats: &Formats,
    spec: &FormatSpec,
    batch: &RecordBatch,
    cuts: &[usize],
) -> Vec<(Vec<u8>, Encoded)> {
    let mut out: Vec<(Vec<u8>, Encoded)> = Vec::new();
    let mut first = 0;
    loop {
        let rest = batch.slice(first, batch.num_rows() - first);
        let rows = dense(&rest, 0, cuts);
        let (bytes, sum) = block(encode_with(formats, spec, &batch.schema(), rows)).unwrap();
        first += usize::try_from(sum.rows_read).unwrap();
        assert_eq!(sum.rows, sum.rows_read);
        out.push((bytes, sum));
        if first == batch.num_rows() {
            return out;
        }
    }
}

fn check_same_rows(kind: (&str, &str), batch: &RecordBatch, files: &[(Vec<u8>, Encoded)]) {
    if kind.0 == "parquet" {
        let read: Vec<_> = files.iter().map(|(bytes, _)| read_parquet(bytes.clone())).collect();
        assert_eq!(concat_batches(&batch.schema(), &read).unwrap().columns(), batch.columns());
        return;
    }
    let whole = unpack(kind.1, &encode(&spec(kind.0, kind.1, &[]), batch).0);
    let mut joined = Vec::new();
    for (at, (bytes, sum)) in files.iter().enumerate() {
        let text = unpack(kind.1, bytes);
        assert_eq!(text.len() as u64, sum.uncompressed_bytes);
        let header = if kind.0 == "csv" && at > 0 {
            text.iter().position(|byte| *byte == b'\n').unwrap() + 1
        } else {
            0
        };
        joined.extend_from_slice(&text[header..]);
    }
    assert!(joined == whole, "the files together are the whole");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn neither_threads_nor_batches_show_in_the_bytes(
        rows in 0_usize..9000,
        seed in any::<u64>(),
        kind in 0_usize..8,
        cuts in prop::collection::vec(1_usize..5000, 1..5),
    ) {
        let (batch, kind) = (events(rows, seed % 1000), KINDS_TRIED[kind]);
        let spec = spec(kind.0, kind.1, &[]);
        let (bytes, sum) = encode(&spec, &batch);
        for formats in &*POOLS {
            let rows = dense(&batch, 0, &cuts);
            let again = block(encode_with(formats, &spec, &batch.schema(), rows)).unwrap();
            prop_assert!(again == (bytes.clone(), sum), "{kind:?}");
        }
        check_same_rows(kind, &batch, &[(bytes, sum)]);
    }

    #[test]
    fn no_file_passes_its_maximum_and_together_they_have_every_row(
        rows in 1_usize..6000,
        seed in any::<u64>(),
        kind in 0_usize..8,
        most in 3000_u64..200_000,
        cuts in prop::collection::vec(1_usize..5000, 1..5),
    ) {
        let (batch, kind) = (events(rows, seed % 1000), KINDS_TRIED[kind]);
        let most = if kind.0 == "parquet" { most + 20_000 } else { most };
        let spec = FormatSpec { file_bytes: Some(most), ..spec(kind.0, kind.1, &[]) };
        let made = files(&POOLS[0], &spec, &batch, &[]);
        prop_assert!(made.iter().all(|(bytes, _)| bytes.len() as u64 <= most), "{kind:?}");
        prop_assert!(made == files(&POOLS[2], &spec, &batch, &cuts), "{kind:?}");
        check_same_rows(kind, &batch, &made);
        if kind.0 != "parquet" {
            // A file is full: it lacks at most a row, give or take what a compressor makes of it.
            let full = made[..made.len() - 1].iter().all(|(bytes, _)| bytes.len() as u64 + 1500 > most);
            prop_assert!(full, "{kind:?} {most} {:?}", made.iter().map(|file| file.0.len()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_maximum_holds_over_many_members_and_rows_longer_than_a_member() {
    let long = "0123456789abcdef".repeat(80_000);
    let words =
        (0..20).map(|row| if row % 13 == 7 { long.clone() } else { "x".repeat(row * 5000) });
    let words = StringArray::from_iter_values(words);
    let batch = RecordBatch::try_from_iter([("a", Arc::new(words) as ArrayRef)]).unwrap();
    for compression in ["none", "gzip"] {
        for most in [1_400_000, 2_700_000] {
            let spec = FormatSpec { file_bytes: Some(most), ..spec("jsonl", compression, &[]) };
            let made = files(&POOLS[1], &spec, &batch, &[3]);
            assert!(made.iter().all(|(bytes, _)| bytes.len() as u64 <= most));
            check_same_rows(("jsonl", compression), &batch, &made);
        }
    }
}

#[test]
fn a_maximum_holds_over_many_compressed_members() {
    let batch = events(30_000, 5);
    for compression in ["gzip", "zstd"] {
        let most = 700_000;
        let spec = FormatSpec { file_bytes: Some(most), ..spec("jsonl", compression, &[]) };
        let made = files(&POOLS[1], &spec, &batch, &[]);
        assert!(made[0].1.uncompressed_bytes > 2 * model::limits::MEMBER_BYTES as u64);
        assert!(made.len() > 1 && made.iter().all(|(bytes, _)| bytes.len() as u64 <= most));
        assert!(made[0].0.len() as u64 + 1500 > most, "{}", made[0].0.len());
        check_same_rows(("jsonl", compression), &batch, &made);
    }
}

#[test]
fn dropped_rows_before_the_cut_are_read_and_those_behind_it_are_not() {
    let words = StringArray::from_iter_values((0..100).map(|row| format!("{row:040}")));
    let batch = RecordBatch::try_from_iter([("a", Arc::new(words) as ArrayRef)]).unwrap();
    let read = Positions::Sparse((0..100).map(|row| row * 10 + 4).collect());
    let rows = vec![Rows { batch: batch.clone(), read, read_after: 1000 }];
    for format in ["jsonl", "parquet"] {
        let most = if format == "jsonl" { 1000 } else { 1500 };
        let whole = block(encode_with(
            &POOLS[1],
            &spec(format, "none", &[]),
            &batch.schema(),
            rows.clone(),
        ));
        assert_eq!(whole.unwrap().1.rows_read, 1000);
        let limited = FormatSpec { file_bytes: Some(most), ..spec(format, "none", &[]) };
        let (_, sum) =
            block(encode_with(&POOLS[1], &limited, &batch.schema(), rows.clone())).unwrap();
        assert!(sum.rows > 0 && sum.rows < 100, "{format} {sum:?}");
        assert_eq!(sum.rows_read, (sum.rows - 1) * 10 + 4);
    }
}

#[test]
fn a_row_that_cannot_fit_is_an_error_that_names_size_and_option() {
    let batch = events(10, 3);
    for (format, compression) in KINDS_TRIED {
        let limited = FormatSpec { file_bytes: Some(20), ..spec(format, compression, &[]) };
        let error = block(encode_with(&POOLS[1], &limited, &batch.schema(), dense(&batch, 0, &[])));
        let error = error.expect_err("too small");
        assert_eq!((error.code(), error.fault()), (Code::TooLarge, Fault::Request));
        assert!(error.to_string().contains("allow more bytes a file"), "{error}");
    }
}

#[test]
fn many_row_groups_are_cut_by_rows_and_weight() {
    let wide =
        StringArray::from_iter_values((0..90).map(|row| format!("{row}").repeat(1_000_000 / 2)));
    let batch = RecordBatch::try_from_iter([("a", Arc::new(wide) as ArrayRef)]).unwrap();
    let spec = spec("parquet", "zstd", &[]);
    let (bytes, sum) = encode(&spec, &batch);
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes.clone())).unwrap();
    assert_eq!(reader.metadata().num_row_groups(), 2);
    assert_eq!(reader.metadata().file_metadata().created_by(), Some("sluice"));
    assert!(sum.uncompressed_bytes > 10_000);
    let again =
        block(encode_with(&POOLS[2], &spec, &batch.schema(), dense(&batch, 0, &[7, 1]))).unwrap();
    assert!(again.0 == bytes);
    assert_eq!(read_parquet(bytes).columns(), batch.columns());
}

#[test]
fn parquet_keeps_seconds_as_milliseconds_and_refuses_what_is_too_far() {
    let write = |seconds| {
        let at = TimestampSecondArray::from(vec![Some(seconds), None]).with_timezone("UTC");
        let batch = RecordBatch::try_from_iter([("at", Arc::new(at) as ArrayRef)]).unwrap();
        let rows = dense(&batch, 0, &[]);
        block(encode_with(&POOLS[0], &spec("parquet", "none", &[]), &batch.schema(), rows))
    };
    let read = read_parquet(write(-7).unwrap().0);
    let expected = TimestampMillisecondArray::from(vec![Some(-7000), None]).with_timezone("UTC");
    assert_eq!(read.column(0).as_ref(), &expected as &dyn Array);
    let error = write(i64::MAX).expect_err("too far");
    assert_eq!(
        error.to_string(),
        "column `at` has a value that `parquet` cannot hold; cast it or leave it out"
    );
    assert_eq!(error.fault(), Fault::Source);
}

#[test]
fn dropping_the_stream_stops_reading() {
    let batch = events(5000, 1);
    let schema = Schema::from_arrow(&batch.schema()).unwrap();
    let encoding = POOLS[1].check(&spec("jsonl", "gzip", &[]), &schema).unwrap();
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let rows = futures::stream::repeat_with(move || {
        assert!(Arc::strong_count(&held) > 1, "the test holds the other");
        Ok(dense(&batch, 0, &[]).remove(0))
    });
    block(async {
        let mut stream = POOLS[1].encode(&encoding, &schema, rows.boxed());
        assert!(stream.next().await.unwrap().is_ok());
        drop(stream);
        while Arc::strong_count(&alive) > 1 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn rows_with_other_columns_than_the_schema_are_an_error() {
    let batch = events(3, 1);
    let schema = Arc::new(ArrowSchema::new(vec![Field::new("a", DataType::Int64, true)]));
    for format in ["jsonl", "csv", "parquet"] {
        let spec = spec(format, "none", &[]);
        let made = encode_with(&POOLS[0], &spec, &schema, dense(&batch, 0, &[]));
        assert_eq!(block(made).expect_err("refused").code(), Code::Internal);
    }
}
