//! Bad input: one line that names the place and the reason, and nothing left behind.

use arrow::array::{ArrayRef, Int64Array};
use model::schema::{Field, Type};
use model::{Code, Fault};

use super::*;

#[tokio::test]
async fn names_the_file_the_line_and_the_reason() {
    let check = async |name: &str, bytes: &[u8], want: &str| {
        let bench = Bench::new();
        let import = bench.import(&[(name, bytes)]);
        let error = bench.run(&import).await.unwrap_err();
        assert_eq!(error.to_string(), want);
        assert_eq!(error.fault(), Fault::Source, "{want}");
        assert!(bench.objects.keys().is_empty(), "{want}");
    };
    check("x.csv", b"", "`x.csv` is empty; there is nothing to import").await;
    check("x.csv", b"\xef\xbb\xbf", "`x.csv` is empty; there is nothing to import").await;
    check(
        "x.gz",
        &gzip(b"PAR1..."),
        "`x.gz` is Parquet inside a compressed file; decompress it first",
    )
    .await;
    check("x.csv", b"a,b\n", "`x.csv` has no rows; there is nothing to import").await;
    check("x.json", b"[]", "`x.json` has no rows; there is nothing to import").await;
    check(
        "x.jsonl",
        b"{\"a\":1}\n{\"a\" 2}\n",
        "`x.jsonl` line 2: invalid JSON at column 6: expected `:`",
    )
    .await;
    check(
        "x.json",
        b"[{\"a\":1},\n{\"a\":1,\n\"b\" 2}]",
        "`x.json` line 3: invalid JSON at column 5: expected `:`",
    )
    .await;
    check("x.json", b"[{\"a\":1}\n{}]", "`x.json` line 2: invalid JSON: expected `,` or `]`").await;
    check(
        "x.json",
        b"[{\"a\":1},\n\n{\"a\":",
        "`x.json` line 3: the file ends inside a value that begins here; fetch it again",
    )
    .await;
    check("x.jsonl", b"{\"a\":1}\n[1]", "`x.jsonl` line 2: expected a JSON object, found an array")
        .await;
    check("x.jsonl", b"{\"a\":1,\"a\":2}", "`x.jsonl` line 1: the name `a` appears twice").await;
    check(
        "x.csv",
        b"a,b\n1,\"x\ny\"\n2\n",
        "`x.csv` line 4: expected 2 fields as in the header, found 1",
    )
    .await;
    check(
        "x.csv",
        b"a,b\n1,2\n3,\"x\n",
        "`x.csv` line 3: a quoted field begins here and is never closed",
    )
    .await;
    check("x.csv", b"a,a\n1,2\n", "`x.csv` line 1: the name `a` appears twice").await;
    check(
        "x.csv",
        b"a\nok\n\"x\n\xff\"\n",
        "`x.csv` line 4: invalid UTF-8; save the file as UTF-8",
    )
    .await;
    check("x.jsonl", b"{\"a\":1}\n{\"a\":\"x\"}", "column `a` is `number` in `x.jsonl` line 1 and `string` in `x.jsonl` line 2; make them one type").await;
    check("x.jsonl", b"{\"_commit\":1}", "the column name `_commit` is reserved; rename it").await;
    let deep = format!("{{\"a\":{}}}", "[".repeat(40));
    check(
        "x.jsonl",
        deep.as_bytes(),
        "`x.jsonl` line 1: values are nested deeper than 32; flatten them",
    )
    .await;
}

#[tokio::test]
async fn limits_are_named() {
    let bench = Bench::new();
    let long =
        format!("{{\"a\":1}}\n{{\"a\":\"{}\"}}", "x".repeat(model::limits::RECORD_BYTES_MAX));
    let error = bench.refuse("x.jsonl", long.as_bytes()).await;
    assert_eq!(error, "`x.jsonl` line 2: a record is longer than 16 MiB; split it");
    let fields: Vec<String> =
        (0..=model::limits::COLUMNS_MAX).map(|n| format!("\"c{n}\":1")).collect();
    let error = bench.refuse("x.jsonl", format!("{{{}}}", fields.join(",")).as_bytes()).await;
    assert_eq!(
        error,
        "`x.jsonl` line 1: more than 10000 columns; move some of them into a list of pairs"
    );
}

