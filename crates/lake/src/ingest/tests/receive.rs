//! A column that says when rows were received elsewhere becomes `received_at`, whatever form the input has.

use ::parquet::basic::Compression;
use arrow::array::{
    ArrayRef, Date32Array, DictionaryArray, Int64Array, StringArray, TimestampMillisecondArray,
    TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::Int32Type;

use super::*;

fn receiving(bench: &Bench, files: &[(&str, &[u8])], column: &str) -> Import {
    Import { receive_time: Some(column.into()), ..bench.import(files) }
}

fn table(column: ArrayRef) -> Vec<u8> {
    let rows = i64::try_from(column.len()).unwrap();
    let numbers = Arc::new(Int64Array::from_iter_values(1..=rows)) as ArrayRef;
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("n", numbers, true),
        ("sent \"At\"", column, true),
    ]);
    parquet(&batch.unwrap(), Compression::SNAPPY)
}

const COLUMN: &str = "sent \"At\"";

const ROWS: [&str; 2] = [
    r#"{"n":1,"received_at":"2023-11-14T22:13:20.123Z"}"#,
    r#"{"n":2,"received_at":"1969-12-31T23:59:59.999Z"}"#,
];

#[tokio::test]
async fn every_form_gives_the_same_rows() {
    let check = async |name: &str, bytes: &[u8]| {
        let bench = Bench::new();
        bench.run(&receiving(&bench, &[(name, bytes)], COLUMN)).await.unwrap();
        let schema = bench.schema().await;
        assert_eq!(schema, "n: int64, received_at: timestamp(us, UTC)", "{name}");
        assert_eq!(bench.rows().await, ROWS, "{name}");
    };
    let lines = r#"{"n":1,"sent \"At\"":1700000000123}
{"sent \"At\"":"-1","n":2}
"#;
    let others = r#"{"n":1,"sent \"At\"":"2023-11-15 00:13:20.123+02:00"}
{"n":2,"sent \"At\"":"1969-12-31T23:59:59.999"}
"#;
    let array = format!("[{}]", lines.trim_end().replace('\n', ","));
    let cells = "n,\"sent \"\"At\"\"\"\n1,1700000000123\n2,1969-12-31T23:59:59.999Z\n";
    check("x.jsonl", lines.as_bytes()).await;
    check("y.jsonl", others.as_bytes()).await;
    check("x.json", array.as_bytes()).await;
    check("x.csv", cells.as_bytes()).await;
    check("x.csv.gz", &gzip(cells.as_bytes())).await;
    check("x.jsonl.zst", &zstd(lines.as_bytes())).await;
    let (at, nanos) = ([1_700_000_000_123, -1], [1_700_000_000_123_000_000, -1_000_000]);
    let texts = ["1700000000123", "1969-12-31T23:59:59.999Z"];
    let times = TimestampMillisecondArray::from(at.to_vec());
    check("times.parquet", &table(Arc::new(times.clone()))).await;
    check("zone.parquet", &table(Arc::new(times.with_timezone("+02:00")))).await;
    check("nanos.parquet", &table(Arc::new(TimestampNanosecondArray::from(nanos.to_vec())))).await;
    check("numbers.parquet", &table(Arc::new(Int64Array::from(at.to_vec())))).await;
    check("texts.parquet", &table(Arc::new(StringArray::from(texts.to_vec())))).await;
    let words: DictionaryArray<Int32Type> = texts.into_iter().collect();
    check("words.parquet", &table(Arc::new(words))).await;
}

