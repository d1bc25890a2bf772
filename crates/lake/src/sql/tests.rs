//! Tests of queries: answers, limits, refusals.
#![expect(clippy::unwrap_used, reason = "tests")]

use model::dataset::Window;
use model::{Code, Fault};

use super::*;
use crate::Limits;
use crate::session::fixture::{World, numbers, workspace};

async fn world() -> World {
    let world = World::new();
    world.add("sales", &numbers(0..10), 4).await;
    world.add("sales", &numbers(10..12), 4).await;
    world
}

async fn check(sql: &str, expected: &str) {
    assert_eq!(world().await.sql(sql).await.unwrap(), expected, "{sql}");
}

/// Refused before it runs.
async fn refuse(sql: &str, words: &str) {
    let error = world().await.sql(sql).await.unwrap_err();
    assert!(error.to_string().contains(words), "{sql}: {error}");
    assert_eq!(error.fault(), Fault::Request, "{sql}: {error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// Fails while it runs.
async fn fail(limits: Limits, sql: &str, words: &str) {
    let world = World::with_limits(limits);
    world.add("sales", &numbers(0..1000), 100).await;
    let error = world.sql(sql).await.unwrap_err();
    assert!(error.to_string().contains(words), "{sql}: {error}");
    assert_eq!(error.fault(), Fault::Source, "{sql}: {error}");
}

#[tokio::test]
async fn answers_queries() {
    check("SELECT count(*) FROM sales", "12").await;
    check("SELECT n, Text FROM sales WHERE n > 9 ORDER BY n DESC", "11,c;10,b").await;
    check("SELECT sum(n) FROM sales WHERE Text = 'a'", "18").await;
    check("SELECT max(f) FROM sales WHERE at < '1970-01-01T00:00:03Z'", "1.0").await;
    check("WITH t AS (SELECT n FROM sales) SELECT count(*) FROM t JOIN sales USING (n)", "12")
        .await;
    check("SELECT 1 AS one", "1").await;
    check("SELECT length(repeat('x', 1000000))", "1000000").await;
    let grouped = "SELECT upper(s.Text), count(*) FROM sales s GROUP BY upper(s.Text) \
                   ORDER BY count(*), upper(s.Text) DESC";
    check(grouped, "C,4;B,4;A,4").await;
    check("SELECT s.n FROM sales s WHERE s.n > 9 ORDER BY s.n DESC", "11;10").await;
    check("SELECT 'a' || Text || n FROM sales WHERE n = 1", "ab1").await;
    check("SELECT count(*) FROM sales WHERE ('x' || CAST(NULL AS VARCHAR)) IS NULL", "12").await;
    check("SELECT concat('a', NULL, Text) FROM sales WHERE n = 2", "ac").await;
}

#[tokio::test]
async fn virtual_columns_come_out_only_by_name() {
    check("SELECT _commit, count(*) FROM sales GROUP BY _commit ORDER BY 1", "1,10;2,2").await;
    check("SELECT * FROM sales WHERE _commit = 2 AND n = 10", "10,b,5.0,1970-01-01T00:00:10Z")
        .await;
    check("SELECT x.n, x._commit FROM (SELECT n, _commit FROM sales) x WHERE x.n = 11", "11,2")
        .await;
    check("SELECT * FROM (SELECT n, _commit FROM sales) x WHERE n = 11", "11,2").await;
    check(
        "SELECT a.* EXCLUDE (f, at), b.n AS m FROM sales a JOIN sales b ON a.n = b.n + 1 \
         WHERE a._commit = 2 AND b._commit = 1",
        "10,b,9",
    )
    .await;
    check("SELECT count(*) FROM sales WHERE _commit_time > '2026-01-02T03:04:06Z'", "2").await;
    let world = world().await;
    let (schema, _) =
        world.lake.sql(&workspace(), "SELECT * FROM sales", world.now()).await.unwrap();
    assert_eq!(schema.fields.len(), 4);
}

#[tokio::test]
async fn only_one_select_is_taken() {
    for (sql, words) in [
        ("CREATE TABLE x AS SELECT 1", "`CREATE` is not allowed"),
        ("DROP TABLE sales", "`DROP` is not allowed"),
        ("INSERT INTO sales VALUES (1)", "`INSERT` is not allowed"),
        ("COPY sales TO 'x.csv'", "`COPY` is not allowed"),
        ("SET datafusion.execution.batch_size = 1", "`SET` is not allowed"),
        ("SHOW TABLES", "`SHOW` is not allowed"),
        ("EXPLAIN SELECT 1", "`EXPLAIN` is not allowed"),
        ("DESCRIBE sales", "is not allowed"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "is not allowed"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("", "empty"),
        ("SELECT * FROM generate_series(1, 10)", "table function `generate_series`"),
        ("SELECT * FROM range(10)", "table function `range`"),
        ("SELECT * FROM read_csv('/etc/passwd')", "table function `read_csv`"),
        ("SELECT * FROM '/etc/passwd'", "no dataset or view `/etc/passwd`"),
        ("SELECT * FROM information_schema.tables", "no dataset or view"),
        ("SELECT n INTO x FROM sales", "is not allowed"),
        ("SELECT * FROM sales FOR UPDATE", "`FOR UPDATE`"),
        ("SELECT * FROM sales TABLESAMPLE (10)", "not allowed"),
    ] {
        refuse(sql, words).await;
    }
}

#[tokio::test]
async fn unknown_names_are_answered_with_the_nearest() {
    refuse("SELECT * FROM Sale", "no dataset or view `Sale`; did you mean `sales`?").await;
    refuse("SELECT text FROM sales", "no column `text`; did you mean `Text`?").await;
    refuse("SELECT uper(Text) FROM sales", "no function `uper`; did you mean `upper`?").await;
    refuse("SELECT zzzzzz FROM sales", "no column `zzzzzz`").await;
    refuse("SELECT n FROM sales WHERE", "the SQL text is not valid: Expected").await;
    refuse("SELECT a.n AS x, b.n AS x FROM sales a, sales b", "`x` appears twice").await;
    refuse("SELECT a.n, b.n FROM sales a, sales b", "`n` appears twice").await;
    refuse("SELECT n FROM sales a, sales b", "in more than one table").await;
    refuse("SELECT _commit FROM sales NATURAL JOIN sales b", "`NATURAL JOIN`").await;
}

#[tokio::test]
async fn limits_end_queries() {
    let usual = Limits::default;
    fail(usual(), "SELECT repeat('x', 1000000000)", "`repeat` would make").await;
    fail(usual(), "SELECT repeat(Text, 1000000) FROM sales", "`repeat` would make").await;
    fail(usual(), "SELECT rpad(Text, 1000000000, 'x') FROM sales", "`rpad` would make").await;
    fail(usual(), "SELECT array_repeat(1, 1000000000)", "`array_repeat` would make").await;
    fail(usual(), "SELECT unnest(generate_series(1, 1000000000000))", "`generate_series`").await;
    fail(usual(), "SELECT range(1000000000000)", "`range` would make").await;
    let nested = "SELECT replace(repeat('x', 1000000), 'x', repeat('y', 1000000))";
    fail(usual(), nested, "`replace` would make").await;
    let cross = "SELECT sum(a.n * b.n + c.n) FROM sales a, sales b, sales c";
    let short = Limits { seconds: 0.2, ..Limits::default() };
    fail(short, cross, "took longer than its 0.2 seconds").await;
    let wide = "SELECT count(*) FROM sales a, sales b, sales c, sales d WHERE a.n + d.n = -1";
    let narrow = Limits { memory_bytes: 1 << 20, ..Limits::default() };
    fail(narrow, wide, "the query needs more than its 1 MiB of memory").await;
    let constant = "SELECT n, repeat('x', 10000000) AS x FROM sales";
    fail(usual(), constant, "constants would make").await;
    let grows = "WITH RECURSIVE t AS (SELECT 'x' AS a UNION ALL SELECT a || a FROM t) \
                 SELECT max(length(a)) FROM t";
    fail(usual(), grows, "`||` would make").await;
    let small = Limits { memory_bytes: 1 << 20, spill_bytes: 0, ..Limits::default() };
    let sorts = "SELECT repeat(Text, 10000) || n AS x FROM sales ORDER BY x";
    fail(small, sorts, "the query").await;
}

#[tokio::test]
async fn rows_can_make_a_query_fail() {
    fail(Limits::default(), "SELECT n / (n - n) FROM sales", "division by zero").await;
    fail(Limits::default(), "SELECT CAST(Text AS BIGINT) FROM sales", "Cannot cast").await;
}

#[tokio::test]
async fn a_deleted_file_is_named() {
    use object_store::{ObjectStore, ObjectStoreExt, path::Path};
    let world = world().await;
    let files = world.store.list(None).try_collect::<Vec<_>>().await.unwrap();
    world.store.delete(&Path::from(files[0].location.as_ref())).await.unwrap();
    let error = world.sql("SELECT sum(n) FROM sales").await.unwrap_err();
    assert!(error.to_string().contains(files[0].location.as_ref()), "{error}");
    assert_eq!((error.fault(), error.code()), (Fault::Own, Code::Internal));
}

#[tokio::test]
async fn now_is_what_it_is_told_to_be() {
    let world = world().await;
    assert_eq!(world.sql("SELECT now()").await.unwrap(), "2026-01-02T03:04:07Z");
    assert_eq!(world.sql("SELECT current_date").await.unwrap(), "2026-01-02");
    assert_eq!(world.sql("SELECT current_timestamp").await.unwrap(), "2026-01-02T03:04:07Z");
}

#[tokio::test]
async fn views_stand_on_views_but_not_on_themselves() {
    let world = world().await;
    world.view("big", "SELECT n, Text FROM sales WHERE n > 8", None, Window::Output).await;
    world.view("bigger", "SELECT n * 2 FROM big WHERE n > 9", None, Window::Output).await;
    assert_eq!(world.sql("SELECT * FROM bigger ORDER BY 1").await.unwrap(), "20;22");
    let check = async |name: &str, sql: &str| {
        world.lake.check_view(&workspace(), name, sql, world.now()).await
    };
    let schema = check("next", "SELECT n * 2, Text FROM big").await.unwrap();
    assert_eq!(schema.fields[0].name, "n * 2");
    for (name, sql) in [("me", "SELECT * FROM me"), ("big", "SELECT * FROM bigger")] {
        let error = check(name, sql).await.unwrap_err();
        assert!(error.to_string().contains("refers to itself"), "{error}");
    }
    world.view("ring", "SELECT * FROM rong", None, Window::Output).await;
    world.view("rong", "SELECT * FROM ring", None, Window::Output).await;
    let error = world.sql("SELECT * FROM ring").await.unwrap_err();
    assert!(
        error.to_string().contains("`ring` refers to itself through `ring`, `rong`"),
        "{error}"
    );
}

#[tokio::test]
async fn files_of_an_older_schema_give_nulls() {
    use arrow::array::{ArrayRef, Int64Array, StructArray};
    use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
    use std::sync::Arc;
    let world = World::new();
    let make = |names: &[&str], value: i64| {
        let fields: Vec<Field> =
            names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect();
        let values = names.iter().map(|_| Arc::new(Int64Array::from(vec![value])) as ArrayRef);
        let inner = StructArray::new(fields.clone().into(), values.collect(), None);
        let field = Field::new("s", DataType::Struct(fields.into()), true);
        RecordBatch::try_new(Arc::new(ArrowSchema::new(vec![field])), vec![Arc::new(inner)])
            .unwrap()
    };
    world.add("d", &make(&["a"], 1), 10).await;
    world.add("d", &make(&["b", "a"], 2), 10).await;
    let found = world.sql("SELECT s.a, s.b FROM d ORDER BY 1").await.unwrap();
    assert_eq!(found, "1,;2,2");
    assert_eq!(world.sql("SELECT count(*) FROM d WHERE s.b IS NULL").await.unwrap(), "1");
}