#[tokio::test]
async fn broken_containers_are_refused() {
    let bench = Bench::new();
    let text: String = (0..5000).map(|n| format!("{{\"a\":{}}}\n", n * 7919)).collect();
    for (name, whole) in [("x.gz", gzip(text.as_bytes())), ("x.zst", zstd(text.as_bytes()))] {
        let error = bench.refuse(name, &whole[..whole.len() / 2]).await;
        assert!(error.starts_with(&format!("`{name}` is not whole or not ")), "{error}");
        assert!(error.ends_with("; fetch it again"), "{error}");
    }
    let numbers: arrow::array::ArrayRef =
        Arc::new(arrow::array::Int64Array::from_iter_values((0..5000).map(|n| n * n)));
    let batch = RecordBatch::try_from_iter(vec![("a", numbers)]).unwrap();
    for codec in
        [::parquet::basic::Compression::SNAPPY, ::parquet::basic::Compression::UNCOMPRESSED]
    {
        let whole = parquet(&batch, codec);
        for cut in [4, 100, whole.len() / 2, whole.len() - 1] {
            let error = bench.refuse("x.parquet", &whole[..cut]).await;
            assert!(error.starts_with("`x.parquet` is not a whole Parquet file: "), "{error}");
        }
        // The footer is whole, the first page is not.
        let mut torn = whole.clone();
        torn[4..60].fill(0xee);
        let error = bench.refuse("x.parquet", &torn).await;
        assert!(error.starts_with("`x.parquet` is not "), "{error}");
    }
    let error = bench.refuse("x.parquet", b"PAR1 but only in name").await;
    assert!(error.starts_with("`x.parquet` is not a whole Parquet file: "), "{error}");
}

#[tokio::test]
async fn missing_files_and_folders_are_named() {
    let bench = Bench::new();
    let mut import = bench.import(&[("x.csv", b"a\n1\n")]);
    import.files[0].content = ImportContent::Path(bench.folder.path().join("absent"));
    let error = bench.run(&import).await.unwrap_err();
    assert_eq!((error.code(), error.fault()), (Code::NotFound, Fault::Source));
    assert_eq!(error.to_string(), "`x.csv` does not exist");
    import.files[0].content = ImportContent::Path(bench.folder.path().into());
    let error = bench.refuse_import(&import).await;
    assert_eq!(error, "`x.csv` is not a file; name the files inside a folder one by one");
    import.files.clear();
    assert_eq!(bench.refuse_import(&import).await, "no file to import; name at least one");
}

#[tokio::test]
async fn conflicts_with_the_dataset_name_both_types() {
    let bench = Bench::new();
    bench.take("x.jsonl", r#"{"n":1,"t":"x","s":{"b":true}}"#).await;
    let check = async |name: &str, text: &str, want: &str| {
        assert_eq!(bench.refuse(name, text.as_bytes()).await, want);
    };
    check("y.jsonl", "{\"n\":1}\n{\"n\":\"x\"}", "`y.jsonl` line 2: column `n` is `int64` in the dataset and `string` in the input; cast one of them").await;
    check("y.jsonl", "{\"n\":1.5}", "`y.jsonl` line 1: column `n` is `int64` in the dataset and `float64` in the input; cast one of them").await;
    check("y.jsonl", "{\"t\":5}", "`y.jsonl` line 1: column `t` is `string` in the dataset and `number` in the input; cast one of them").await;
    check("y.jsonl", "{\"s\":{\"b\":1}}", "`y.jsonl` line 1: column `s.b` is `boolean` in the dataset and `number` in the input; cast one of them").await;
    check("y.csv", "n\n1\nx\n", "`y.csv` line 3: column `n` is `int64`, which `x` is not").await;
    let numbers: arrow::array::ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![1.5]));
    let batch = RecordBatch::try_from_iter(vec![("n", numbers)]).unwrap();
    let bytes = parquet(&batch, ::parquet::basic::Compression::SNAPPY);
    assert_eq!(
        bench.refuse("y.parquet", &bytes).await,
        "`y.parquet`: column `n` is `int64` in the dataset and `float64` in the input; cast one of them"
    );
}

#[tokio::test]
async fn times_that_are_none_are_named() {
    let check = async |text: &str, want: &str| {
        let bench = Bench::new();
        let mut import = bench.import(&[("x.jsonl", text.as_bytes())]);
        import.time_column = Some("at".into());
        assert_eq!(bench.refuse_import(&import).await, want);
    };
    check("{\"at\":\"2026-01-01\"}\n{\"at\":\"soon\"}", "the time column `at` is `text`, which is not a time; write `x.jsonl` line 2 as `2026-01-31T12:00:00Z`").await;
    check("{\"at\":\"2026-01-01\"}\n{\"at\":\"2026-01-01T00:00:00Z\"}", "the time column `at` is `text of two kinds`, which is not a time; `x.jsonl` line 2 has a zone and `x.jsonl` line 1 has none; give all of them one").await;
    check(
        "{\"at\":17}",
        "the time column `at` is `int64`, which is not a time; write it as `2026-01-31T12:00:00Z`",
    )
    .await;
    check("{\"b\":17}", "the time column `at` is not in the input; name one of its columns").await;
}

