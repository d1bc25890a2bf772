//! No rows make a complete file.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use model::ports::{Encoded, Positions, Rows};

use crate::read;
use crate::support::{ALL, batch, encode, formats, schema, spec, try_encode, with_maximum};

fn nothing() -> arrow::array::RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from(Vec::<i64>::new()));
    let texts: ArrayRef = Arc::new(StringArray::from(Vec::<&str>::new()));
    batch(vec![("id", ids), ("a \"b\"", texts)])
}

#[test]
fn no_rows_make_an_empty_file_that_readers_take() {
    let batch = nothing();
    for (format, compression) in ALL {
        let file = encode(&spec(format, compression, &[]), &batch);
        let text: &[u8] = match *format {
            "jsonl" => b"",
            "csv" => b"id,\"a \"\"b\"\"\"\r\n",
            _ => {
                assert_eq!(read::parquet(&file.bytes), batch);
                assert_eq!((file.sum.rows, file.sum.uncompressed_bytes), (0, 0));
                continue;
            }
        };
        assert_eq!(read::text(compression, &file.bytes), text, "{format} {compression}");
        assert_eq!(file.bytes.is_empty(), text.is_empty() && *compression == "none");
        let expected = Encoded { uncompressed_bytes: text.len() as u64, ..Encoded::default() };
        assert_eq!(file.sum, expected);
    }
}

#[test]
fn batches_without_rows_count_what_was_read() {
    let batch = nothing();
    for (format, compression) in ALL {
        let spec = spec(format, compression, &[]);
        let none =
            Rows { batch: batch.clone(), read: Positions::Sparse(Vec::new()), read_after: 12 };
        let stream = Box::pin(futures::stream::iter([Ok(none)]));
        let file = try_encode(formats(), &spec, &schema(&batch), stream).unwrap();
        let empty = encode(&spec, &batch);
        assert_eq!(file.bytes, empty.bytes, "{format} {compression}");
        assert_eq!((file.sum.rows, file.sum.rows_read), (0, 12), "{format} {compression}");
    }
}

#[test]
fn without_a_header_csv_of_nothing_is_nothing() {
    assert!(encode(&spec("csv", "none", &[("csv.header", "false")]), &nothing()).bytes.is_empty());
}

#[test]
fn even_an_empty_file_keeps_to_the_maximum() {
    let batch = nothing();
    for (format, compression) in ALL {
        let empty = encode(&spec(format, compression, &[]), &batch).bytes.len() as u64;
        if empty < 2 {
            continue;
        }
        let stream = crate::support::whole(&batch);
        let spec = with_maximum(format, compression, empty - 1);
        match try_encode(formats(), &spec, &schema(&batch), stream) {
            // With a maximum Parquet leaves its page index out, so it may be smaller.
            Ok(file) => assert!((file.bytes.len() as u64) < empty, "{format} {compression}"),
            Err(error) => assert!(error.to_string().contains("allow more bytes a file"), "{error}"),
        }
        let stream = crate::support::whole(&batch);
        let spec = with_maximum(format, compression, empty);
        assert!(
            try_encode(formats(), &spec, &schema(&batch), stream).is_ok(),
            "{format} {compression}"
        );
    }
}

#[test]
fn rows_of_nulls_and_empty_values_stay_rows() {
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![None, None, Some(0)]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), None]));
    let rows = batch(vec![("id", ids), ("t", texts)]);
    let text = |format, options| {
        String::from_utf8(encode(&spec(format, "none", options), &rows).bytes).unwrap()
    };
    assert_eq!(text("jsonl", &[]), "{}\n{\"t\":\"\"}\n{\"id\":0}\n");
    let keep = "{\"id\":null,\"t\":null}\n{\"id\":null,\"t\":\"\"}\n{\"id\":0,\"t\":null}\n";
    assert_eq!(text("jsonl", &[("jsonl.nulls", "keep")]), keep);
    assert_eq!(text("csv", &[]), "id,t\r\n,\r\n,\"\"\r\n0,\r\n");
    assert_eq!(
        text("csv", &[("csv.null", "0"), ("csv.line_end", "lf")]),
        "id,t\n0,0\n0,\"\"\n\"0\",0\n"
    );
}

/// A line without anything in it would be skipped by most readers, and the row would be gone.
#[test]
fn one_column_of_csv_has_no_empty_lines_and_counts_what_that_costs() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![None, Some(""), Some("a")]));
    let one = batch(vec![("t", texts)]);
    let file = encode(&spec("csv", "none", &[("csv.line_end", "lf")]), &one);
    assert_eq!(String::from_utf8(file.bytes).unwrap(), "t\n\"\"\n\"\"\na\n");
    assert_eq!(file.sum.values_lost, 1, "the empty text reads as the null does");
    let file = encode(&spec("csv", "none", &[("csv.line_end", "lf"), ("csv.null", "\\N")]), &one);
    assert_eq!(String::from_utf8(file.bytes).unwrap(), "t\n\\N\n\"\"\na\n");
    assert_eq!(file.sum.values_lost, 0);
}
