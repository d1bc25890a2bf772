//! Tests of binding: names, ranges, windows, pruning and staging.
#![expect(clippy::unwrap_used, reason = "tests")]

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use model::dataset::{CommitRun, Window};
use model::part::{Part, PartId};
use model::ports::Rows;
use model::relation::{Selection, Source as From};
use model::{Code, Fault, ObjectKey};
use proptest::prelude::*;

use super::*;
use crate::session::fixture::{Row, World, csv, numbers, rows};

async fn world() -> World {
    let world = World::new();
    world.add("sales", &numbers(0..10), 4).await;
    world.add("sales", &numbers(10..12), 4).await;
    world.add("other", &numbers(0..3), 4).await;
    world
}

fn sql(text: &str) -> From {
    From::Sql(text.into())
}

fn sales() -> From {
    From::Dataset("sales".into())
}

fn picked(columns: &str, filter: &str) -> Selection {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Selection { columns: some(columns), filter: some(filter), ..Selection::default() }
}

fn text(rows: &[Rows]) -> String {
    csv(&rows.iter().map(|rows| rows.batch.clone()).collect::<Vec<RecordBatch>>())
}

async fn out(world: &World, source: From, selection: Selection) -> String {
    let bound = world.bind_all(source, selection).await.unwrap();
    assert!(bound.row_by_row);
    let rows = world.read(&bound).await.unwrap();
    for rows in &rows {
        assert_eq!(rows.batch.schema(), bound.relation.output.to_arrow());
    }
    text(&rows)
}

#[tokio::test]
async fn tells_row_by_row_from_the_rest() {
    let world = world().await;
    for (text, row_by_row) in [
        ("SELECT * FROM sales", true),
        ("SELECT n + 1 AS m, upper(Text) FROM sales s WHERE s.n > 3", true),
        ("SELECT m FROM (SELECT n * 2 AS m FROM sales WHERE n > 1) WHERE m < 8", true),
        ("WITH t AS (SELECT n FROM sales) SELECT n FROM t", true),
        ("SELECT n FROM sales WHERE false", true),
        ("SELECT n FROM sales ORDER BY n", false),
        ("SELECT n FROM sales LIMIT 3", false),
        ("SELECT DISTINCT n FROM sales", false),
        ("SELECT count(*) FROM sales", false),
        ("SELECT Text, sum(n) FROM sales GROUP BY Text", false),
        ("SELECT n, row_number() OVER (ORDER BY n) AS r FROM sales", false),
        ("SELECT n FROM sales UNION ALL SELECT n FROM sales", false),
        ("SELECT sales.n FROM sales JOIN other ON sales.n = other.n", false),
        ("SELECT n FROM sales WHERE n IN (SELECT n FROM other)", false),
        ("SELECT unnest([n]) AS u FROM sales ORDER BY u", false),
        ("SELECT sum(u) FROM (SELECT unnest([n]) AS u FROM sales)", false),
        (
            "SELECT unnest([sales.n, other.n]) AS u FROM sales JOIN other ON sales.n = other.n",
            false,
        ),
        ("SELECT 1 AS one", false),
    ] {
        let bound = world.bind_all(sql(text), Selection::default()).await.unwrap();
        assert_eq!(bound.row_by_row, row_by_row, "{text}");
        if !row_by_row {
            assert!(bound.inputs.is_empty());
            let mut bind = world.ask(sql(text), Selection::default()).await;
            bind.from = CommitNumber(1);
            let error = world.lake.bind(&bind).await.unwrap_err();
            assert!(error.to_string().contains("incremental"), "{text}: {error}");
            assert_eq!(error.fault(), Fault::Request);
        }
    }
}

#[tokio::test]
async fn increments_are_exactly_the_new_rows() {
    let world = world().await;
    world.add("sales", &numbers(12..15), 4).await;
    for (from, to, expected) in [(0, 1, 10), (1, 2, 2), (1, 3, 2), (2, 4, 3), (0, 4, 15), (4, 4, 0)]
    {
        let mut bind = world.ask(sales(), Selection::default()).await;
        (bind.from, bind.to) = (CommitNumber(from), CommitNumber(to));
        let bound = world.lake.bind(&bind).await.unwrap();
        assert_eq!(bound.inputs.iter().map(|i| i.rows).sum::<u64>(), expected, "({from}, {to}]");
        assert_eq!(world.lake.count(&bind).await.unwrap(), expected);
        assert!(!bound.relation.filtered);
    }
}

