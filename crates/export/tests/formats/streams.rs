//! How streams end: with their end, with an error, or because nobody listens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use futures::StreamExt;
use model::ports::{EncodedChunk, Encoder, NameContext, Positions, Rows};
use model::{Code, Fault, PortError};

use crate::support::{ALL, batch, block_on, check, encode, formats, schema, spec, try_encode};

fn numbers(rows: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
    batch(vec![("id", Arc::clone(&ids)), ("more", ids)])
}

#[test]
fn an_error_of_the_source_ends_the_stream_and_is_passed_on() {
    let batch = numbers(10_000);
    for (format, compression) in ALL {
        let good =
            Rows { batch: batch.clone(), read: Positions::Dense { first: 0 }, read_after: 10_000 };
        let bad = PortError::new(Code::Unavailable, Fault::Source, "the disk is gone");
        let rows = Box::pin(futures::stream::iter([Ok(good), Err(bad)]));
        let spec = spec(format, compression, &[]);
        let error = try_encode(formats(), &spec, &schema(&batch), rows).unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone", "{format} {compression}");
        assert_eq!((error.code(), error.fault()), (Code::Unavailable, Fault::Source));
    }
}

#[test]
fn nothing_is_read_before_the_stream_is_polled_and_dropping_it_stops_the_reading() {
    struct Gone(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            // The test waits for exactly this.
            let _ = self.0.take().map(|tell| tell.send(()));
        }
    }
    let batch = numbers(4096);
    for (format, compression) in ALL {
        let spec = spec(format, compression, &[]);
        let encoding = check(&spec, &schema(&batch));
        let (tell, gone) = tokio::sync::oneshot::channel();
        let read = Arc::new(AtomicUsize::new(0));
        let (counter, guard, rows) = (Arc::clone(&read), Gone(Some(tell)), batch.clone());
        // It never ends by itself.
        let endless = futures::stream::repeat_with(move || {
            let _kept = &guard;
            counter.fetch_add(1, Ordering::Relaxed);
            Ok(Rows { batch: rows.clone(), read: Positions::Dense { first: 0 }, read_after: 0 })
        });
        block_on(async {
            let mut stream = formats().encode(&encoding, &schema(&batch), endless.boxed());
            assert_eq!(read.load(Ordering::Relaxed), 0);
            let first = stream.next().await;
            assert!(matches!(first, Some(Ok(EncodedChunk::Bytes(_)))), "{format} {compression}");
            drop(stream);
            gone.await.expect("the source is dropped");
        });
    }
    // The threads are free again.
    encode(&spec("jsonl", "gzip", &[]), &batch);
}

#[test]
fn many_files_at_a_time_all_end() {
    let batch = numbers(20_000);
    let one = |(format, compression): &(&str, &str)| {
        let spec = spec(format, compression, &[]);
        let encoding = check(&spec, &schema(&batch));
        let stream = formats().encode(&encoding, &schema(&batch), crate::support::whole(&batch));
        let expected = encode(&spec, &batch);
        async move {
            let chunks: Vec<_> = stream.collect().await;
            let last = chunks.into_iter().last().unwrap().unwrap();
            assert_eq!(last, EncodedChunk::End(expected.sum));
        }
    };
    let files: Vec<_> = ALL.iter().cycle().take(40).map(one).collect();
    block_on(futures::future::join_all(files));
}

#[test]
fn names_end_as_the_format_says() {
    let opened_at = chrono::DateTime::from_timestamp(0, 0).unwrap();
    let context =
        NameContext { export: "orders".into(), run: "r".into(), from: 0, to: 1, opened_at };
    let schema = schema(&numbers(0));
    let part = model::part::PartId::planned(0);
    let names = ALL.iter().map(|(format, compression)| {
        let encoding = check(&spec(format, compression, &[]), &schema);
        let name = formats().name(&encoding, &context, part, 1).unwrap();
        assert!(name.ends_with(&encoding.extension));
        name.trim_start_matches("part-00000").to_owned()
    });
    let expected = [
        ".jsonl",
        ".jsonl.gz",
        ".jsonl.zst",
        ".csv",
        ".csv.gz",
        ".csv.zst",
        ".parquet",
        ".parquet",
        ".parquet",
        ".parquet",
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
}

/// Everything that decides the bytes is in the id, so ids differ wherever bytes may.
#[test]
fn encoder_ids_tell_encodings_apart() {
    let schema = schema(&numbers(0));
    let id = |format, compression, options: &[_]| {
        check(&spec(format, compression, options), &schema).encoder.0
    };
    let mut ids: Vec<_> =
        ALL.iter().map(|(format, compression)| id(format, compression, &[])).collect();
    ids.push(id("jsonl", "none", &[("jsonl.int64", "string")]));
    ids.push(id("jsonl", "none", &[("jsonl.nulls", "keep")]));
    ids.push(id("csv", "none", &[("csv.null", "\\N")]));
    ids.push(id("csv", "none", &[("csv.escape", "backslash")]));
    ids.push(id("csv", "none", &[("csv.header", "false")]));
    ids.push(id("csv", "none", &[("csv.line_end", "lf")]));
    ids.push(id("csv", "none", &[("csv.line_breaks", "space")]));
    ids.push(id("csv", "gzip", &[("gzip.level", "9")]));
    ids.push(id("parquet", "zstd", &[("zstd.level", "9")]));
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:#?}");
    let defaults = id("jsonl", "none", &[("jsonl.int64", "number"), ("jsonl.nulls", "omit")]);
    assert_eq!(defaults, id("jsonl", "none", &[]));
}
