//! Tests of the formats against small files written by hand.
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::from_iter_instead_of_collect,
    reason = "tests"
)]

mod files;

use std::io::Read;
use std::sync::LazyLock;

use self::files::events;
use super::*;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DictionaryArray,
    DurationMillisecondArray, FixedSizeListArray, Float32Array, Float64Array, Int32Array,
    Int64Array, IntervalMonthDayNanoArray, ListArray, MapArray, NullArray, RecordBatch, RunArray,
    StringArray, StringViewArray, StructArray, Time64MicrosecondArray, TimestampMillisecondArray,
    TimestampSecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{
    DataType, Field, Fields, Int8Type, Int32Type, IntervalMonthDayNano, Schema as ArrowSchema,
    SchemaRef,
};
use bytes::Bytes;
use model::ports::{Encoded, EncodedChunk, Positions, Rows};

static POOLS: LazyLock<[Formats; 3]> =
    LazyLock::new(|| [Formats::new(1), Formats::new(2), Formats::new(8)]);

fn spec(format: &str, compression: &str, options: &[(&str, &str)]) -> FormatSpec {
    FormatSpec {
        format: format.into(),
        compression: Some(compression.into()),
        options: options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        file_rows: None,
        file_bytes: None,
        name: None,
        folder: None,
        md5: false,
    }
}

/// Cuts a batch into a stream of rows that are all kept.
fn dense(batch: &RecordBatch, first: u64, cuts: &[usize]) -> Vec<Rows> {
    let mut out = Vec::new();
    let mut at = 0;
    let mut cuts = cuts.iter().copied().cycle();
    while at < batch.num_rows() {
        let count = cuts.next().unwrap_or(usize::MAX).min(batch.num_rows() - at);
        let read = Positions::Dense { first: first + at as u64 };
        at += count;
        let batch = batch.slice(at - count, count);
        out.push(Rows { batch, read, read_after: first + at as u64 });
    }
    out
}

async fn encode_with(
    formats: &Formats,
    spec: &FormatSpec,
    schema: &SchemaRef,
    rows: Vec<Rows>,
) -> Result<(Vec<u8>, Encoded), PortError> {
    let schema = Schema::from_arrow(schema).unwrap();
    let encoding = formats.check(spec, &schema)?;
    let rows = futures::stream::iter(rows.into_iter().map(Ok)).boxed();
    let mut stream = formats.encode(&encoding, &schema, rows);
    let mut bytes = Vec::new();
    let mut end = None;
    while let Some(chunk) = stream.next().await {
        assert!(end.is_none(), "nothing follows the end");
        match chunk? {
            EncodedChunk::Bytes(more) => bytes.extend_from_slice(&more),
            EncodedChunk::End(encoded) => end = Some(encoded),
        }
    }
    Ok((bytes, end.expect("the stream has an end")))
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn encode(spec: &FormatSpec, batch: &RecordBatch) -> (Vec<u8>, Encoded) {
    block(encode_with(&POOLS[1], spec, &batch.schema(), dense(batch, 0, &[]))).unwrap()
}

fn text(spec: &FormatSpec, columns: Vec<(&str, ArrayRef)>) -> String {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    );
    String::from_utf8(encode(spec, &batch.unwrap()).0).unwrap()
}

fn json(options: &[(&str, &str)], array: impl Array + 'static) -> String {
    text(&spec("jsonl", "none", options), vec![("a", Arc::new(array))])
}

fn csv(options: &[(&str, &str)], columns: Vec<(&str, ArrayRef)>) -> String {
    text(&spec("csv", "none", options), columns)
}

fn unpack(compression: &str, bytes: &[u8]) -> Vec<u8> {
    match compression {
        "gzip" => {
            let mut out = Vec::new();
            flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
            out
        }
        "zstd" => zstd::decode_all(bytes).unwrap(),
        _ => bytes.to_vec(),
    }
}