#[tokio::test]
async fn columns_that_must_have_values_are_checked() {
    let bench = Bench::new();
    let mut import = bench.import(&[("x.jsonl", b"{\"a\":1}\n{\"a\":null}")]);
    import.schema = Some(
        serde_json::from_str(r#"{"fields":[{"name":"a","type":"int64","nullable":false}]}"#)
            .unwrap(),
    );
    assert_eq!(
        bench.refuse_import(&import).await,
        "`x.jsonl` line 2: column `a` must have a value"
    );
    import.files = vec![bench.file("y.csv", "b\n1\n")];
    assert_eq!(bench.refuse_import(&import).await, "`y.csv` line 2: column `a` must have a value");
}

#[tokio::test]
async fn partial_takes_the_good_rows_and_writes_the_bad_ones() {
    let bench = Bench::new();
    let mut import = bench.import(&[
        ("x.jsonl", b"{\"a\":1}\n{\"a\":\n{\"a\":\"x\"}\n{\"a\":2}\n\xff\n"),
        ("y.csv", b"a,b\n3,x\n4\n5,\n"),
    ]);
    import.rejects = Some(bench.rejects());
    let report = bench.run(&import).await.unwrap();
    assert_eq!((report.rows, report.rejected), (4, 4));
    assert_eq!(report.rejects, Some(bench.rejects()));
    assert_eq!(
        bench.rows().await,
        [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3,"b":"x"}"#, r#"{"a":5}"#]
    );
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(bench.rejects())
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let places: Vec<_> =
        lines.iter().map(|l| (l["file"].as_str().unwrap(), l["line"].as_u64().unwrap())).collect();
    assert_eq!(places, [("x.jsonl", 2), ("x.jsonl", 3), ("x.jsonl", 5), ("y.csv", 3)]);
    assert_eq!(lines[0]["text"], "{\"a\":");
    assert_eq!(lines[3]["reason"], "expected 2 fields as in the header, found 1");
}

#[tokio::test]
async fn partial_makes_no_file_without_bad_rows_and_fails_without_good_ones() {
    let bench = Bench::new();
    let mut import = bench.import(&[("x.jsonl", b"{\"a\":1}")]);
    import.rejects = Some(bench.rejects());
    let report = bench.run(&import).await.unwrap();
    assert_eq!((report.rejected, report.rejects), (0, None));
    assert!(!bench.rejects().exists());
    import.files = vec![bench.file("y.jsonl", "{\n[1]\n")];
    let error = bench.refuse_import(&import).await;
    assert_eq!(
        error,
        format!(
            "every row was rejected; the reasons are in `{}`; the first: `y.jsonl` line 1: invalid JSON at column 2: expected a field name in double quotes",
            bench.rejects().display()
        )
    );
    assert!(bench.rejects().exists());
    let whole = gzip(b"{\"a\":1}\n");
    import.files = vec![bench.file("z.gz", &whole[..whole.len() - 4])];
    assert!(bench.refuse_import(&import).await.starts_with("`z.gz` is not whole or not gzip"));
}

#[tokio::test]
async fn a_record_that_is_no_json_is_told_as_such_whatever_its_names() {
    let bench = Bench::new();
    let mut import = bench.import(&[("x.jsonl", b"{\"a\":1}\n{\"new\":1,\"b\" 2}")]);
    import.rejects = Some(bench.rejects());
    let report = bench.run(&import).await.unwrap();
    assert_eq!((report.rows, report.rejected), (1, 1));
    let text = std::fs::read_to_string(bench.rejects()).unwrap();
    assert!(text.contains("invalid JSON at column 14: expected `:`"), "{text}");
    assert_eq!(bench.schema().await, "a: int64");
}

#[tokio::test]
async fn partial_takes_the_good_rows_of_parquet_too() {
    let bench = Bench::new();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 300, 2, -1, 3]));
    let batch = RecordBatch::try_from_iter(vec![("n", numbers)]).unwrap();
    let bytes = parquet(&batch, ::parquet::basic::Compression::SNAPPY);
    let mut import = bench.import(&[("x.parquet", &bytes)]);
    import.schema = Some(Schema { fields: vec![Field::new("n", Type::UInt8)] });
    assert_eq!(
        bench.refuse_import(&import).await,
        "`x.parquet` row 2: column `n` is `uint8`, which `300` is not"
    );
    import.rejects = Some(bench.rejects());
    let report = bench.run(&import).await.unwrap();
    assert_eq!((report.rows, report.rejected), (3, 2));
    assert_eq!(bench.rows().await, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
    let rejects = std::fs::read_to_string(bench.rejects()).unwrap();
    assert_eq!(
        rejects.lines().collect::<Vec<_>>(),
        [
            r#"{"file":"x.parquet","reason":"column `n` is `uint8`, which `300` is not","row":2,"text":"{\"n\":300}"}"#,
            r#"{"file":"x.parquet","reason":"column `n` is `uint8`, which `-1` is not","row":4,"text":"{\"n\":-1}"}"#,
        ]
    );
}

#[tokio::test]
async fn parquet_that_is_called_text_is_told_as_such() {
    let bench = Bench::new();
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter(vec![("n", numbers)]).unwrap();
    let bytes = parquet(&batch, ::parquet::basic::Compression::SNAPPY);
    let mut import = bench.import(&[("x.parquet", &bytes)]);
    import.format = InputFormat::Jsonl;
    assert_eq!(
        bench.refuse_import(&import).await,
        "`x.parquet` is a Parquet file, not text; leave `--format` out"
    );
}
