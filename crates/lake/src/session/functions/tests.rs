//! Tests of functions with a limit.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;

use crate::session::fixture::{World, numbers, rows};

async fn world() -> World {
    let world = World::new();
    world.add("sales", &numbers(0..3), 4).await;
    world
}

async fn check(sql: &str, expected: &str) {
    assert_eq!(world().await.sql(sql).await.unwrap(), expected, "{sql}");
}

async fn fail(sql: &str, words: &str) {
    let error = world().await.sql(sql).await.unwrap_err();
    assert!(error.to_string().contains(words), "{sql}: {error}");
}

#[tokio::test]
async fn a_long_chain_of_joins_is_one_function() {
    let mut sql = "SELECT length(Text".to_owned();
    for _ in 0..50 {
        write!(sql, " || Text || n").unwrap();
    }
    sql.push_str(") FROM sales WHERE n = 1");
    check(&sql, "101").await;
}

#[tokio::test]
async fn joins_with_null_are_null() {
    let world = World::new();
    world.add("d", &rows(&[(Some(1), None, None), (None, Some("b"), None)]), 4).await;
    world.add("d", &rows(&[(Some(3), Some("c"), Some(1.5))]), 4).await;
    let sql = "SELECT count(*) FROM d WHERE ('x' || Text || n) IS NULL";
    assert_eq!(world.sql(sql).await.unwrap(), "2");
    let sql = "SELECT 'x' || (Text || n) || '-' || f FROM d WHERE n = 3";
    assert_eq!(world.sql(sql).await.unwrap(), "xc3-1.5");
    check("SELECT ('a' || NULL) IS NULL", "true").await;
    check("SELECT array_to_string([1] || [2, 3] || 4, '-')", "1-2-3-4").await;
}

#[tokio::test]
async fn operators_have_the_limits_of_functions() {
    let doubled = |step: &str| {
        format!(
            "WITH RECURSIVE t AS (SELECT {step} AS a, 1 AS i UNION ALL SELECT a || a, i + 1 FROM t \
             WHERE i < 40) SELECT count(*) FROM t"
        )
    };
    fail(&doubled("[1]"), "`array_concat` would make").await;
    fail(&doubled("'x'"), "`||` would make").await;
    fail(&doubled("arrow_cast('x', 'Binary')"), "`||` would make").await;
    let long = "repeat(Text, 9000000)";
    fail(&format!("SELECT [{long}, {long}] FROM sales WHERE n = 1"), "`make_array`").await;
    fail(&format!("SELECT array_append([{long}], {long}) FROM sales LIMIT 1"), "array_append")
        .await;
    fail(&format!("SELECT [make_map(n, {long}), make_map(n, {long})] FROM sales"), "`make_array`")
        .await;
}

#[tokio::test]
async fn the_text_for_null_counts() {
    let nulls = "array_repeat(CAST(NULL AS BIGINT), 100000)";
    let sql = format!("SELECT array_to_string({nulls}, ',', repeat('x', 10000))");
    fail(&sql, "`array_to_string` would make").await;
    let many = "SELECT length(array_to_string(range(100000), ', '))";
    check(many, "688888").await;
}

#[tokio::test]
async fn far_dates_make_long_series() {
    let sql = "SELECT generate_series(arrow_cast(-2000000000, 'Date32'), \
               arrow_cast(2000000000, 'Date32'), INTERVAL '1 day')";
    fail(sql, "`generate_series` would make").await;
    let days = "SELECT cardinality(generate_series(DATE '2026-01-01', DATE '2026-01-31', \
                INTERVAL '1 day'))";
    check(days, "31").await;
}

#[tokio::test]
async fn whole_numbers_do_not_wrap_around() {
    let max = "arrow_cast(9223372036854775807, 'Int64')";
    let min = "(-9223372036854775807 - 1)";
    let at_the_end = [
        format!("SELECT {max} - n + n FROM sales WHERE n = 2"),
        format!("SELECT {max} * 1 FROM sales WHERE n = 2"),
        format!("SELECT sum({max} * (n - 1)) + {max} FROM sales"),
        format!("SELECT sum({max} - 3 * n) FROM sales GROUP BY n HAVING n = 0"),
    ];
    for sql in at_the_end {
        check(&sql, "9223372036854775807").await;
    }
    let beyond = [
        format!("SELECT {max} + n FROM sales WHERE n > 0"),
        format!("SELECT {min} - n FROM sales WHERE n > 0"),
        format!("SELECT {max} * n FROM sales WHERE n = 2"),
        format!("SELECT n * {max} AS x FROM sales WHERE n = 2"),
        format!("SELECT -({min} + n) FROM sales"),
        format!("SELECT sum({max} - n) FROM sales"),
        format!("SELECT n % 2, sum({max} - n) FROM sales GROUP BY n % 2"),
        format!("SELECT sum({max} - n) OVER (ROWS 1 PRECEDING) FROM sales"),
        "SELECT arrow_cast(n + 100, 'Int8') * arrow_cast(n, 'Int8') FROM sales".to_owned(),
    ];
    for sql in beyond {
        fail(&sql, "a number is too large for its type (").await;
    }
    // Names, types and results stay those of the operators.
    check("SELECT arrow_typeof(sum(n)) FROM sales", "Int64").await;
    check("SELECT sum(DISTINCT n % 2) FROM sales", "1").await;
    check("SELECT \"sales.n + Int64(1)\" FROM (SELECT n + 1 FROM sales WHERE n = 2)", "3").await;
    check("SELECT -n FROM sales WHERE n = 2", "-2").await;
}

#[tokio::test]
async fn fields_are_renamed_in_their_order() {
    check("SELECT rename_fields(named_struct('a', 1, 'b', 2), 'x', 'y')['y']", "2").await;
    let entries = "rename_fields(map_entries(make_map('k', 7)), 'name', 'value')";
    check(&format!("SELECT {entries}[1]['name']"), "k").await;
    check(&format!("SELECT {entries}[1]['value']"), "7").await;
    let sql = "SELECT count(rename_fields(CASE n WHEN 1 THEN map_entries(make_map('k', n)) END, 'a', 'b')) FROM sales";
    check(sql, "1").await;
}

#[tokio::test]
async fn names_of_fields_must_fit() {
    fail("SELECT rename_fields(named_struct('a', 1), 'x', 'y')", "2 names for 1 fields").await;
    fail("SELECT rename_fields(1, 'x')", "takes a struct or a list of structs").await;
    fail("SELECT rename_fields(named_struct('a', 1), Text) FROM sales", "constant texts").await;
    fail("SELECT rename_fields(named_struct('a', 1), 1)", "constant texts").await;
}