fn read_parquet(bytes: Vec<u8>) -> RecordBatch {
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

#[test]
fn json_numbers_are_exact() {
    let ints = Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None]);
    assert_eq!(
        json(&[], ints.clone()),
        "{\"a\":-9223372036854775808}\n{\"a\":9223372036854775807}\n{}\n"
    );
    assert_eq!(
        json(&[("jsonl.int64", "string"), ("jsonl.nulls", "keep")], ints),
        "{\"a\":\"-9223372036854775808\"}\n{\"a\":\"9223372036854775807\"}\n{\"a\":null}\n"
    );
    assert_eq!(
        json(&[("jsonl.int64", "string")], UInt64Array::from(vec![u64::MAX])),
        "{\"a\":\"18446744073709551615\"}\n"
    );
    let decimals = Decimal128Array::from(vec![0, -5, 12_345, i128::from(i64::MAX)]);
    let decimals = decimals.with_precision_and_scale(38, 3).unwrap();
    assert_eq!(
        json(&[], decimals),
        "{\"a\":0.000}\n{\"a\":-0.005}\n{\"a\":12.345}\n{\"a\":9223372036854775.807}\n"
    );
    let decimals = Decimal128Array::from(vec![0, -12]).with_precision_and_scale(5, -2).unwrap();
    assert_eq!(json(&[], decimals), "{\"a\":0}\n{\"a\":-1200}\n");
}

#[test]
fn json_floats_are_short_and_what_is_no_number_is_null_and_counted() {
    let floats = Float64Array::from(vec![0.1, -0.0, 1e300, f64::NAN, f64::NEG_INFINITY, 5e-324]);
    let batch = RecordBatch::try_from_iter([("a", Arc::new(floats) as ArrayRef)]).unwrap();
    let (bytes, sum) = encode(&spec("jsonl", "none", &[]), &batch);
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "{\"a\":0.1}\n{\"a\":-0.0}\n{\"a\":1e300}\n{\"a\":null}\n{\"a\":null}\n{\"a\":5e-324}\n"
    );
    assert_eq!((sum.rows, sum.rows_read, sum.values_lost), (6, 6, 2));
    assert_eq!(json(&[], Float32Array::from(vec![0.1])), "{\"a\":0.1}\n");
    let half = cast(&Float32Array::from(vec![0.1, f32::INFINITY]), &DataType::Float16).unwrap();
    let half = text(&spec("jsonl", "none", &[]), vec![("a", half)]);
    assert_eq!(half, "{\"a\":0.099975586}\n{\"a\":null}\n");
}

#[test]
fn json_times_and_bytes_are_strings() {
    let instants = TimestampMillisecondArray::from(vec![1_582_979_400_001]).with_timezone("+02:00");
    assert_eq!(json(&[], instants), "{\"a\":\"2020-02-29T12:30:00.001Z\"}\n");
    let instants = TimestampMillisecondArray::from(vec![1_582_979_400_001, 1]).with_timezone("UTC");
    let sql = json(&[("jsonl.timestamps", "sql")], instants);
    let expected =
        "{\"a\":\"2020-02-29 12:30:00.001 UTC\"}\n{\"a\":\"1970-01-01 00:00:00.001 UTC\"}\n";
    assert_eq!(sql, expected);
    let local = TimestampSecondArray::from(vec![-1]);
    let sql = json(&[("jsonl.timestamps", "sql")], local.clone());
    assert_eq!(sql, "{\"a\":\"1969-12-31 23:59:59\"}\n");
    assert_eq!(json(&[], local), "{\"a\":\"1969-12-31T23:59:59\"}\n");
    assert_eq!(json(&[], Date32Array::from(vec![i32::MAX])), "{\"a\":\"+5881580-07-11\"}\n");
    assert_eq!(json(&[], Time64MicrosecondArray::from(vec![1])), "{\"a\":\"00:00:00.000001\"}\n");
    assert_eq!(json(&[], DurationMillisecondArray::from(vec![-1500])), "{\"a\":\"-PT1.500S\"}\n");
    let interval = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(1, 2, 3)]);
    assert_eq!(json(&[], interval), "{\"a\":\"P1M2DT0.000000003S\"}\n");
    let bytes = BinaryArray::from_vec(vec![b"", b"\xff\xfe", b"abc"]);
    assert_eq!(json(&[], bytes), "{\"a\":\"\"}\n{\"a\":\"//4=\"}\n{\"a\":\"YWJj\"}\n");
    assert_eq!(json(&[], BooleanArray::from(vec![true, false])), "{\"a\":true}\n{\"a\":false}\n");
    assert_eq!(json(&[("jsonl.nulls", "keep")], NullArray::new(1)), "{\"a\":null}\n");
}

/// Reads the first member alone, and checks that nothing follows it.
fn one_member(bytes: &[u8]) -> Vec<u8> {
    let (mut rest, mut out) = (bytes, Vec::new());
    flate2::bufread::GzDecoder::new(&mut rest).read_to_end(&mut out).unwrap();
    assert!(rest.is_empty(), "{} bytes behind the member", rest.len());
    out
}