#[tokio::test]
async fn a_row_without_a_time_is_bad() {
    let check = async |name: &str, bytes: &[u8], want: &str| {
        let bench = Bench::new();
        let import = receiving(&bench, &[(name, bytes)], "at");
        assert_eq!(bench.refuse_import(&import).await, want);
    };
    let missing = "`x.jsonl` line 2: column `at` must have a value";
    check("x.jsonl", b"{\"at\":1}\n{\"n\":1}\n{\"at\":\"soon\"}", missing).await;
    check("x.jsonl", b"{\"at\":1}\n{\"at\":null}", missing).await;
    check("x.csv", b"n,at\n1,1\n2,\n", "`x.csv` line 3: column `at` must have a value").await;
    for value in ["soon", "1.5", "1e3", "1700000000123456", "2026-01-31T12:00:00.0000001Z"] {
        let not = format!("line 2: column `at` is `timestamp(us, UTC)`, which `{value}` is not");
        let line = format!("{{\"at\":1}}\n{{\"at\":\"{value}\"}}");
        check("x.jsonl", line.as_bytes(), &format!("`x.jsonl` {not}")).await;
        let cells = format!("at\n{value}\n");
        check("x.csv", cells.as_bytes(), &format!("`x.csv` {not}")).await;
    }
    let not = "`x.jsonl` line 1: column `at` is `timestamp(us, UTC)`, which `1.5` is not";
    check("x.jsonl", b"{\"at\":1.5}", not).await;
    let conflict = "`x.jsonl` line 1: column `at` is `timestamp(us, UTC)` in the dataset and `boolean` in the input; cast one of them";
    check("x.jsonl", b"{\"at\":true}", conflict).await;
}

#[tokio::test]
async fn a_row_of_parquet_without_a_time_is_bad() {
    let check = async |column: ArrayRef, want: &str| {
        let bench = Bench::new();
        let import = receiving(&bench, &[("x.parquet", &table(column))], COLUMN);
        let want = format!("`x.parquet` row 2: column `{COLUMN}` {want}");
        assert_eq!(bench.refuse_import(&import).await, want);
    };
    let is = |value: &str| format!("is `timestamp(us, UTC)`, which `{value}` is not");
    check(Arc::new(Int64Array::from(vec![Some(1), None])), "must have a value").await;
    let words: DictionaryArray<Int32Type> = [Some("1"), None].into_iter().collect();
    check(Arc::new(words), "must have a value").await;
    check(Arc::new(StringArray::from(vec!["1", "soon"])), &is("soon")).await;
    let most = u64::MAX.to_string();
    check(Arc::new(UInt64Array::from(vec![1, u64::MAX])), &is(&most)).await;
    let nanos = TimestampNanosecondArray::from(vec![0, 1]);
    check(Arc::new(nanos), &is("1970-01-01T00:00:00.000000001")).await;
}

#[tokio::test]
async fn partial_takes_the_rows_that_say_when() {
    let bench = Bench::new();
    let days = Date32Array::from(vec![Some(0), None]);
    let mut import = receiving(
        &bench,
        &[
            (
                "x.jsonl",
                b"{\"n\":7,\"sent \\\"At\\\"\":0}\n{\"n\":8}\n{\"n\":9,\"sent \\\"At\\\"\":{}}",
            ),
            ("x.parquet", &table(Arc::new(days))),
        ],
        COLUMN,
    );
    import.rejects = Some(bench.rejects());
    let report = bench.run(&import).await.unwrap();
    assert_eq!((report.rows, report.rejected), (2, 3));
    let at = "1970-01-01T00:00:00Z";
    let row = |n| format!(r#"{{"n":{n},"received_at":"{at}"}}"#);
    assert_eq!(bench.rows().await, [row(7), row(1)]);
    let rejects = std::fs::read_to_string(bench.rejects()).unwrap();
    let places: Vec<_> = rejects
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| {
            (line["file"].clone(), line.get("line").or_else(|| line.get("row")).cloned().unwrap())
        })
        .collect();
    assert_eq!(
        serde_json::json!(places),
        serde_json::json!([["x.jsonl", 2], ["x.jsonl", 3], ["x.parquet", 2]])
    );
}