/// Binds over a range as a run does; returns the rows in order of their text, after comparing them with the count.
async fn computed(world: &World, source: From, selection: Selection, range: (u64, u64)) -> String {
    let mut bind = world.ask(source, selection).await;
    (bind.from, bind.to) = (CommitNumber(range.0), CommitNumber(range.1));
    assert!(world.lake.bind(&bind).await.unwrap().inputs.is_empty(), "only checked");
    bind.stage = Stage::Into { run: RunId::mint(bind.now), epoch: 1 };
    let bound = world.lake.bind(&bind).await.unwrap();
    assert!(!bound.row_by_row && bound.relation.table.dataset.is_none());
    let found = text(&world.read(&bound).await.unwrap());
    let mut found: Vec<_> = found.split_terminator(';').collect();
    assert_eq!(world.lake.count(&bind).await.unwrap(), found.len() as u64);
    found.sort_unstable();
    found.join(";")
}

#[tokio::test]
async fn rows_made_of_each_row_are_had_for_any_range() {
    let world = world().await;
    world.add("sales", &numbers(12..14), 4).await;
    let texts = [
        "SELECT n, unnest([n, n * 10]) AS m FROM sales WHERE n <> 11",
        "SELECT n, m FROM (SELECT n, unnest([n, 11, n * 10]) AS m FROM sales) WHERE n <> 11 AND m <> 11",
        "WITH s AS (SELECT n, _commit, unnest([n]) AS m FROM sales) \
         SELECT n, unnest([m, m * 10]) AS m FROM s WHERE n <> 11 AND _commit > 0",
    ];
    for text in texts {
        for (range, expected) in [
            ((1, 3), "10,10;10,100"),
            ((2, 4), "12,12;12,120;13,13;13,130"),
            ((1, 4), "10,10;10,100;12,12;12,120;13,13;13,130"),
            ((2, 3), ""),
            ((4, 4), ""),
        ] {
            let found = computed(&world, sql(text), picked("", ""), range).await;
            assert_eq!(found, expected, "{text}: {range:?}");
        }
        let all = computed(&world, sql(text), picked("m", "n < 2"), (0, 4)).await;
        assert_eq!(all, "0;0;1;10", "{text}");
    }
    // None of a row without items.
    let text = "SELECT unnest(CASE WHEN n > 12 THEN [n] ELSE arrow_cast([], 'List(Int64)') END) AS m FROM sales";
    assert_eq!(computed(&world, sql(text), picked("", ""), (1, 4)).await, "13");
}

#[tokio::test]
async fn selections_shape_the_output() {
    let world = world().await;
    let found = out(&world, sales(), picked("n, Text, n*2 as twice", "n >= 10")).await;
    assert_eq!(found, "10,b,20;11,c,22");
    let found = out(&world, sales(), picked("n, _commit", "_commit > 1")).await;
    assert_eq!(found, "10,2;11,2");
    let found = out(&world, sales(), picked("", "_commit > 1 and n = 11")).await;
    assert_eq!(found, "11,c,5.5,1970-01-01T00:00:11Z");
    let found = out(&world, sales(), picked("*, n + 1", "n = 3")).await;
    assert_eq!(found, "3,a,1.5,1970-01-01T00:00:03Z,4");
    let bound = world.bind_all(sales(), picked("upper(Text), n - 1", "")).await.unwrap();
    let names: Vec<_> = bound.relation.output.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["upper(Text)", "n - 1"]);
    for (columns, filter, words) in [
        ("n, N", "", "no column `N`; did you mean `n`?"),
        ("n, n", "", "`n` appears twice"),
        ("n, f as n", "", "`n` appears twice"),
        ("n", "nn > 1", "no column `nn`"),
        ("n", "lenght(Text) > 1", "no function `lenght`; did you mean `length`?"),
        ("n", "n > 1) or (true", "not valid"),
        ("n from other", "", "not valid"),
        ("n,", "n >", "not valid"),
        ("n", "1 = 1 -- x", ""),
    ] {
        let bound = world.bind_all(sales(), picked(columns, filter)).await;
        if words.is_empty() {
            bound.unwrap();
            continue;
        }
        let error = bound.unwrap_err();
        assert!(error.to_string().contains(words), "{columns} | {filter}: {error}");
        assert_eq!(error.fault(), Fault::Request);
    }
    let error = world.bind_all(From::Dataset("sale".into()), picked("", "")).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[tokio::test]