#[test]
fn gzip_is_one_member_where_that_is_asked_for() {
    for (format, level) in [("jsonl", "1"), ("csv", "2")] {
        let options = [("gzip.members", "one"), ("gzip.level", level)];
        let spec = spec(format, "gzip", &options);
        for rows in [0, 1, 40_000] {
            let batch = events(rows, 1);
            let plain = encode(&self::spec(format, "none", &[]), &batch).0;
            assert!(rows < 40_000 || plain.len() > 3 << 20, "several members were joined");
            assert_eq!(one_member(&encode(&spec, &batch).0), plain, "{format}, {rows} rows");
        }
    }
}

#[test]
fn one_member_keeps_to_the_maximum_and_to_levels_that_can_be_joined() {
    let one = [("gzip.members", "one")];
    let spec = FormatSpec { file_bytes: Some(300_000), ..spec("jsonl", "gzip", &one) };
    let (bytes, sum) = encode(&spec, &events(40_000, 2));
    assert!((250_000..=300_000).contains(&bytes.len()), "{} bytes", bytes.len());
    let lines = String::from_utf8(one_member(&bytes)).unwrap().lines().count();
    assert_eq!(lines as u64, sum.rows);
    let level = [("gzip.members", "one"), ("gzip.level", "4")];
    let schema = Schema::from_arrow(&events(1, 1).schema()).unwrap();
    let refused = POOLS[0].check(&self::spec("jsonl", "gzip", &level), &schema).unwrap_err();
    assert!(refused.to_string().contains("1 or 2"), "{refused}");
}

#[test]
fn an_option_that_came_later_is_in_the_id_only_where_it_is_chosen() {
    let schema = Schema::from_arrow(&events(1, 1).schema()).unwrap();
    let id = |options: &[(&str, &str)]| {
        POOLS[0].check(&spec("jsonl", "gzip", options), &schema).unwrap().encoder.to_string()
    };
    let before = "jsonl/1;int64=number;nulls=omit;gzip=sluice-1/1;member=1048576/256/16384/8388608";
    assert_eq!(id(&[]), before);
    assert_eq!(id(&[("gzip.members", "many"), ("jsonl.timestamps", "iso")]), before);
    assert!(id(&[("gzip.members", "one")]).contains(";gzip=sluice-1;members=one/1;"));
    assert!(id(&[("jsonl.timestamps", "sql")]).contains(";timestamps=sql;"));
    let csv = |breaks| {
        let spec = spec("csv", "none", &[("csv.line_breaks", breaks)]);
        POOLS[0].check(&spec, &schema).unwrap().encoder.to_string()
    };
    assert_eq!(csv("keep"), "csv/1;escape=double;header=true;line_end=crlf;null=;none");
    assert!(csv("space").contains(";line_breaks=space;"));
}

fn map() -> MapArray {
    let keys = StringArray::from(vec!["x", "y\"", "x", "z"]);
    let values = Int32Array::from(vec![Some(1), None, Some(3), Some(4)]);
    let fields = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Int32, true),
    ]);
    let entries = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
    let entry = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let ends = OffsetBuffer::new(vec![0, 2, 2, 3, 4].into());
    let nulls = NullBuffer::from(vec![true, true, false, true]);
    MapArray::new(entry, ends, entries, Some(nulls), false)
}

#[test]
fn json_nests() {
    assert_eq!(
        json(&[], map()),
        "{\"a\":{\"x\":1,\"y\\\"\":null}}\n{\"a\":{}}\n{}\n{\"a\":{\"z\":4}}\n"
    );
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    assert_eq!(json(&[], list), "{\"a\":[1,null]}\n{}\n{\"a\":[]}\n");
    let pairs = FixedSizeListArray::from_iter_primitive::<Int32Type, _, _>(
        vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(3), Some(4)])],
        2,
    );
    assert_eq!(json(&[], pairs.slice(1, 1)), "{\"a\":[3,4]}\n");
    let fields = Fields::from(vec![
        Field::new("p", DataType::Int64, true),
        Field::new("q", DataType::Utf8, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(1), None])),
        Arc::new(StringArray::from(vec![None, None::<&str>])),
    ];
    let object = StructArray::new(fields, columns, None);
    assert_eq!(json(&[], object.clone()), "{\"a\":{\"p\":1}}\n{\"a\":{}}\n");
    assert_eq!(
        json(&[("jsonl.nulls", "keep"), ("jsonl.int64", "string")], object),
        "{\"a\":{\"p\":\"1\",\"q\":null}}\n{\"a\":{\"p\":null,\"q\":null}}\n"
    );
}