#[tokio::test]
async fn a_file_has_the_column_and_no_other_of_its_meaning() {
    let one = "which is to say when its rows were received; name one of its columns";
    let two = "and can keep one of them as that; leave one out";
    let bench = Bench::new();
    let good: &[u8] = b"{\"at\":1}";
    let batch = |name| {
        let times = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let own = Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([(name, times), ("received_at", own)]).unwrap();
        parquet(&batch, Compression::SNAPPY)
    };
    for (name, bytes, wants_two) in [
        ("2.jsonl", b"{\"n\":1}\n{\"received_at\":\"2026-01-31\"}".to_vec(), false),
        ("2.csv", b"n,received_at\n1,2026-01-31\n".to_vec(), false),
        ("2.parquet", batch("n"), false),
        ("2.jsonl", b"{\"at\":1}\n{\"at\":2,\"received_at\":null}".to_vec(), true),
        ("2.json", b"[{\"at\":1},{\"received_at\":1}]".to_vec(), true),
        ("2.csv", b"received_at,at\n1,2\n".to_vec(), true),
        ("2.parquet", batch("at"), true),
    ] {
        let mut import = receiving(&bench, &[("1.jsonl", good), (name, &bytes)], "at");
        let want = if wants_two {
            format!("`{name}` has `at` and `received_at`, {two}")
        } else {
            format!("`{name}` has no column `at`, {one}")
        };
        assert_eq!(bench.refuse_import(&import).await, want);
        import.rejects = Some(bench.rejects());
        assert_eq!(bench.refuse_import(&import).await, want, "with bad rows passed over");
    }
    // Where the dataset is known its columns are a first guess.
    bench.run(&receiving(&bench, &[("1.jsonl", good)], "at")).await.unwrap();
    let import = receiving(&bench, &[("2.jsonl", b"{\"at\":1,\"received_at\":2}")], "at");
    assert!(bench.refuse_import(&import).await.ends_with(two));
    let import = receiving(&bench, &[("2.jsonl", b"{\"received_at\":2}")], "at");
    assert!(bench.refuse_import(&import).await.ends_with(one));
}

