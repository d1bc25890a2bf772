//! Tests that a text means the same when it is bound, counted, computed, and read again by parts.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use model::Fault;
use model::dataset::Window;
use model::ports::{Query, Relations};
use model::relation::{BoundRelation, Selection, Source};
use proptest::prelude::*;

use crate::session::fixture::{World, csv, numbers, workspace};

/// Makes one row of each value, numbered from 0.
fn texts(values: &[String]) -> RecordBatch {
    let count = i64::try_from(values.len()).unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("n", Arc::new(Int64Array::from_iter_values(0..count))),
        ("Text", Arc::new(StringArray::from_iter_values(values))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Returns values, and those that a wrong reading of their quotes would make of them.
fn with_decoys(values: &[&str]) -> Vec<String> {
    let mut all = BTreeSet::new();
    for value in values {
        all.insert((*value).to_owned());
        for (from, to) in [
            ("''", "'"),
            ("'", "''"),
            ("\\'", "'"),
            ("\\'", "\\''"),
            ("\\\\", "\\"),
            ("\\", "\\\\"),
            ("\\n", "\n"),
            ("\r\n", "\n"),
            ("\"\"", "\""),
        ] {
            all.insert(value.replace(from, to));
        }
    }
    all.into_iter().collect()
}

fn filtered(filter: &str) -> Selection {
    let columns = Some("n, Text".into());
    Selection { columns, filter: Some(filter.into()), ..Selection::default() }
}

fn all() -> Selection {
    Selection::default()
}

/// Binds and reads as the parts of a run do, by way of a stored plan; checks the count on the way.
async fn read(world: &World, source: Source, selection: Selection) -> Vec<RecordBatch> {
    let mut bound = world.bind_all(source.clone(), selection.clone()).await.unwrap();
    assert!(bound.row_by_row);
    let stored = serde_json::to_string(&bound.relation).unwrap();
    bound.relation = serde_json::from_str::<BoundRelation>(&stored).unwrap();
    let rows = world.read(&bound).await.unwrap();
    let batches: Vec<RecordBatch> = rows.into_iter().map(|rows| rows.batch).collect();
    let count = world.lake.count(&world.ask(source, selection).await).await.unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64, count);
    batches
}

/// The ways that a condition takes most: a filter, a text, a view.
const PLAIN_WAYS: usize = 3;

/// Checks that a condition on `Text` leaves exactly the row of a value, whatever way the condition takes.
async fn selects_only(values: &[String], literal: &str, value: &str, ways: usize) {
    let world = World::new();
    world.add("d", &texts(values), 3).await;
    let place = values.iter().position(|other| other == value).unwrap();
    let condition = format!("Text = {literal}");
    let query = format!("SELECT n, Text FROM d WHERE {condition}");
    let versioned = format!("SELECT * FROM d WHERE {condition} AND _commit = 1");
    world.view("v", &query, None, Window::Output).await;
    world.view("w", &versioned, None, Window::Output).await;
    let all_ways = [
        (Source::Dataset("d".into()), filtered(&condition)),
        (Source::Sql(query.clone()), all()),
        (Source::View("v".into()), all()),
        (Source::Sql("SELECT n, Text FROM d".into()), filtered(&condition)),
        (Source::Sql(query.clone()), filtered(&condition)),
        (Source::Sql(versioned), all()),
        (Source::View("v".into()), filtered(&condition)),
        (Source::View("w".into()), filtered(&condition)),
    ];
    for (source, selection) in all_ways.into_iter().take(ways) {
        let asked = format!("{literal}: {source:?} {selection:?}");
        let batches = read(&world, source, selection).await;
        let found: Vec<(i64, &str)> = batches
            .iter()
            .flat_map(|batch| {
                let n = batch.column(0).as_primitive::<Int64Type>().values().iter().copied();
                n.zip(batch.column(1).as_string::<i32>().iter().map(Option::unwrap))
            })
            .collect();
        assert_eq!(found, [(i64::try_from(place).unwrap(), value)], "{asked}");
    }
    let answer = world.sql(&format!("SELECT n FROM v WHERE {condition}")).await.unwrap();
    assert_eq!(answer, place.to_string());
    let columns = Some(format!("{literal} AS x, {literal}"));
    let selection = Selection { columns, ..all() };
    for batch in read(&world, Source::Dataset("d".into()), selection).await {
        for column in batch.columns() {
            assert!(column.as_string::<i32>().iter().all(|found| found == Some(value)));
        }
    }
}

#[tokio::test]
async fn a_literal_is_the_same_to_all_who_read_it() {
    let values = ["a''b", "a'b", "a\\'b", "''", "'", "\\", "\\'", "it's", "a--b", "a\nb", "$$"];
    let values = with_decoys(&values);
    for (literal, value) in [
        ("'a''''b'", "a''b"),
        ("'a''b'", "a'b"),
        ("'a\\''b'", "a\\'b"),
        ("''''''", "''"),
        ("''''", "'"),
        ("'\\'", "\\"),
        ("'\\'''", "\\'"),
        ("E'a\\'\\'b'", "a''b"),
        ("E'a\\nb'", "a\nb"),
        ("'a\nb'", "a\nb"),
        ("'a--b'", "a--b"),
        ("'a--b' -- 'it''s'", "a--b"),
        ("$$it's$$", "it's"),
        ("$x$a''b$x$", "a''b"),
        ("'a' || '''''b'", "a''b"),
    ] {
        // A comment ends a line, and more follows the condition in some places.
        let literal =
            if literal.contains(" -- ") { format!("{literal}\n") } else { literal.into() };
        selects_only(&values, &literal, value, usize::MAX).await;
    }
}

fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec![
            "'", "''", "'''", "\\", "\\'", "\\\\", "\\n", "--", "/*", "*/", "/*!", "\n", "\r\n",
            "\r", "\t", ";", "\"", "\"\"", "`", "$$", "$1", "%", "_", "(", ")", ") OR (", "?", "@",
            "{", "U&'", "E'", "é", "日本", "\u{301}", "😀", "\u{2028}", "a", "b", " ", "0",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a value holds, its literal selects its row and no other, by every way that SQL takes.
    #[test]
    fn any_literal_selects_exactly_its_row(
        values in prop::collection::vec(value(), 1..4),
        pick in any::<prop::sample::Index>(),
    ) {
        let value = &values[pick.index(values.len())];
        let literal = format!("'{}'", value.replace('\'', "''"));
        let all = with_decoys(&values.iter().map(String::as_str).collect::<Vec<_>>());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(selects_only(&all, &literal, value, PLAIN_WAYS));
    }
}

async fn sales() -> World {
    let world = World::new();
    world.add("sales", &numbers(0..6), 4).await;
    world
}

async fn out(world: &World, source: Source, columns: &str, filter: &str) -> String {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let selection = Selection { columns: some(columns), filter: some(filter), ..all() };
    csv(&read(world, source, selection).await)
}

#[tokio::test]
async fn what_users_write_stands_as_they_wrote_it() {
    let world = sales().await;
    let source = || Source::Dataset("sales".into());
    assert_eq!(out(&world, source(), "n", "n > - -4").await, "5");
    assert_eq!(out(&world, source(), "- -n AS m, n - -1 AS o", "n > 4").await, "5,6");
    assert_eq!(out(&world, source(), "n -- all", "n > 4 -- the last").await, "5");
    assert_eq!(out(&world, source(), "n, /* , */ f,", "/* x */ n > 4 /* y */").await, "5,2.5");
    assert_eq!(out(&world, source(), "n", "n = 1 OR n = 2").await, "1;2");
    let text = "SELECT - -n AS n FROM sales -- all";
    assert_eq!(out(&world, Source::Sql(text.into()), "", "n > 4").await, "5");
    assert_eq!(out(&world, Source::Sql(text.into()), "", "").await, "0;1;2;3;4;5");
    let mut selection = filtered("n = 1 OR n = 4 --");
    selection.since = chrono::DateTime::from_timestamp(3, 0);
    assert_eq!(csv(&read(&world, source(), selection).await), "4,b");
}

#[tokio::test]
async fn nothing_escapes_from_its_place() {
    let world = sales().await;
    for (columns, filter) in [
        ("n", "n > 4) OR (n < 4"),
        ("n", "n > 4) -- "),
        ("n", "n > 4 /*"),
        ("n", "n > 4 /* /* */"),
        ("n", "n > 4 /*! ) OR ( */"),
        ("n", "n > 4 /*! ) OR (n < 4 */"),
        ("n", "n > 4; SELECT 1"),
        ("n", "Text = 'a"),
        ("n", "\"n > 4"),
        ("n", "n > 4, n < 4"),
        ("n", "n > 4 ORDER BY n"),
        ("n", "n > 4 AND"),
        ("n", "-- n > 4"),
        ("n", " "),
        ("n", "SELECT true"),
        ("n FROM sales --", ""),
        ("n /*", ""),
        ("n FROM sales /*", ""),
        ("n /*! FROM sales */", ""),
        ("DISTINCT n", ""),
        ("TOP 1 n", ""),
        ("n;", ""),
        ("", "n > 4 UNION SELECT n"),
    ] {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let selection = Selection { columns: some(columns), filter: some(filter), ..all() };
        let error = world.bind_all(Source::Dataset("sales".into()), selection).await.unwrap_err();
        assert!(error.to_string().contains("not valid"), "{columns} | {filter}: {error}");
        assert_eq!(error.fault(), Fault::Request);
    }
}

#[tokio::test]
async fn unnamed_columns_are_named_as_they_read() {
    let world = sales().await;
    let columns = "n AS \"a\"\"b\", \"n\" * 2, \"n\" || '\"\"', 'a''''b', 'a''b'";
    let selection = Selection { columns: Some(columns.into()), ..filtered("n = 4") };
    let expected = ["a\"b", "\"n\" * 2", "\"n\" || '\"\"'", "'a''''b'", "'a''b'"];
    let bound = world.bind_all(Source::Dataset("sales".into()), selection.clone()).await.unwrap();
    let names: Vec<_> = bound.relation.output.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, expected);
    let found = read(&world, Source::Dataset("sales".into()), selection).await;
    assert_eq!(csv(&found), "4,8,\"4\"\"\"\"\",a''b,a'b");
    let text = format!("SELECT {columns} FROM sales WHERE n = 4");
    let (schema, _) = world.lake.sql(&workspace(), &text, world.now()).await.unwrap();
    let names: Vec<_> = schema.fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, expected);
    let picked = out(&world, Source::Sql(text), "\"\"\"n\"\" * 2\" AS m", "\"a\"\"b\" = 4").await;
    assert_eq!(picked, "8");
}