#[test]
fn slices_dictionaries_runs_and_views_show_their_values_only() {
    let words = StringArray::from(vec!["no", "é\n", "b", "no"]).slice(1, 2);
    let expected = "{\"a\":\"é\\n\"}\n{\"a\":\"b\"}\n";
    assert_eq!(json(&[], words), expected);
    assert_eq!(json(&[], StringViewArray::from(vec!["x", "é\n", "b"]).slice(1, 2)), expected);
    let dictionary: DictionaryArray<Int8Type> =
        vec![Some("x"), Some("é\n"), Some("b"), None].into_iter().collect();
    assert_eq!(json(&[], dictionary.slice(1, 3)), format!("{expected}{{}}\n"));
    let runs = RunArray::try_new(
        &Int32Array::from(vec![2, 3, 5]),
        &StringArray::from(vec![Some("é\n"), Some("b"), None]),
    );
    assert_eq!(json(&[], runs.unwrap().slice(1, 3)), format!("{expected}{{}}\n"));
    assert_eq!(json(&[], map().slice(3, 1)), "{\"a\":{\"z\":4}}\n");
}

#[test]
fn csv_quotes_what_needs_it_and_null_differs_from_empty() {
    let words: ArrayRef = Arc::new(StringArray::from(vec![
        Some("plain"),
        Some("a,b"),
        Some("say \"hi\""),
        Some("two\nlines"),
        Some(" pad"),
        Some(""),
        None,
        Some("back\\slash"),
    ]));
    let ids: ArrayRef =
        Arc::new(Int32Array::from(vec![Some(1), None, Some(3), None, None, None, None, None]));
    let columns = vec![("id", ids), ("a name", words)];
    assert_eq!(
        csv(&[], columns.clone()),
        "id,a name\r\n1,plain\r\n,\"a,b\"\r\n3,\"say \"\"hi\"\"\"\r\n,\"two\nlines\"\r\n,\" pad\"\r\n,\"\"\r\n,\r\n,back\\slash\r\n"
    );
    assert_eq!(
        csv(
            &[
                ("csv.escape", "backslash"),
                ("csv.header", "false"),
                ("csv.line_end", "lf"),
                ("csv.null", "3")
            ],
            columns
        ),
        "1,plain\n3,\"a,b\"\n\"3\",\"say \\\"hi\\\"\"\n3,\"two\nlines\"\n3,\" pad\"\n3,\"\"\n3,3\n3,\"back\\\\slash\"\n"
    );
}

#[test]
fn csv_holds_nested_values_as_json_and_floats_as_they_are() {
    let floats = Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
    assert_eq!(
        csv(&[("csv.header", "false")], vec![("m", Arc::new(map())), ("f", Arc::new(floats))]),
        "\"{\"\"x\"\":1,\"\"y\\\"\"\"\":null}\",1.5\r\n{},NaN\r\n,inf\r\n\"{\"\"z\"\":4}\",-inf\r\n"
    );
}

#[test]
fn csv_with_backslashes_holds_a_map_as_an_object_and_doubles_its_backslashes() {
    let keys = StringArray::from(vec!["price", "q\""]);
    let values = StringArray::from(vec!["50.0", "a\nb"]);
    let fields = Fields::from(vec![
        Field::new("key", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
    ]);
    let entries = StructArray::new(fields, vec![Arc::new(keys), Arc::new(values)], None);
    let entry = Arc::new(Field::new("entries", entries.data_type().clone(), false));
    let map = MapArray::new(entry, OffsetBuffer::new(vec![0, 1, 2].into()), entries, None, false);
    for breaks in ["keep", "space"] {
        let options =
            [("csv.escape", "backslash"), ("csv.line_end", "lf"), ("csv.line_breaks", breaks)];
        assert_eq!(
            csv(&options, vec![("m", Arc::new(map.clone()))]),
            "m\n\"{\\\"price\\\":\\\"50.0\\\"}\"\n\"{\\\"q\\\\\\\"\\\":\\\"a\\\\nb\\\"}\"\n"
        );
    }
}

#[test]
fn csv_can_have_a_space_for_every_line_break() {
    let words: Vec<_> =
        vec!["a\r\nb", "\n", "a\n\rb", "\r\r\nc", "a,\nb", "x\ny"].into_iter().map(Some).collect();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..6));
    let options = [("csv.line_breaks", "space"), ("csv.line_end", "lf"), ("csv.null", "x y")];
    let expected = "id,a b\n0,a b\n1,\" \"\n2,a  b\n3,\"  c\"\n4,\"a, b\"\n5,\"x y\"\n";
    let dictionary: DictionaryArray<Int32Type> = words.clone().into_iter().collect();
    for words in [Arc::new(StringArray::from(words)) as ArrayRef, Arc::new(dictionary)] {
        assert_eq!(csv(&options, vec![("id", Arc::clone(&ids)), ("a\nb", words)]), expected);
    }
}