async fn volatile_functions_are_refused_and_now_is_bound() {
    let world = world().await;
    for function in ["random()", "uuid()"] {
        let selection = picked(&format!("n, {function} as r"), "");
        let error = world.bind_all(sales(), selection).await.unwrap_err();
        assert!(error.to_string().contains("gives another answer each time"), "{error}");
        assert_eq!(error.fault(), Fault::Request);
    }
    let found = out(&world, sales(), picked("n, now() as t, current_date as d", "n = 1")).await;
    let now = world.now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    assert_eq!(found, format!("1,{now},2026-01-02"));
}

#[tokio::test]
async fn windows_apply_to_the_right_rows() {
    let world = world().await;
    let at = |s: i64| chrono::DateTime::from_timestamp(s, 0);
    let window = |from, until| Selection { since: at(from), until: at(until), ..picked("n", "") };
    assert_eq!(out(&world, sales(), window(3, 6)).await, "3;4;5");
    let error = world.bind_all(sql("SELECT n FROM sales"), window(3, 6)).await.unwrap_err();
    assert!(error.to_string().contains("no time column"), "{error}");
    let moved = "SELECT n, at + INTERVAL '2 seconds' AS later FROM sales";
    world.view("late", moved, Some("later"), Window::Output).await;
    assert_eq!(out(&world, From::View("late".into()), window(3, 6)).await, "1;2;3");
    world.view("early", moved, Some("at"), Window::Input).await;
    assert_eq!(out(&world, From::View("early".into()), window(3, 6)).await, "3;4;5");
    world.view("texts", "SELECT n, Text FROM sales", Some("Text"), Window::Output).await;
    let error = world.bind_all(From::View("texts".into()), window(3, 6)).await.unwrap_err();
    assert!(error.to_string().contains("`Text` of `texts` is `string`"), "{error}");
    world.view("none", "SELECT n FROM sales", None, Window::Output).await;
    let error = world.bind_all(From::View("none".into()), window(3, 6)).await.unwrap_err();
    assert!(error.to_string().contains("no time column"), "{error}");
    let sums = "SELECT Text, sum(n) AS n FROM sales WHERE _commit = 1 GROUP BY Text";
    world.view("sums", sums, None, Window::Input).await;
    let mut bind = world.ask(From::View("sums".into()), window(3, 6)).await;
    bind.stage = Stage::Into { run: RunId::new("r1"), epoch: 1 };
    let bound = world.lake.bind(&bind).await.unwrap();
    let mut found: Vec<String> =
        text(&world.read(&bound).await.unwrap()).split(';').map(str::to_owned).collect();
    found.sort();
    assert_eq!(found, ["3", "4", "5"]);
}

