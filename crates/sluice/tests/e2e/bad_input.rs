//! Bad input: one clear line, the right exit code, and nothing half done.

use std::io::Write;

use crate::helper::{Sluice, numbers, text};

const ORDERS: &str =
    "{\"id\":1,\"price\":1.5,\"name\":\"a\"}\n{\"id\":2,\"price\":2.5,\"name\":\"b\"}\n";

fn with_orders() -> (Sluice, String) {
    let sluice = Sluice::new();
    let file = sluice.file("orders.jsonl", ORDERS);
    sluice.ok(&["import", "orders", &file]);
    let out = text(&sluice.path("out"));
    (sluice, out)
}

/// Asserts that an import fails with exit code 3 and leaves neither dataset nor files.
#[track_caller]
fn import_fails(name: &str, content: impl AsRef<[u8]>, words: &[&str]) {
    let sluice = Sluice::new();
    let file = sluice.file(name, content);
    sluice.fails(&["import", "d", &file], 3, &[&[name], words].concat());
    assert_eq!(sluice.json(&["dataset", "list"]), serde_json::json!([]));
    let left: Vec<_> = walk(&sluice.path("sluice-data/lake"));
    assert!(left.is_empty(), "{left:?}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(content).expect("a vector takes all");
    out.finish().expect("a vector takes all")
}

#[test]
fn a_missing_file_is_named() {
    let sluice = Sluice::new();
    sluice.fails(&["import", "d", "nowhere.csv"], 3, &["nowhere.csv"]);
}

#[test]
fn an_empty_file_is_refused() {
    import_fails("empty.jsonl", "", &["empty"]);
}

#[test]
fn a_truncated_parquet_file_is_refused() {
    let real = include_bytes!("../../data/online_retail.parquet");
    import_fails("cut.parquet", &real[..real.len() / 2], &[]);
}

#[test]
fn a_damaged_parquet_file_is_refused() {
    let mut real = include_bytes!("../../data/online_retail.parquet").to_vec();
    let middle = real.len() / 2;
    for byte in &mut real[middle..middle + 4096] {
        *byte ^= 0x5a;
    }
    import_fails("damaged.parquet", real, &[]);
}

#[test]
fn a_truncated_gzip_file_is_refused() {
    let whole = gzip(numbers(0, 10_000).as_bytes());
    import_fails("cut.jsonl.gz", &whole[..whole.len() - 100], &[]);
}

#[test]
fn invalid_json_is_named_by_line() {
    import_fails("bad.jsonl", "{\"a\":1}\n{\"a\":2}\n{\"a\":\n", &["line 3"]);
}

#[test]
fn a_csv_row_with_a_wrong_field_count_is_named_by_line() {
    import_fails("bad.csv", "a,b\n1,2\n\"x\ny\",4\n5\n", &["line 5"]);
}

#[test]
fn invalid_utf8_is_named_by_line() {
    import_fails("bad.csv", b"a,b\n1,2\n3,\xff\xfe\n", &["line 3", "UTF-8"]);
}

#[test]
fn mixed_types_are_refused() {
    import_fails("mixed.jsonl", "{\"a\":1}\n{\"a\":\"x\"}\n", &["`a`"]);
}

#[test]
fn a_type_conflict_with_the_dataset_is_named() {
    let (sluice, _) = with_orders();
    let file = sluice.file("more.jsonl", "{\"id\":3,\"price\":\"cheap\",\"name\":\"c\"}\n");
    sluice.fails(&["import", "orders", &file], 3, &["more.jsonl", "`price`"]);
    assert_eq!(sluice.json(&["dataset", "show", "orders"])["rows"], 2);
}

#[test]
fn one_bad_file_of_several_imports_none() {
    let (sluice, _) = with_orders();
    let good = sluice.file("good.jsonl", ORDERS);
    let bad = sluice.file("bad.jsonl", "{\"id\":1}\nnonsense\n");
    sluice.fails(&["import", "orders", &good, &bad], 3, &["bad.jsonl", "line 2"]);
    assert_eq!(sluice.json(&["dataset", "show", "orders"])["rows"], 2);
}

#[test]
fn a_partial_import_takes_the_good_rows_and_names_the_bad() {
    let sluice = Sluice::new();
    let file = sluice.file("bad.jsonl", "{\"a\":1}\nnonsense\n{\"a\":3}\n");
    let report = sluice.json(&["import", "d", &file, "--partial"]);
    assert_eq!((&report["rows"], &report["rejected"]), (&2.into(), &1.into()));
    let rejects = std::fs::read_to_string(report["rejects"].as_str().expect("a path"));
    let rejects = rejects.expect("it is there");
    let row: serde_json::Value = serde_json::from_str(rejects.trim()).expect("one JSON line");
    assert_eq!(row["line"], 2);
    assert_eq!(row["text"], "nonsense");
}

#[test]
fn a_key_with_other_content_is_refused() {
    let (sluice, _) = with_orders();
    let a = sluice.file("a.jsonl", ORDERS);
    let b = sluice.file("b.jsonl", "{\"id\":9}\n");
    sluice.ok(&["import", "orders", &a, "--key", "k"]);
    let again = sluice.json(&["import", "orders", &a, "--key", "k"]);
    assert_eq!(again["repeated"], true);
    sluice.fails(&["import", "orders", &b, "--key", "k"], 2, &["`k`"]);
    assert_eq!(sluice.json(&["dataset", "show", "orders"])["rows"], 4);
}

#[test]
fn unknown_names_come_with_the_nearest() {
    let (sluice, out) = with_orders();
    let export = |more: &[&str]| {
        [&["export", "run", "--to", &out][..], more]
            .concat()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let cases: &[(Vec<String>, &[&str])] = &[
        (export(&["--dataset", "order"]), &["`order`", "`orders`"]),
        (export(&["--view", "nothing"]), &["`nothing`"]),
        (export(&["--dataset", "orders", "--where", "prise > 1"]), &["prise", "price"]),
        (export(&["--dataset", "orders", "--columns", "upperr(name)"]), &["upperr", "upper"]),
        (export(&["--dataset", "orders", "--format", "jsonll"]), &["jsonll", "jsonl"]),
        (export(&["--dataset", "orders", "--compression", "snappy"]), &["snappy", "gzip"]),
        (export(&["--dataset", "orders", "--option", "jsonl.int=x"]), &["jsonl.int"]),
        (export(&["--dataset", "orders", "--to-commit", "99"]), &["99"]),
        (export(&["--sql", "SELECT * FROM order_s"]), &["order_s"]),
    ];
    for (args, words) in cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        sluice.fails(&args, 2, words);
    }
    sluice.fails(&["sql", "SELECT prise FROM orders"], 2, &["prise", "price"]);
    sluice.fails(&["run", "show", "nope"], 2, &["`nope`"]);
    sluice.fails(&["dataset", "show", "ordres"], 2, &["`ordres`", "`orders`"]);
    assert!(!sluice.path("out").exists(), "nothing was written");
}

#[test]
fn volatile_functions_are_refused_in_exports() {
    let (sluice, out) = with_orders();
    let args = ["export", "run", "--dataset", "orders", "--to", &out, "--where", "random() < 0.5"];
    sluice.fails(&args, 2, &["random"]);
}

#[test]
fn time_windows_need_a_time_column() {
    let (sluice, out) = with_orders();
    let since = "2024-01-01T00:00:00Z";
    let args = ["export", "run", "--dataset", "orders", "--to", &out, "--since", since];
    sluice.fails(&args, 2, &["time column"]);
}

#[test]
fn destinations_that_cannot_be_written_are_named() {
    let (sluice, _) = with_orders();
    let file = sluice.file("a_file", "here");
    let below = format!("{file}/out");
    sluice.fails(&["export", "run", "--dataset", "orders", "--to", &below], 4, &["a_file"]);
    let to = |to| ["export", "run", "--dataset", "orders", "--to", to];
    sluice.fails(&to("gs://bucket/x"), 2, &["gs", "not built yet"]);
    sluice.fails(&to("gopher://x"), 2, &["gopher"]);
    let runs = sluice.json(&["run", "list"]);
    assert!(runs.as_array().expect("an array").iter().all(|run| run["resumable"] == false));
}

#[test]
fn a_full_disk_ends_the_run_and_leaves_nothing_half_done() {
    let (sluice, _) = with_orders();
    // `/dev/full` is no folder; a file size limit of the process stands for the full disk.
    let big = sluice.file("big.jsonl", numbers(0, 200_000));
    sluice.ok(&["import", "big", &big]);
    let out = text(&sluice.path("out"));
    let limited = std::process::Command::new("bash")
        .arg("-c")
        .arg("trap '' XFSZ; ulimit -f 2048; exec \"$@\"")
        .arg("bash")
        .arg(env!("CARGO_BIN_EXE_sluice"))
        .args(["export", "run", "--dataset", "big", "--to", &out])
        .current_dir(sluice.path(""))
        .output()
        .expect("the program starts");
    let stderr = String::from_utf8_lossy(&limited.stderr);
    assert_eq!(limited.status.code(), Some(4), "{stderr}");
    assert!(walk(&sluice.path("out")).is_empty(), "{:?}", walk(&sluice.path("out")));
    assert_eq!(sluice.json(&["run", "list"])[0]["state"], "failed");
}

#[test]
fn name_templates_that_collide_are_refused() {
    let (sluice, out) = with_orders();
    let args =
        ["export", "run", "--dataset", "orders", "--to", &out, "--file-rows", "1", "--name", "all"];
    sluice.fails(&args, 2, &["{part}"]);
    let args = ["export", "run", "--dataset", "orders", "--to", &out, "--name", "../x-{part}"];
    sluice.fails(&args, 2, &["../x"]);
    assert!(!sluice.path("out").exists());
}

#[test]
fn overlapping_ranges_are_refused() {
    let (sluice, out) = with_orders();
    let export = ["export", "run", "--dataset", "orders", "--to", &out, "--incremental", "e"];
    sluice.ok(&export);
    let from_zero = [&export[..], &["--from-commit", "0"]].concat();
    sluice.fails(&from_zero, 2, &["ask for it `again`"]);
    let again = [&export[..], &["--again"]].concat();
    sluice.ok(&["verify", &sluice.ok(&again), "--chain"]);
    let beyond = [&export[..], &["--from-commit", "99"]].concat();
    sluice.fails(&beyond, 2, &["no commit 99"]);
    let other = [&export[..], &["--format", "csv"]].concat();
    sluice.fails(&other, 2, &["`e`", "format"]);
}

#[test]
fn sql_is_one_select_and_bounded() {
    let (sluice, _) = with_orders();
    let refused = [
        "DROP TABLE orders",
        "CREATE TABLE x AS SELECT 1",
        "COPY orders TO '/tmp/x'",
        "SET datafusion.execution.batch_size = 1",
        "SHOW ALL",
        "SELECT 1; SELECT 2",
        "INSERT INTO orders VALUES (1)",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "",
    ];
    for sql in refused {
        let said = sluice.run(&["sql", sql]);
        assert_eq!(said.code, 2, "{sql}: {}{}", said.stdout, said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{sql}: {}", said.stderr);
    }
    let grows = [
        "SELECT length(repeat('x', 1000000000))",
        "SELECT sum(v) FROM (SELECT unnest(generate_series(1, 1000000000000)) AS v)",
    ];
    for sql in grows {
        let said = sluice.run(&["sql", sql]);
        assert!(matches!(said.code, 2 | 3), "{sql}: {}{}", said.stdout, said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{sql}: {}", said.stderr);
    }
}

#[test]
fn a_changed_file_is_found_by_verify() {
    let (sluice, out) = with_orders();
    let manifest = sluice.ok(&["export", "run", "--dataset", "orders", "--to", &out]);
    sluice.ok(&["verify", &manifest]);
    let (content, folder) = crate::helper::manifest(&manifest);
    let file = folder.join(content["files"][0]["path"].as_str().expect("a path"));
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("2.5", "2.6")).expect("written");
    let said = sluice.run(&["verify", &manifest]);
    assert_eq!(said.code, 5, "{}{}", said.stdout, said.stderr);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(sluice.run(&["verify", &manifest]).code, 5);
    sluice.fails(&["verify", "nowhere/manifest.json"], 3, &["nowhere"]);
}

#[test]
fn a_folder_of_a_newer_version_is_refused() {
    let sluice = Sluice::new();
    sluice.ok(&["dataset", "list"]);
    std::fs::write(sluice.path("sluice-data/VERSION"), "99\n").expect("written");
    sluice.fails(&["dataset", "list"], 2, &["newer"]);
}

#[test]
fn an_unknown_setting_is_refused() {
    let sluice = Sluice::new();
    let config = sluice.file("sluice.toml", "[work]\nthraeds = 2\n");
    sluice.fails(&["--config", &config, "dataset", "list"], 2, &["thraeds"]);
}

#[test]
fn an_export_does_not_go_on_under_a_name_that_means_something_else() {
    let (sluice, out) = with_orders();
    let view = |sql: &str| sluice.ok(&["view", "create", "v", sql]);
    view("SELECT id FROM orders");
    let of_view = ["export", "run", "--view", "v", "--to", &out, "--incremental", "ev"];
    sluice.ok(&of_view);
    sluice.ok(&["view", "drop", "v"]);
    view("SELECT id * 100 AS id FROM orders");
    sluice.fails(&of_view, 2, &["`ev`", "view"]);

    let of_dataset = ["export", "run", "--dataset", "orders", "--to", &out, "--incremental", "ed"];
    sluice.ok(&of_dataset);
    sluice.ok(&["dataset", "drop", "orders"]);
    let file = sluice.file("again.jsonl", ORDERS);
    sluice.ok(&["import", "orders", &file]);
    sluice.fails(&of_dataset, 2, &["`ed`", "dataset"]);
}

#[test]
fn arguments_that_cannot_be_read_are_one_line() {
    let sluice = Sluice::new();
    sluice.fails(&["frob"], 2, &["frob"]);
    sluice.fails(
        &["export", "run", "--dataset", "d", "--to", "o", "--since", "x"],
        2,
        &["--since"],
    );
    sluice.fails(&["export", "run", "--to", "o"], 2, &["--dataset"]);
    let schema = sluice.file("s.json", r#"{"fields":[{"name":"_commit","type":"int64"}]}"#);
    sluice.fails(&["dataset", "create", "d", "--schema", &schema], 3, &["`_commit`"]);
}

#[test]
fn a_place_where_nothing_can_be_made_ends_the_run() {
    let (sluice, _) = with_orders();
    sluice.fails(&["export", "run", "--dataset", "orders", "--to", "/proc/x"], 4, &["/proc/x"]);
    assert_eq!(sluice.json(&["run", "list"])[0]["state"], "failed");
}

#[test]
fn schemas_that_no_file_could_hold_are_refused() {
    let sluice = Sluice::new();
    let (open, close) = (r#""type":"list","item":{"name":"item","#.repeat(40), "}".repeat(40));
    let deep = format!(r#"{{"fields":[{{"name":"a",{open}"type":"int8"{close}}}]}}"#);
    let bad = [
        (r#"{"fields":[{"name":"","type":"int64"}]}"#, "no name"),
        (r#"{"fields":[{"name":"s","type":"struct","fields":[]}]}"#, "without fields"),
        (
            r#"{"fields":[{"name":"m","type":"map","key":{"name":"key","type":"string"},
                "value":{"name":"value","type":"int64"}}]}"#,
            "nullable",
        ),
        (r#"{"fields":[{"name":"a","type":"int64","nulable":false}]}"#, "`nulable`"),
        (deep.as_str(), "too deep"),
    ];
    for (content, word) in bad {
        let schema = sluice.file("s.json", content);
        sluice.fails(&["dataset", "create", "d", "--schema", &schema], 3, &[word]);
    }
    sluice.fails(&["dataset", "create", "d", "--time", ""], 2, &["time column has no name"]);
    assert_eq!(sluice.json(&["dataset", "list"]), serde_json::json!([]));
}

#[test]
fn numbers_that_do_not_fit_fail_the_export() {
    let (sluice, out) = with_orders();
    let large = "id * 9223372036854775807 AS x";
    let args = ["export", "run", "--dataset", "orders", "--to", &out, "--columns", large];
    sluice.fails(&args, 3, &["too large for its type", "9223372036854775807"]);
    sluice.fails(&["sql", "SELECT sum(id + 9223372036854775805) FROM orders"], 3, &["too large"]);
}

#[test]
fn a_first_use_that_failed_fixes_nothing() {
    let (sluice, out) = with_orders();
    let export = |columns: &'static str| {
        [
            "export",
            "run",
            "--dataset",
            "orders",
            "--to",
            &out,
            "--incremental",
            "e",
            "--columns",
            columns,
        ]
        .map(str::to_owned)
    };
    let words = export("1 / (id - 1) AS x");
    sluice.fails(&words.each_ref().map(String::as_str), 3, &["zero"]);
    let words = export("id");
    let manifest = sluice.ok(&words.each_ref().map(String::as_str));
    sluice.ok(&["verify", &manifest, "--chain"]);
    let words = export("name");
    sluice.fails(&words.each_ref().map(String::as_str), 2, &["`e`", "columns"]);
}

#[test]
fn what_others_wrote_does_not_move_the_terminal() {
    let (sluice, out) = with_orders();
    let said = sluice.run(&["dataset", "show", "a\u{1b}[31m\nb"]);
    assert_eq!((said.code, said.stderr.lines().count()), (2, 1), "{}", said.stderr);
    assert!(!said.stderr.contains('\u{1b}'), "{:?}", said.stderr);
    let config = sluice.file("sluice.toml", "[work\nthreads = 2\n");
    sluice.fails(&["--config", &config, "dataset", "list"], 2, &["sluice.toml"]);
    let config = sluice.file("sluice.toml", "[work]\nthreads = 99999999\n");
    sluice.fails(&["--config", &config, "dataset", "list"], 2, &["`work.threads`"]);
    let lake = text(&sluice.path("sluice-data/lake"));
    sluice.fails(&["export", "run", "--dataset", "orders", "--to", &lake], 2, &["another folder"]);
    sluice.ok(&["export", "run", "--dataset", "orders", "--to", &out]);
}