#[tokio::test]
async fn virtual_columns_stay_out_of_every_star_of_parts() {
    let world = sales().await;
    let window = |from, until| Selection {
        since: chrono::DateTime::from_timestamp(from, 0),
        until: chrono::DateTime::from_timestamp(until, 0),
        ..all()
    };
    let text = "SELECT * FROM sales WHERE _commit = 1 AND Text <> 'a''''b'";
    world.view("inner", text, Some("at"), Window::Input).await;
    let expected = "4,b,2.0,1970-01-01T00:00:04Z";
    let found = read(&world, Source::View("inner".into()), window(4, 5)).await;
    assert_eq!(csv(&found), expected);
    let named = "SELECT s.*, s._commit AS c FROM (SELECT *, _commit FROM sales) s";
    assert_eq!(
        out(&world, Source::Sql(named.into()), "", "n = 4").await,
        format!("{expected},1,1")
    );
    let named = "SELECT s.*, s._commit AS c FROM sales s";
    assert_eq!(out(&world, Source::Sql(named.into()), "", "n = 4").await, format!("{expected},1"));
}

#[tokio::test]
async fn no_name_of_a_dataset_is_taken() {
    let world = sales().await;
    world.add("_query", &numbers(7..9), 4).await;
    world.add("_all_sales", &numbers(10..12), 4).await;
    let text = "SELECT n FROM _query";
    assert_eq!(out(&world, Source::Sql(text.into()), "n", "n > 7").await, "8");
    world.view("v", "SELECT n, at, _commit FROM _all_sales", Some("at"), Window::Input).await;
    let since = chrono::DateTime::from_timestamp(11, 0);
    let selection = Selection { since, columns: Some("n, _commit".into()), ..all() };
    assert_eq!(csv(&read(&world, Source::View("v".into()), selection).await), "11,3");
}