#[tokio::test]
async fn a_dataset_keeps_one_column_under_any_name_of_the_input() {
    let bench = Bench::new();
    // Kept as it was named: such a column is not what the option means.
    bench.take("0.jsonl", r#"{"sent":"a text"}"#).await;
    let import = receiving(&bench, &[("1.jsonl", b"{\"sent\":1}")], "sent");
    bench.run(&import).await.unwrap();
    assert_eq!(bench.schema().await, "sent: string, received_at: timestamp(us, UTC)");
    let names = ["received_at", "sent", "when"];
    let lines = names.map(|name| format!("{{\"{name}\":2}}"));
    let cells = names.map(|name| format!("{name},\"x\"\n3,\n"));
    for (name, (line, cells)) in names.iter().zip(lines.iter().zip(&cells)) {
        let files = [("2.jsonl", line.as_bytes()), ("3.csv", cells.as_bytes())];
        bench.run(&receiving(&bench, &files, name)).await.unwrap();
    }
    let column = Arc::new(Int64Array::from(vec![4])) as ArrayRef;
    let batch = RecordBatch::try_from_iter([("sent", column)]).unwrap();
    let file = parquet(&batch, Compression::SNAPPY);
    bench.run(&receiving(&bench, &[("4.parquet", &file)], "sent")).await.unwrap();
    let kept = "sent: string, received_at: timestamp(us, UTC), x: null";
    assert_eq!(bench.schema().await, kept);
    let row = |millis| format!(r#"{{"received_at":"1970-01-01T00:00:00.00{millis}Z"}}"#);
    let rows = [r#"{"sent":"a text"}"#.into(), row(1)];
    let rows = rows.into_iter().chain([2, 3, 2, 3, 2, 3, 4].map(row)).collect::<Vec<_>>();
    assert_eq!(bench.rows().await, rows);
    // As text it is another column.
    let other = Bench::new();
    other.take("0.jsonl", r#"{"received_at":"a text"}"#).await;
    let import = receiving(&other, &[("1.jsonl", b"{\"sent\":1}")], "sent");
    let error = other.refuse_import(&import).await;
    assert_eq!(
        error,
        "`1.jsonl`: column `received_at` is `string` in the dataset and `timestamp(us, UTC)` in the input; cast one of them"
    );
}

#[tokio::test]
async fn a_canonical_dataset_takes_it() {
    let bench = Bench::new();
    let line = br#"{"id":"a","time":"2026-01-01T00:00:00Z","sendTime":1767225600000}"#;
    let mut import = receiving(&bench, &[("x.jsonl", line)], "sendTime");
    import.dataset = "event".into();
    bench.run(&import).await.unwrap();
    let made = bench.catalog.dataset(&import.workspace, "event").await.unwrap();
    assert_eq!(made.time_column.as_deref(), Some("time"));
    assert!(made.schema.fields.len() > 70 && made.schema.field("sendTime").is_none());
}

#[tokio::test]
async fn a_key_with_another_receive_time_is_other_content() {
    let bench = Bench::new();
    let line: &[u8] = br#"{"a":1,"b":2}"#;
    let mut import = receiving(&bench, &[("x.jsonl", line)], "a");
    import.key = Some("k".into());
    bench.run(&import).await.unwrap();
    assert!(bench.run(&import).await.unwrap().repeated);
    for other in [Some("b".to_owned()), None] {
        import.receive_time = other;
        let error = bench.run(&import).await.unwrap_err();
        assert!(error.to_string().contains("used before with other content"), "{error}");
    }
}

#[tokio::test]
async fn the_time_column_stays_what_it_is() {
    let bench = Bench::new();
    let file: &[(&str, &[u8])] = &[("x.jsonl", br#"{"n":1,"at":"2026-01-01T00:00:00Z"}"#)];
    let timed = |import: Import| Import { time_column: Some("at".into()), ..import };
    let refused = bench.run(&timed(receiving(&bench, file, "at"))).await.unwrap_err();
    assert!(refused.to_string().contains("`at` is the dataset's time column"), "{refused}");
    bench.run(&timed(bench.import(file))).await.unwrap();
    let refused = bench.run(&receiving(&bench, file, "at")).await.unwrap_err();
    assert!(refused.to_string().contains("name another column"), "{refused}");
}

#[tokio::test]
async fn what_canonical_events_say_that_come_in_live_is_passed_over() {
    let check = async |before: &Import, name: &str, bytes: &[u8], kept: usize| {
        let bench = Bench::new();
        let before = Import { dataset: "event".into(), ..before.clone() };
        bench.run(&before).await.unwrap();
        let mut live = bench.import(&[(name, bytes)]);
        (live.dataset, live.live) = ("event".into(), true);
        bench.run(&live).await.unwrap();
        let batches = bench.batches_of("event").await;
        let column = |rows: &RecordBatch| rows.column_by_name("received_at").unwrap().clone();
        let said: usize = batches.iter().map(column).map(|c| c.len() - c.null_count()).sum();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!((rows, said), (2, kept), "{name}");
    };
    let bench = Bench::new();
    let line = r#"{"id":"e","time":"2026-01-01T00:00:00Z","received_at":"2026-01-01T00:00:00Z"}"#;
    let before = bench.import(&[("before.jsonl", line.as_bytes())]);
    check(&before, "1.jsonl", line.as_bytes(), 1).await;
    check(&before, "1.json", format!("[{line}]").as_bytes(), 1).await;
    let times = |second: i64| {
        let micros = arrow::array::TimestampMicrosecondArray::from(vec![second * 1_000_000]);
        Arc::new(micros.with_timezone("UTC")) as ArrayRef
    };
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("time", times(1), true),
        ("received_at", times(2), true),
    ]);
    check(&before, "1.parquet", &parquet(&batch.unwrap(), Compression::SNAPPY), 1).await;
    // Events of somebody's own, by the same name: with another time, or without one.
    for own in [Some("received_at"), None] {
        let line = br#"{"x":1,"received_at":"2026-01-01T00:00:00Z"}"#;
        let time_column = own.map(str::to_owned);
        let before = Import { time_column, ..bench.import(&[("own.jsonl", line)]) };
        check(&before, "1.jsonl", line, 2).await;
    }
}
