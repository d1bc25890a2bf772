//! What comes in comes out, with the types that the documentation promises.

use std::sync::Arc;

use ::parquet::basic::{Compression, ZstdLevel};
use arrow::array::{ArrayRef, DictionaryArray, Int32Array, Int64Array, StringArray};
use arrow::datatypes::Int32Type;

use super::*;

#[tokio::test]
async fn every_form_gives_the_same_rows() {
    let lines = "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":null}\n";
    let array = "[{\"a\":1,\"b\":\"x\"},\n{\"a\":2}]";
    let values = "{\"a\":1,\n\"b\":\"x\"} {\"a\":2}";
    let cells = "a,b\n1,x\r\n2,\n";
    let mark = format!("\u{feff}{cells}");
    let twice = [gzip(b"a,b\n1,"), gzip(b"x\n2,\n")].concat();
    let frames = [zstd(b"a,b\n1,"), zstd(b"x\n2,\n")].concat();
    let check = async |name: &str, bytes: &[u8]| {
        let bench = Bench::new();
        let report = bench.run(&bench.import(&[(name, bytes)])).await.unwrap();
        assert_eq!((report.rows, report.created, report.commit.0), (2, true, 1), "{name}");
        assert_eq!(bench.schema().await, "a: int64, b: string", "{name}");
        assert_eq!(bench.rows().await, [r#"{"a":1,"b":"x"}"#, r#"{"a":2}"#], "{name}");
        let told =
            (bench.told.rows.load(Ordering::Relaxed), bench.told.bytes.load(Ordering::Relaxed));
        assert_eq!(told, (2, bytes.len() as u64), "{name}");
    };
    check("x.jsonl", lines.as_bytes()).await;
    check("x.json", lines.as_bytes()).await;
    check("x", lines.as_bytes()).await;
    check("x.json", array.as_bytes()).await;
    check("x", array.as_bytes()).await;
    check("x.json", values.as_bytes()).await;
    check("x.csv", cells.as_bytes()).await;
    check("x", mark.as_bytes()).await;
    check("x.csv.gz", &twice).await;
    check("x.csv", &frames).await;
    check("x.jsonl.gz", &gzip(lines.as_bytes())).await;
    check("x.json.zst", &zstd(array.as_bytes())).await;
}

#[tokio::test]
async fn infers_types() {
    let check = async |name: &str, text: &str, schema: &str| {
        let bench = Bench::new();
        bench.take(name, text).await;
        assert_eq!(bench.schema().await, schema, "{text}");
    };
    check("x.jsonl", "{\"a\":1}\n{\"a\":2.5}", "a: float64").await;
    check("x.jsonl", "{\"a\":1}\n{\"a\":18446744073709551615}", "a: uint64").await;
    check("x.jsonl", "{\"a\":-1}\n{\"a\":18446744073709551615}", "a: float64").await;
    check("x.jsonl", "{\"a\":true,\"b\":\"2026-01-01\"}", "a: boolean, b: string").await;
    check("x.jsonl", "{\"a\":null,\"b\":1}", "a: null, b: int64").await;
    check(
        "x.jsonl",
        "{\"a\":{\"b\":1}}\n{\"a\":{\"c\":[1,2.5]}}\n{\"a\":null}",
        "a: struct<b: int64, c: list<float64>>",
    )
    .await;
    check(
        "x.csv",
        "a,b,c,d,e\n1,true,1.5,007,\n2,false,3,8,",
        "a: int64, b: boolean, c: float64, d: string, e: null",
    )
    .await;
    check("x.csv", "a\n536365\nC536379", "a: string").await;
}

#[tokio::test]
async fn keeps_nested_values_and_quoted_nothings() {
    let bench = Bench::new();
    bench
        .take("x.jsonl", "{\"a\":{\"b\":[1,null]},\"c\":[{\"d\":\"\\u00e9\\n\"}]}\n{\"c\":[]}")
        .await;
    assert_eq!(bench.rows().await, [r#"{"a":{"b":[1,null]},"c":[{"d":"é\n"}]}"#, r#"{"c":[]}"#]);
    let bench = Bench::new();
    bench.take("x.csv", "a,n\n\"\",\"\"\n,1\n\"x,\"\"y\"\"\nz\",2\n").await;
    assert_eq!(bench.rows().await, [r#"{"a":""}"#, r#"{"n":1}"#, r#"{"a":"x,\"y\"\nz","n":2}"#]);
}

#[tokio::test]
async fn numbers_keep_every_digit() {
    let bench = Bench::new();
    let numbers = [0.1, 1e-7, 123_456_789.123_456_78, 5e-324, 1.797_693_134_862_315_7e308];
    let text: String = numbers.iter().map(|n| format!("{{\"a\":{n:e}}}\n")).collect();
    bench.take("x.jsonl", &text).await;
    let batches = bench.batches().await;
    let column =
        batches[0].column(0).as_any().downcast_ref::<arrow::array::Float64Array>().unwrap().clone();
    assert_eq!(column.values().to_vec(), numbers);
}

#[tokio::test]
async fn reads_text_in_the_time_column_as_time() {
    let check = async |texts: [&str; 2], kind: &str, rows: [&str; 2]| {
        let bench = Bench::new();
        let text = format!("at,x\n{},1\n{},2\n", texts[0], texts[1]);
        let mut import = bench.import(&[("x.csv", text.as_bytes())]);
        import.time_column = Some("at".into());
        bench.run(&import).await.unwrap();
        assert_eq!(bench.schema().await, format!("at: {kind}, x: int64"));
        assert_eq!(bench.rows().await, rows);
    };
    check(
        ["2026-01-02T03:04:05Z", "2026-01-02 05:04:05.25+02:00"],
        "timestamp(us, UTC)",
        [r#"{"at":"2026-01-02T03:04:05Z","x":1}"#, r#"{"at":"2026-01-02T03:04:05.250Z","x":2}"#],
    )
    .await;
    check(
        ["2026-01-02 03:04:05", "2026-01-02"],
        "timestamp(us)",
        [r#"{"at":"2026-01-02T03:04:05","x":1}"#, r#"{"at":"2026-01-02T00:00:00","x":2}"#],
    )
    .await;
    check(
        ["2026-01-02 03:04:05.123456789", "2026-01-02"],
        "timestamp(ns)",
        [
            r#"{"at":"2026-01-02T03:04:05.123456789","x":1}"#,
            r#"{"at":"2026-01-02T00:00:00","x":2}"#,
        ],
    )
    .await;
}

#[tokio::test]
async fn a_given_schema_decides() {
    let schema = r#"{"fields":[{"name":"d","type":"decimal","precision":10,"scale":2},{"name":"n","type":"int16"},
        {"name":"day","type":"date"},{"name":"m","type":"map","key":{"name":"key","type":"string","nullable":false},
        "value":{"name":"value","type":"string"}},{"name":"b","type":"binary"}]}"#;
    let bench = Bench::new();
    let line = r#"{"d":"12.30","n":7,"day":"2026-01-31","m":{"k":"v"},"b":"AAE=","more":true}"#;
    let mut import = bench.import(&[("x.jsonl", line.as_bytes())]);
    import.schema = Some(serde_json::from_str(schema).unwrap());
    bench.run(&import).await.unwrap();
    assert_eq!(
        bench.schema().await,
        "d: decimal(10, 2), n: int16, day: date, m: map<string, string>, b: binary, more: boolean"
    );
    assert_eq!(
        bench.rows().await,
        [r#"{"d":12.30,"n":7,"day":"2026-01-31","m":{"k":"v"},"b":"0001","more":true}"#]
    );
}

#[tokio::test]
async fn schemas_grow_and_the_dataset_guides() {
    let bench = Bench::new();
    bench.take("x.jsonl", r#"{"a":1.5,"s":{"x":1},"n":null}"#).await;
    let report = bench.take("y.jsonl", r#"{"new":true,"a":2,"s":{"y":"z"},"n":"now text"}"#).await;
    assert!(!report.created);
    assert_eq!(
        bench.schema().await,
        "a: float64, s: struct<x: int64, y: string>, n: string, new: boolean"
    );
    bench.take("z.csv", "s,extra\n\"{\"\"x\"\":3}\",e\n").await;
    assert_eq!(
        bench.rows().await,
        [
            r#"{"a":1.5,"s":{"x":1}}"#,
            r#"{"a":2.0,"s":{"y":"z"},"n":"now text","new":true}"#,
            r#"{"s":{"x":3},"extra":"e"}"#
        ]
    );
}

#[tokio::test]
async fn what_has_the_columns_of_a_canonical_dataset_becomes_it() {
    let check = async |dataset: &str, line: &str| {
        let bench = Bench::new();
        let import =
            Import { dataset: dataset.into(), ..bench.import(&[("x.jsonl", line.as_bytes())]) };
        bench.run(&import).await.map_err(|error| error.to_string())?;
        let made = bench.catalog.dataset(&import.workspace, dataset).await.unwrap();
        Ok::<_, String>((made.kind, made.time_column, made.schema.fields.len()))
    };
    let event = r#"{"id":"a","time":"2026-01-01T00:00:00Z","properties":{"n":"1"}}"#;
    let (kind, time, columns) = check("event", event).await.unwrap();
    assert_eq!((kind, time.as_deref()), (DatasetKind::Event, Some("time")));
    assert!(columns > 70, "{columns}");
    let person = r#"{"id":"a","created_at":"2026-01-01T00:00:00Z"}"#;
    let (kind, time, _) = check("individual", person).await.unwrap();
    assert_eq!((kind, time.as_deref()), (DatasetKind::Record, Some("created_at")));
    // Rows of another kind keep the columns that they have.
    for line in [r#"{"id":1,"time":"2026-01-01","more":true}"#, r#"{"id":1,"name":"x"}"#] {
        assert!(check("event", line).await.unwrap().2 < 4, "{line}");
    }
    // What is meant to be one and does not fit is refused, and not taken for something else.
    let refused = check("event", r#"{"id":"a","time":"yesterday"}"#).await.unwrap_err();
    assert!(refused.contains("`time`"), "{refused}");
    assert_eq!(check("orders", event).await.unwrap().2, 3);
}

fn sample(numbers: Vec<i64>) -> RecordBatch {
    let texts: StringArray = numbers.iter().map(|n| Some(format!("t{n}"))).collect();
    let numbers = Int64Array::from(numbers);
    RecordBatch::try_from_iter_with_nullable(vec![
        ("a", Arc::new(numbers) as ArrayRef, true),
        ("b", Arc::new(texts) as ArrayRef, true),
    ])
    .unwrap()
}

#[tokio::test]
async fn parquet_is_kept_byte_for_byte_where_it_can_be() {
    let level = Compression::ZSTD(ZstdLevel::try_new(3).unwrap());
    for (codec, name, kept) in [
        (level, "zstd", true),
        (Compression::SNAPPY, "snappy", true),
        (Compression::UNCOMPRESSED, "zstd", false),
        (Compression::GZIP(::parquet::basic::GzipLevel::default()), "zstd", false),
    ] {
        let bench = Bench::new();
        let bytes = parquet(&sample(vec![3, 1, 2]), codec);
        bench.run(&bench.import(&[("x", &bytes)])).await.unwrap();
        assert_eq!(bytes_of(&bench, 0) == bytes, kept, "{codec:?}");
        let snapshot =
            bench.catalog.snapshot(&WorkspaceId::default_workspace(), "d", None).await.unwrap();
        let file = &snapshot.files[0];
        assert_eq!((file.codec.as_str(), file.rows), (name, 3));
        assert_eq!(file.statistics["a"].max, Some(3.into()));
        assert_eq!(file.schema_id, snapshot.dataset.schema.id());
        assert_eq!(bench.rows().await[1], r#"{"a":1,"b":"t1"}"#);
        assert_eq!(bench.told.bytes.load(Ordering::Relaxed), bytes.len() as u64);
    }
}

#[tokio::test]
async fn parquet_with_large_row_groups_or_other_columns_is_rewritten() {
    let bench = Bench::new();
    let bytes = parquet(&sample((0..250_001).collect()), Compression::SNAPPY);
    bench.run(&bench.import(&[("x.parquet", &bytes)])).await.unwrap();
    assert_ne!(bytes_of(&bench, 0), bytes);
    assert_eq!(bench.rows().await.len(), 250_001);

    let bench = Bench::new();
    bench.take("x.jsonl", r#"{"a":1.5,"c":true}"#).await;
    let keys: DictionaryArray<Int32Type> = vec![Some("p"), None].into_iter().collect();
    let batch = RecordBatch::try_from_iter_with_nullable(vec![
        ("a", Arc::new(Int32Array::from(vec![7, 8])) as ArrayRef, true),
        ("k", Arc::new(keys) as ArrayRef, true),
    ])
    .unwrap();
    bench.run(&bench.import(&[("x", &parquet(&batch, Compression::SNAPPY))])).await.unwrap();
    assert_eq!(bench.schema().await, "a: float64, c: boolean, k: string");
    assert_eq!(
        bench.rows().await,
        [r#"{"a":1.5,"c":true}"#, r#"{"a":7.0,"k":"p"}"#, r#"{"a":8.0}"#]
    );
}

#[tokio::test]
async fn parquet_text_in_the_time_column_is_time() {
    let bench = Bench::new();
    let texts = StringArray::from(vec![Some("2026-01-02T03:04:05Z"), None]);
    let batch = RecordBatch::try_from_iter(vec![("at", Arc::new(texts) as ArrayRef)]).unwrap();
    let mut import = bench.import(&[("x", &parquet(&batch, Compression::SNAPPY))]);
    import.time_column = Some("at".into());
    bench.run(&import).await.unwrap();
    assert_eq!(bench.schema().await, "at: timestamp(us, UTC)");
    assert_eq!(bench.rows().await, [r#"{"at":"2026-01-02T03:04:05Z"}"#, "{}"]);
}

#[tokio::test]
async fn several_files_are_one_commit_in_their_order() {
    let bench = Bench::new();
    let kept = parquet(&sample(vec![2]), Compression::SNAPPY);
    let import = bench.import(&[
        ("1.jsonl", br#"{"a":1,"b":"one"}"#),
        ("2.parquet", &kept),
        ("3.csv", b"b,a\nthree,3\n"),
    ]);
    let report = bench.run(&import).await.unwrap();
    assert_eq!((report.rows, bench.catalog.commit_count()), (3, 1));
    assert_eq!(
        bench.rows().await,
        [r#"{"a":1,"b":"one"}"#, r#"{"a":2,"b":"t2"}"#, r#"{"a":3,"b":"three"}"#]
    );
}

#[tokio::test]
async fn many_blocks_keep_their_order() {
    let bench = Bench::new();
    let pad = "p".repeat(1000);
    let text: String = (0..20_000).map(|n| format!("{{\"n\":{n},\"p\":\"{pad}\"}}\n")).collect();
    bench.take("x.jsonl", &text).await;
    let mut next = 0;
    for batch in bench.batches().await {
        let numbers = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
        for n in numbers.values() {
            assert_eq!(*n, next);
            next += 1;
        }
    }
    assert_eq!(next, 20_000);
}

#[tokio::test]
async fn columns_without_values_wait_for_their_type() {
    let bench = Bench::new();
    bench.take("x.jsonl", r#"{"a":[],"b":{"c":null},"d":{}}"#).await;
    assert_eq!(bench.schema().await, "a: list<null>, b: struct<c: null>, d: null");
    bench.take("y.jsonl", r#"{"a":[1],"b":{"c":"x"},"d":{"e":2.5}}"#).await;
    assert_eq!(bench.schema().await, "a: list<int64>, b: struct<c: string>, d: struct<e: float64>");
    assert_eq!(
        bench.rows().await,
        [r#"{"a":[],"b":{}}"#, r#"{"a":[1],"b":{"c":"x"},"d":{"e":2.5}}"#]
    );
}

#[tokio::test]
async fn an_empty_line_of_one_csv_column_is_a_null() {
    let bench = Bench::new();
    let report = bench.take("x.csv", "name\nbob\n\n\"\"\n \u{c}\nann\n").await;
    assert_eq!(report.rows, 5);
    let rows =
        [r#"{"name":"bob"}"#, "{}", r#"{"name":""}"#, r#"{"name":" \f"}"#, r#"{"name":"ann"}"#];
    assert_eq!(bench.rows().await, rows);
}

#[tokio::test]
async fn text_in_memory_is_taken_up_to_its_limit() {
    let text = "{\"a\":1}\n".repeat(100);
    let check = async |bytes: Vec<u8>, text_bytes_max: u64| {
        let bench = Bench::new();
        let mut import = bench.import(&[]);
        let content = ImportContent::Text { bytes: bytes.into(), text_bytes_max };
        import.files = vec![ImportFile { name: "body".into(), content }];
        import.format = InputFormat::Jsonl;
        bench.run(&import).await.map(|report| report.rows).map_err(|error| error.to_string())
    };
    let beyond = Err("`body` unpacks to more than 799 bytes; send less at once".to_owned());
    for bytes in [text.clone().into_bytes(), gzip(text.as_bytes()), zstd(text.as_bytes())] {
        assert_eq!(check(bytes.clone(), 800).await, Ok(100));
        assert_eq!(check(bytes, 799).await, beyond);
    }
    let table = table_bytes();
    assert!(check(table, 1 << 20).await.is_err());
}

fn table_bytes() -> Vec<u8> {
    let batch =
        RecordBatch::try_from_iter(vec![("a", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]);
    parquet(&batch.unwrap(), Compression::UNCOMPRESSED)
}
