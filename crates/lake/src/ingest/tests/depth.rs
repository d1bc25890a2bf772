//! What comes out does not depend on how much is looked at before rows are written.

use proptest::prelude::*;

use super::*;

/// Cells and values on the border between types.
const CELLS: &[&str] = &[
    "1",
    "-1",
    "007",
    "-0",
    "1.5",
    "1.",
    "+4",
    "true",
    "x",
    "",
    "\"\"",
    "9223372036854775808",
    "1e3",
    "0.12345678901234567890",
    "18446744073709551616",
    "2026-01-01T00:00:00Z",
    "2026-01-01T00:00:00.0000000Z",
];
const VALUES: &[&str] = &[
    "1",
    "-1",
    "-0",
    "1.5",
    "1e3",
    "true",
    "\"x\"",
    "null",
    "{}",
    "{\"b\":1}",
    "{\"c\":null}",
    "[]",
    "[1]",
    "[2.5]",
    "9223372036854775808",
    "18446744073709551616",
    "\"2026-01-01T00:00:00Z\"",
    "\"2026-01-01T00:00:00.0000000Z\"",
];

#[derive(Clone, Debug)]
struct Case {
    /// What made the dataset, if it was there before.
    before: Option<String>,
    files: Vec<(String, String)>,
    time_column: bool,
    receive_time: Option<&'static str>,
}

fn csv_file() -> impl Strategy<Value = String> {
    let row = (prop::sample::select(CELLS), prop::sample::select(CELLS));
    let kinds = prop::collection::vec(row, 1..8);
    kinds.prop_map(|rows| {
        let rows: String = rows.iter().map(|(a, b)| format!("{a},{b}\n")).collect();
        format!("a,b\n{rows}")
    })
}

fn json_file() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c", "received_at"]);
    let row = prop::collection::btree_map(name, prop::sample::select(VALUES), 0..3);
    prop::collection::vec(row, 1..8).prop_map(|rows| {
        let row = |row: &std::collections::BTreeMap<&str, &str>| {
            let fields: Vec<_> =
                row.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}\n", fields.join(","))
        };
        rows.iter().map(row).collect()
    })
}

/// Often of one kind, so that much of it can be imported.
fn case() -> impl Strategy<Value = Case> {
    let csv = prop::collection::vec(csv_file().prop_map(|text| (".csv", text)), 1..3);
    let json = prop::collection::vec(json_file().prop_map(|text| (".jsonl", text)), 1..3);
    let both = prop::collection::vec(
        prop_oneof![
            csv_file().prop_map(|text| (".csv", text)),
            json_file().prop_map(|text| (".jsonl", text))
        ],
        1..4,
    );
    let before = prop::option::of(json_file());
    let receive_time =
        prop::option::weighted(0.2, prop::sample::select(vec!["a", "b", "received_at"]));
    (before, prop_oneof![csv, json, both], any::<bool>(), receive_time).prop_map(
        |(before, files, time_column, receive_time)| {
            let name = |(at, (end, text)): (usize, (&str, String))| (format!("{at}{end}"), text);
            let files = files.into_iter().enumerate().map(name).collect();
            Case { before, files, time_column, receive_time }
        },
    )
}

/// Returns the columns and the rows, or the message, and what was told.
async fn outcome(case: &Case, depth: Depth) -> (Result<(String, Vec<String>), String>, u64) {
    let bench = Bench::new();
    if let Some(before) = &case.before {
        // Not all of these can be imported, and then the dataset is new.
        drop(bench.run(&bench.import(&[("before.jsonl", before.as_bytes())])).await);
    }
    let kept = bench.objects.keys();
    bench.told.rows.store(0, Ordering::Relaxed);
    bench.told.bytes.store(0, Ordering::Relaxed);
    let files: Vec<_> = case.files.iter().map(|(name, text)| (&**name, text.as_bytes())).collect();
    let mut import = bench.import(&files);
    import.time_column = case.time_column.then(|| "a".into());
    import.receive_time = case.receive_time.map(str::to_owned);
    let progress = Arc::new(Furthest::new(bench.told.clone()));
    let job = Importing { lake: &bench.lake, import: &import, progress, depth };
    let outcome = match Box::pin(job.run()).await {
        Ok(report) => {
            assert_eq!(report.rows, bench.told.rows.load(Ordering::Relaxed));
            Ok((bench.schema().await, bench.rows().await))
        }
        Err(error) => {
            assert_eq!(bench.objects.keys(), kept, "{error}");
            Err(error.to_string())
        }
    };
    (outcome, bench.told.bytes.load(Ordering::Relaxed))
}

proptest! {
    #[test]
    fn the_same_comes_out_at_any_depth(case in case(), block_bytes in 1_usize..40, blocks in 1_usize..3) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let (all, told) = runtime.block_on(outcome(&case, Depth { blocks: usize::MAX, block_bytes: 1 << 20 }));
        let (some, _) = runtime.block_on(outcome(&case, Depth { blocks, block_bytes }));
        prop_assert_eq!(&some, &all);
        if all.is_ok() {
            let bytes: usize = case.files.iter().map(|(_, text)| text.len()).sum();
            prop_assert_eq!(told, bytes as u64);
        }
    }
}
