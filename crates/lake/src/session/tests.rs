//! Tests of what planning and running may take.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;

use model::{Code, Failure};

use super::fixture::{World, numbers};
use super::*;

async fn world(limits: Limits, rows: i64) -> World {
    let world = World::with_limits(limits);
    world.add("sales", &numbers(0..rows), 1 << 20).await;
    world
}

async fn fail(limits: Limits, sql: &str, words: &str) {
    let error = world(limits, 10).await.sql(sql).await.unwrap_err();
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test]
async fn planning_has_a_deadline() {
    let gate = Arc::new(std::sync::Barrier::new(2));
    let closed = Arc::clone(&gate);
    let work = async move {
        closed.wait();
        Ok(())
    };
    let error = run::within(Deadline::start(0.05), work).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error}");
    gate.wait();
    let work = std::future::pending::<Result<(), Error>>();
    let error = run::within(Deadline::start(0.05), work).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error}");
    let none = Limits { seconds: 0.0, ..Limits::default() };
    fail(none, "SELECT n FROM sales", "took longer than its 0 seconds").await;
    // Planning has less time than the query, but never more.
    for (query, planning, words) in [
        (3600.0, 0.05, "planning the query took longer than 0.05 seconds"),
        (0.05, 3600.0, "the query took longer than its 0.05 seconds"),
    ] {
        let work = std::future::pending::<Result<(), Error>>();
        let deadline = Deadline::start(query).or_planning(planning);
        let error = run::within(deadline, work).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[tokio::test]
async fn plans_that_double_are_refused() {
    let doubling = |steps: usize| {
        let mut sql = "WITH a0 AS (SELECT n FROM sales)".to_owned();
        for step in 1..=steps {
            let before = step - 1;
            write!(sql, ", a{step} AS (SELECT x.n FROM a{before} x, a{before} y)").unwrap();
        }
        format!("{sql} SELECT count(*) FROM a{steps}")
    };
    // The plan is too large where the text just fits, and planning a longer one would never end.
    fail(Limits::default(), &doubling(13), "more than 10000 steps").await;
    fail(Limits::default(), &doubling(60), "more than 10000 steps").await;
    let world = world(Limits::default(), 1).await;
    assert_eq!(world.sql(&doubling(4)).await.unwrap(), "1");
    let inside = "SELECT (SELECT count(*) FROM a60) FROM sales";
    let error = world.sql(&doubling(60).replace("SELECT count(*) FROM a60", inside)).await;
    assert!(error.unwrap_err().to_string().contains("more than 10000 steps"));
}

#[tokio::test]
async fn texts_that_nest_too_deep_are_refused() {
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{}SELECT n FROM sales{}", open.repeat(depth), close.repeat(depth))
    };
    let with = nested("WITH t AS (", ") SELECT * FROM t", 20);
    fail(Limits::default(), &with, "`WITH` queries inside each other, more than 6 deep").await;
    let plain = nested("SELECT * FROM (", ")", 40);
    let error = world(Limits::default(), 10).await.sql(&plain).await.unwrap_err();
    assert!(
        error.to_string().contains("deep") || error.to_string().contains("recursion"),
        "{error}"
    );
    let fine = nested("WITH t AS (", ") SELECT * FROM t", 4);
    assert_eq!(world(Limits::default(), 1).await.sql(&fine).await.unwrap(), "0");
}

#[tokio::test]
async fn windows_ask_for_memory() {
    let small = || Limits { memory_bytes: 1 << 20, ..Limits::default() };
    let world = world(small(), 200_000).await;
    let error = world.sql("SELECT max(s) FROM (SELECT sum(n) OVER () AS s FROM sales)").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("more than its 1 MiB of memory"), "{error}");
    let back = "SELECT max(s) FROM (SELECT sum(n) OVER (ROWS 1000000 PRECEDING) AS s FROM sales)";
    let error = world.sql(back).await.unwrap_err().to_string();
    assert!(error.contains("more than its 1 MiB of memory"), "{error}");
    // What passes by is given back.
    let rows = "SELECT max(r) FROM (SELECT row_number() OVER () AS r FROM sales)";
    assert_eq!(world.sql(rows).await.unwrap(), "200000");
    let some = "SELECT max(s) FROM (SELECT sum(n) OVER () AS s FROM sales WHERE n < 100)";
    assert_eq!(world.sql(some).await.unwrap(), "4950");
}

#[tokio::test]
async fn windows_do_not_collect() {
    for function in ["array_agg(n)", "string_agg(Text, ',')"] {
        let sql = format!("SELECT {function} OVER () AS x FROM sales");
        fail(Limits::default(), &sql, "cannot be used with `over`").await;
    }
}

#[tokio::test]
async fn constants_count_together() {
    let long = |text: &str| format!("repeat('{text}', 10000)");
    let (one, two) = (long("x"), long("y"));
    let sql = format!("SELECT concat({one}, n) AS a, concat({two}, n) AS b FROM sales");
    fail(Limits::default(), &sql, "constants would make").await;
    let world = world(Limits::default(), 2).await;
    let sql = format!("SELECT length(concat({one}, n)) FROM sales WHERE n = 1 AND Text <> {two}");
    assert_eq!(world.sql(&sql).await.unwrap(), "10001");
    let sql = format!("SELECT length(CASE n WHEN 0 THEN {one} ELSE {two} END) FROM sales");
    assert_eq!(world.sql(&sql).await.unwrap(), "10000;10000");
}