#[test]
fn a_csv_of_one_column_has_no_empty_lines() {
    let words = StringArray::from(vec![None, Some(""), Some("x")]);
    let batch = RecordBatch::try_from_iter([("a", Arc::new(words) as ArrayRef)]).unwrap();
    let (bytes, sum) = encode(&spec("csv", "none", &[("csv.line_end", "lf")]), &batch);
    assert_eq!(bytes, b"a\n\"\"\n\"\"\nx\n");
    assert_eq!(sum.values_lost, 1, "the empty string reads as null");
}

#[test]
fn no_rows_make_a_complete_empty_file() {
    let empty = events(0, 7).schema();
    let read = vec![Rows {
        batch: RecordBatch::new_empty(Arc::clone(&empty)),
        read: Positions::Sparse(vec![]),
        read_after: 9,
    }];
    let make = |format, compression| {
        block(encode_with(&POOLS[1], &spec(format, compression, &[]), &empty, read.clone()))
            .unwrap()
    };
    for compression in ["none", "gzip", "zstd"] {
        let (bytes, sum) = make("jsonl", compression);
        assert_eq!(unpack(compression, &bytes), b"");
        assert_eq!(bytes.is_empty(), compression == "none");
        assert_eq!(sum, Encoded { rows_read: 9, ..Encoded::default() });
        let (bytes, sum) = make("csv", compression);
        let header = unpack(compression, &bytes);
        assert!(header.starts_with(b"id,") && header.ends_with(b"\r\n"));
        assert_eq!((sum.rows, sum.uncompressed_bytes), (0, header.len() as u64));
    }
    let (bytes, sum) = make("parquet", "zstd");
    assert_eq!((read_parquet(bytes).num_rows(), sum.rows_read), (0, 9));
}

#[test]
fn formats_refuse_what_they_cannot_hold() {
    let refused = |format: &str, fields: &str, message: &str| {
        let schema = serde_json::from_str(&format!("{{\"fields\":[{fields}]}}")).unwrap();
        let error = POOLS[0].check(&spec(format, "none", &[]), &schema).expect_err("refused");
        assert_eq!((error.to_string().as_str(), error.fault()), (message, Fault::Request));
    };
    refused("csv", "", "`csv` needs at least one column; choose some or use `jsonl`");
    refused("parquet", "", "`parquet` needs at least one column; choose some or use `jsonl`");
    refused(
        "parquet",
        r#"{"name":"l","type":"list","item":{"name":"i","type":"interval"}}"#,
        "`parquet` cannot hold column `l.i` of type `interval`; cast it or leave it out",
    );
}

#[test]
fn a_part_planned_for_another_encoder_is_refused() {
    let schema = Schema::default();
    let mut encoding = POOLS[0].check(&spec("jsonl", "gzip", &[]), &schema).unwrap();
    encoding.encoder.0 = encoding.encoder.0.replace("gzip=sluice-", "gzip=sluice-0.");
    let mut stream = POOLS[0].encode(&encoding, &schema, futures::stream::empty().boxed());
    let error = block(stream.next()).unwrap().expect_err("refused");
    assert_eq!(error.code(), Code::Conflict);
}

#[test]
fn errors_of_the_rows_come_through() {
    let batch = events(100, 1);
    let schema = Schema::from_arrow(&batch.schema()).unwrap();
    for format in ["jsonl", "parquet"] {
        let encoding = POOLS[1].check(&spec(format, "none", &[]), &schema).unwrap();
        let mut rows: Vec<Result<Rows, PortError>> =
            dense(&batch, 0, &[10]).into_iter().map(Ok).collect();
        rows[5] = Err(PortError::new(Code::Invalid, Fault::Source, "broken page"));
        let stream = POOLS[1].encode(&encoding, &schema, futures::stream::iter(rows).boxed());
        let chunks: Vec<_> = block(stream.collect());
        let error = chunks.last().unwrap().as_ref().expect_err("the last is the error");
        assert_eq!(error.to_string(), "broken page");
    }
}