#[tokio::test]
async fn a_window_may_be_on_a_column_that_is_not_taken() {
    let world = World::new();
    let row = |n, text| (n, Some(text), None);
    world.add("sales", &rows(&[row(Some(3), "a"), row(None, "b"), row(Some(7), "c")]), 4).await;
    world.add("sales", &rows(&[row(Some(4), "d"), row(None, "e")]), 4).await;
    let window = |columns, from: &str, until: &str| {
        let at = |text: &str| Some(text.parse().unwrap());
        Selection { since: at(from), until: at(until), ..picked(columns, "") }
    };
    let early = |columns| window(columns, "1970-01-01T00:00:03Z", "1970-01-01T00:00:07Z");
    let live = |columns| window(columns, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
    let hidden = r#"coalesce("at", _commit_time) AS "sent ""At""""#;
    let one = format!(r#"SELECT "Text" AS "the Text", n AS "a""b", {hidden} FROM sales"#);
    world.view("one by one", &one, Some("sent \"At\""), Window::Output).await;
    let view = || From::View("one by one".into());
    let columns = r#""a""b", "the Text""#;
    assert_eq!(out(&world, view(), early(columns)).await, "3,a;4,d");
    assert_eq!(out(&world, view(), live(columns)).await, ",b;,e");
    let filtered = Selection { filter: Some(r#""a""b" > 3"#.into()), ..early(r#""the Text""#) };
    assert_eq!(out(&world, view(), filtered).await, "d");
    let mut bind = world.ask(view(), early(columns)).await;
    bind.from = CommitNumber(1);
    let bound = world.lake.bind(&bind).await.unwrap();
    assert_eq!(text(&world.read(&bound).await.unwrap()), "4,d");
    let several = format!(r#"SELECT unnest(["Text", 'x']) AS "a b", {hidden} FROM sales"#);
    world.view("several", &several, Some("sent \"At\""), Window::Output).await;
    let view = || From::View("several".into());
    let columns = r#""a b""#;
    assert_eq!(computed(&world, view(), early(columns), (0, 2)).await, "a;d;x;x");
    assert_eq!(computed(&world, view(), early(columns), (1, 2)).await, "d;x");
    assert_eq!(computed(&world, view(), live(columns), (1, 2)).await, "e;x");
    // The name of a column that is taken means the view's in the window all the same.
    let renamed = r#""a b" AS "sent ""At""""#;
    assert_eq!(computed(&world, view(), early(renamed), (1, 2)).await, "d;x");
    world.view("input", &several, None, Window::Input).await;
    let view = From::View("input".into());
    assert_eq!(computed(&world, view, early(columns), (1, 2)).await, "d;x");
}

#[tokio::test]
async fn a_staged_result_keeps_its_order_and_can_be_removed() {
    let world = world().await;
    let source = || sql("SELECT n, Text AS t FROM sales WHERE n <> 4 ORDER BY n DESC");
    let mut bind = world.ask(source(), Selection::default()).await;
    let run = RunId::new("run1");
    for epoch in 1..3 {
        bind.stage = Stage::Into { run: run.clone(), epoch };
        // As whoever takes the run over does.
        world.lake.unstage(&run, epoch - 1).await.unwrap();
        let bound = world.lake.bind(&bind).await.unwrap();
        assert!(!bound.row_by_row && bound.relation.table.dataset.is_none());
        assert!(bound.inputs[0].key.as_str().starts_with("staged/run1/"));
        assert!(bound.inputs[0].runs.is_empty());
        let found = text(&world.read(&bound).await.unwrap());
        assert_eq!(found, "11,c;10,b;9,a;8,c;7,b;6,a;5,c;3,a;2,c;1,b;0,a");
    }
    assert_eq!(world.lake.objects.list("staged").await.unwrap().len(), 1);
    assert_eq!(world.lake.count(&bind).await.unwrap(), 11);
    // The holder before comes late.
    world.lake.unstage(&run, 1).await.unwrap();
    assert_eq!(world.lake.objects.list("staged").await.unwrap().len(), 1);
    for _ in 0..2 {
        world.lake.unstage(&run, 2).await.unwrap();
    }
    assert!(world.lake.objects.list("staged").await.unwrap().is_empty());
    let limits = crate::Limits { staged_bytes: 10, ..crate::Limits::default() };
    let small = world.lake.clone().with_limits(limits);
    let error = small.bind(&bind).await.unwrap_err();
    assert!(error.to_string().contains("may be staged"), "{error}");
    assert!(world.lake.objects.list("staged").await.unwrap().is_empty());
    let mut bind = world.ask(sales(), picked("n", "")).await;
    bind.relation.source = sql("SELECT n FROM (SELECT * FROM sales ORDER BY f DESC) x");
    bind.relation.selection.filter = Some("n > 8".into());
    bind.stage = Stage::Into { run, epoch: 1 };
    let bound = world.lake.bind(&bind).await.unwrap();
    assert_eq!(text(&world.read(&bound).await.unwrap()), "11;10;9");
}

#[tokio::test]
async fn pruning_leaves_out_files_and_row_groups() {
    let world = world().await;
    let rows = async |filter: &str| {
        let bound = world.bind_all(sales(), picked("n", filter)).await.unwrap();
        let inputs = bound.inputs.iter().map(|i| (i.first_row, i.rows));
        inputs.collect::<Vec<_>>()
    };
    assert_eq!(rows("n >= 10").await, [(0, 2)]);
    assert_eq!(rows("n = 5").await, [(4, 4)]);
    assert_eq!(rows("n < 4 or n = 9").await, [(0, 4), (8, 2)]);
    assert_eq!(rows("_commit = 2").await, [(0, 2)]);
    assert_eq!(rows("at = '1970-01-01T00:00:05Z'").await, [(4, 4)]);
    assert!(rows("n > 100").await.is_empty());
    assert!(rows("false").await.is_empty());
}

#[tokio::test]
async fn pruning_judges_the_first_column_that_is_not_null() {
    let world = World::new();
    let row = |n| (n, Some("x"), None);
    world.add("sales", &rows(&[row(Some(1)), row(Some(2)), row(Some(7)), row(None)]), 2).await;
    world.add("sales", &rows(&[row(None), row(None), row(Some(8))]), 2).await;
    let groups = async |filter: &str| {
        let bound = world.bind_all(sales(), picked("n", filter)).await.unwrap();
        let inputs = bound.inputs.iter().map(|i| (i.runs[0].commit.0, i.first_row, i.rows));
        inputs.collect::<Vec<_>>()
    };
    let first = "coalesce(at, _commit_time)";
    let within = |from: &str, until: &str| format!("{first} >= '{from}' and {first} < '{until}'");
    let early = |from, until| {
        within(&format!("1970-01-01T00:00:0{from}Z"), &format!("1970-01-01T00:00:0{until}Z"))
    };
    assert_eq!(groups(&early(1, 2)).await, [(1, 0, 2)]);
    assert_eq!(groups(&early(3, 7)).await, []);
    assert_eq!(groups(&early(7, 8)).await, [(1, 2, 2)]);
    assert_eq!(groups(&early(7, 9)).await, [(1, 2, 2), (2, 2, 1)]);
    let live = [(1, 2, 2), (2, 0, 2)];
    assert_eq!(groups(&within("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")).await, live);
    let last = "coalesce(at, at + INTERVAL '1 second', _commit_time) > '2026-01-01T00:00:00Z'";
    assert_eq!(groups(last).await, live);
    assert_eq!(groups(&format!("NOT ({first} < '2026-01-01T00:00:00Z')")).await, live);
    assert_eq!(groups(&format!("'1970-01-01T00:00:07Z' < {first}")).await, [(1, 2, 2), (2, 0, 3)]);
}

#[tokio::test]
async fn errors_of_rows_are_the_sources_fault() {
    let world = world().await;
    let bound = world.bind_all(sales(), picked("10 / n as x", "")).await.unwrap();
    let error = world.read(&bound).await.unwrap_err();
    assert!(error.to_string().contains("division by zero"), "{error}");
    assert_eq!(error.fault(), Fault::Source);
    let mut bound = world.bind_all(sales(), picked("n", "")).await.unwrap();
    bound.inputs[0].file_rows = 11;
    let error = world.read(&bound).await.unwrap_err();
    assert!(error.to_string().contains(bound.inputs[0].key.as_str()), "{error}");
    bound.inputs[0].key = ObjectKey::new("data/gone.parquet");
    let error = world.read(&bound).await.unwrap_err();
    assert!(error.to_string().contains("data/gone.parquet"), "{error}");
    assert_eq!(error.fault(), Fault::Own);
    let huge = world.bind_all(sales(), picked("repeat(Text, 1000000000) as x", "")).await.unwrap();
    let error = world.read(&huge).await.unwrap_err();
    assert!(error.to_string().contains("`repeat` would make"), "{error}");
}

#[tokio::test]
async fn one_file_of_several_commits_knows_them() {
    let world = World::new();
    world.add("sales", &numbers(0..10), 4).await;
    let mut bound = world.bind_all(sales(), picked("n, _commit", "n > 1")).await.unwrap();
    let input = &mut bound.inputs[0];
    let time = input.runs[0].time;
    let run = |commit, first_row| CommitRun { commit: CommitNumber(commit), time, first_row };
    input.runs = vec![run(3, 0), run(5, 3), run(6, 8)];
    (input.first_row, input.rows) = (2, 7);
    let found = text(&world.read(&bound).await.unwrap());
    assert_eq!(found, "2,3;3,5;4,5;5,5;6,5;7,5;8,6");
}

type Filter = (&'static str, fn(&Row) -> bool);

/// Conditions as SQL and as a plain model of what SQL means.
const FILTERS: &[Filter] = &[
    ("true", |_| true),
    ("false", |_| false),
    ("n > 5", |r| r.0.is_some_and(|n| n > 5)),
    ("n = 3", |r| r.0 == Some(3)),
    ("n <> 4", |r| r.0.is_some_and(|n| n != 4)),
    ("n IS NULL", |r| r.0.is_none()),
    ("n IS NOT NULL", |r| r.0.is_some()),
    ("NOT (n > 5)", |r| r.0.is_some_and(|n| n <= 5)),
    ("n + 1 > 6", |r| r.0.is_some_and(|n| n + 1 > 6)),
    ("n > 2.5", |r| r.0.is_some_and(|n| n > 2)),
    ("n BETWEEN 2 AND 4", |r| r.0.is_some_and(|n| (2..=4).contains(&n))),
    ("n IN (1, 2, NULL)", |r| matches!(r.0, Some(1 | 2))),
    ("n NOT IN (1, 2)", |r| r.0.is_some_and(|n| n != 1 && n != 2)),
    ("coalesce(n, 9) = 9", |r| r.0.unwrap_or(9) == 9),
    ("CAST(n AS VARCHAR) = '3'", |r| r.0 == Some(3)),
    ("CAST(n AS VARCHAR) > '3'", |r| r.0.is_some_and(|n| n.to_string().as_str() > "3")),
    ("f > 2.0", |r| r.2.is_some_and(|f| f.is_nan() || f > 2.0)),
    ("f < 2.0", |r| r.2.is_some_and(|f| f < 2.0)),
    ("f = 1.0", |r| r.2 == Some(1.0)),
    ("f <> 1.0", |r| r.2.is_some_and(|f| f.is_nan() || f < 1.0 || f > 1.0)),
    ("isnan(f)", |r| r.2.is_some_and(f64::is_nan)),
    ("Text = 'b'", |r| r.1 == Some("b")),
    ("Text <> 'b'", |r| r.1.is_some_and(|t| t != "b")),
    ("Text LIKE 'a%'", |r| r.1.is_some_and(|t| t.starts_with('a'))),
    ("Text NOT LIKE 'a%'", |r| r.1.is_some_and(|t| !t.starts_with('a'))),
    ("upper(Text) = 'B'", |r| r.1 == Some("b")),
    ("n > 2 AND Text = 'a'", |r| r.0.is_some_and(|n| n > 2) && r.1 == Some("a")),
    ("n > 6 OR f < 0", |r| r.0.is_some_and(|n| n > 6) || r.2.is_some_and(|f| f < 0.0)),
    ("n > 6 OR Text IS NULL", |r| r.0.is_some_and(|n| n > 6) || r.1.is_none()),
    ("at >= '1970-01-01T00:00:04Z'", |r| r.0.is_some_and(|n| n >= 4)),
    ("n = 3 IS NOT TRUE", |r| r.0 != Some(3)),
];

fn row() -> impl Strategy<Value = Row> {
    let n = prop::option::weighted(0.8, -2_i64..10);
    let text = prop::option::weighted(0.8, prop::sample::select(vec!["a", "ab", "b", "c", ""]));
    let f = prop::sample::select(vec![-1.0, 0.0, -0.0, 1.0, 2.0, 3.5, f64::NAN, f64::INFINITY]);
    (n, text, prop::option::weighted(0.8, f))
}

/// Compares floats by their bits, so that NaN is equal to itself.
fn keys(rows: &[Row]) -> Vec<(Option<i64>, Option<&str>, Option<u64>)> {
    rows.iter().map(|row| (row.0, row.1, row.2.map(f64::to_bits))).collect()
}

fn read_keys(rows: &[Rows]) -> Vec<(Option<i64>, Option<String>, Option<u64>)> {
    use arrow::datatypes::Float64Type;
    let mut out = Vec::new();
    for rows in rows {
        let n = rows.batch.column(0).as_primitive::<Int64Type>();
        let text = rows.batch.column(1).as_string::<i32>();
        let f = rows.batch.column(2).as_primitive::<Float64Type>();
        for at in 0..rows.batch.num_rows() {
            out.push((
                n.is_valid(at).then(|| n.value(at)),
                text.is_valid(at).then(|| text.value(at).to_owned()),
                f.is_valid(at).then(|| f.value(at).to_bits()),
            ));
        }
    }
    out
}

fn owned(
    keys: Vec<(Option<i64>, Option<&str>, Option<u64>)>,
) -> Vec<(Option<i64>, Option<String>, Option<u64>)> {
    keys.into_iter().map(|(n, text, f)| (n, text.map(str::to_owned), f)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Over random files and row groups: filtering with pruning is the plain model's filtering, and what
    /// is read after a cut behind any output row is the rest.
    #[test]
    fn reading_is_the_plain_model_and_can_be_cut_anywhere(
        files in prop::collection::vec(prop::collection::vec(row(), 1..30), 1..4),
        group in 1_usize..12,
        picks in prop::collection::vec(0..FILTERS.len(), 3),
        cut in any::<prop::sample::Index>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            for file in &files {
                world.add("sales", &rows(file), group).await;
            }
            for pick in picks {
                let (filter, passes) = FILTERS[pick];
                let all: Vec<Row> = files.iter().flatten().filter(|r| passes(r)).copied().collect();
                let bound = world.bind_all(sales(), picked("", filter)).await.unwrap();
                let found = world.read(&bound).await.unwrap();
                let expected = owned(keys(&all));
                prop_assert_eq!(read_keys(&found), expected.clone(), "{}", filter);
                prop_assert_eq!(world.lake.count(&world.ask(sales(), picked("", filter)).await).await.unwrap(), expected.len() as u64);
                let total: u64 = bound.inputs.iter().map(|input| input.rows).sum();
                prop_assert_eq!(found.last().map_or(0, |rows| rows.read_after), total);
                if expected.is_empty() {
                    continue;
                }
                let at = cut.index(expected.len());
                let position = found.iter().flat_map(|rows| {
                    (0..rows.batch.num_rows()).map(|row| rows.read.read(row))
                }).nth(at).unwrap();
                let mut part = Part {
                    id: PartId::planned(0),
                    inputs: bound.inputs.clone(),
                    name: "x".into(),
                    receipt: None,
                };
                let rest = part.cut(position);
                let first = Bound { inputs: part.inputs.clone(), ..bound.clone() };
                let rest = Bound { inputs: rest, ..bound };
                prop_assert_eq!(read_keys(&world.read(&first).await.unwrap()), expected[..=at].to_vec());
                prop_assert_eq!(read_keys(&world.read(&rest).await.unwrap()), expected[at + 1..].to_vec());
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn what_the_lake_cannot_keep_is_refused_where_it_would_be_staged() {
    let world = world().await;
    for column in ["interval '1 day'", "arrow_cast(100, 'Decimal128(5, -2)')"] {
        let sql = |tail: &str| From::Sql(format!("SELECT {column} AS x FROM sales{tail}"));
        world.bind_all(sql(""), picked("", "")).await.unwrap();
        let error = world.bind_all(sql(" ORDER BY n"), picked("", "")).await.unwrap_err();
        assert!(error.to_string().contains("column `x` has type"), "{error}");
        assert_eq!(error.fault(), Fault::Request);
    }
}

/// Few rows of many, spread and in runs, over row groups of which some have none: only they are decoded.
#[tokio::test]
async fn few_rows_of_many_are_those_of_the_whole_and_know_their_places() {
    let world = World::new();
    world.add("sales", &numbers(0..1000), 300).await;
    world.add("sales", &numbers(1000..1100), 30).await;
    for (filter, passes) in [
        ("n % 10 = 3", (|n| n % 10 == 3) as fn(i64) -> bool),
        ("n % 10 = 3 AND \"Text\" = 'a'", |n| n % 10 == 3 && n % 3 == 0),
        ("n BETWEEN 310 AND 330 OR n = 1099", |n| (310..=330).contains(&n) || n == 1099),
        ("n < 0", |_| false),
    ] {
        for columns in ["", "n, f", "n + 1 AS m, n"] {
            let bound = world.bind_all(sales(), picked(columns, filter)).await.unwrap();
            let found = world.read(&bound).await.unwrap();
            let mut keys = Vec::new();
            for rows in &found {
                let n = rows.batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
                keys.extend((0..n.len()).map(|row| (n.value(row), rows.read.read(row))));
            }
            let expected: Vec<i64> = (0..1100).filter(|n| passes(*n)).collect();
            assert_eq!(keys.iter().map(|key| key.0).collect::<Vec<_>>(), expected, "{filter}");
            // The place of a row among the input rows says which row of which file it is.
            for (n, read) in keys {
                let mut left = read - 1;
                let input = bound.inputs.iter().find(|input| {
                    let here = left < input.rows;
                    left -= if here { 0 } else { input.rows };
                    here
                });
                let base = if input.unwrap().file_rows == 100 { 1000 } else { 0 };
                let place = input.unwrap().first_row + left;
                assert_eq!(n, base + i64::try_from(place).unwrap(), "{filter}");
            }
        }
    }
}
