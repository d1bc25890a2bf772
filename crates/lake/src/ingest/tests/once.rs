//! Keys, races and lost replies: rows come in once or not at all.

use model::dataset::{CommitKind, NewCommit, NewDataset, SchemaStep};
use model::ports::Reserved;
use model::{BatchId, DatasetId, Fault};

use super::*;
use crate::testing::Trouble;

#[tokio::test]
async fn a_key_makes_a_repeat_return_the_first_answer() {
    let bench = Bench::new();
    let mut import = bench.import(&[("x.jsonl", b"{\"a\":1}")]);
    import.key = Some("k".into());
    let first = bench.run(&import).await.unwrap();
    let keys = bench.objects.keys();
    let again = bench.run(&import).await.unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!((again.commit, again.rows, again.batch), (first.commit, 1, first.batch));
    assert_eq!(bench.objects.keys(), keys);
    // The same content under another name is the same.
    import.files = vec![bench.file("other.jsonl", b"{\"a\":1}")];
    assert!(bench.run(&import).await.unwrap().repeated);
    import.files = vec![bench.file("x.jsonl", b"{\"a\":2}")];
    let error = bench.run(&import).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Request);
    assert_eq!(
        error.to_string(),
        "the key `k` was used before with other content, in commit 1; use a new key"
    );
    import.key = Some(String::new());
    bench.refuse_import(&import).await;
}

#[tokio::test]
async fn a_repeat_of_a_partial_import_tells_of_the_rows_that_were_rejected() {
    let bench = Bench::new();
    let mut import = bench.import(&[("x.jsonl", b"{\"a\":1}\n{\"a\":\n")]);
    (import.key, import.rejects) = (Some("k".into()), Some(bench.rejects()));
    let first = bench.run(&import).await.unwrap();
    assert_eq!((first.rejected, first.rejects.as_ref()), (1, Some(&bench.rejects())));
    import.rejects = Some(bench.rejects().with_extension("again"));
    let again = bench.run(&import).await.unwrap();
    assert!(again.repeated);
    assert_eq!((again.rejected, again.rejects), (1, first.rejects));
}

#[tokio::test]
async fn a_reserved_batch_is_what_the_rows_become_once() {
    let bench = Bench::new();
    let mut import = bench.import(&[("x.jsonl", b"{\"a\":1}")]);
    import.batch = Some(Reserved { id: BatchId::new("ours"), version: 3 });
    let first = bench.run(&import).await.unwrap();
    assert_eq!((first.batch, first.repeated), (Some(BatchId::new("ours")), false));
    let keys = bench.objects.keys();
    // Whoever was slower is told of the first, and what it wrote is deleted.
    let again = bench.run(&import).await.unwrap();
    assert_eq!((again.commit, again.rows, again.repeated), (first.commit, 1, true));
    assert_eq!(bench.objects.keys(), keys);
    // An answer that was lost is no other import.
    import.batch = Some(Reserved { id: BatchId::new("next"), version: 1 });
    bench.catalog.trouble(Trouble::LosesReply);
    let next = bench.run(&import).await.unwrap();
    assert_eq!((next.commit.0, next.repeated), (2, false));
    assert_eq!((bench.rows().await.len(), bench.objects.keys().len()), (2, 2));
}

fn other(dataset: &DatasetId, create: Option<NewDataset>, step: Option<SchemaStep>) -> NewCommit {
    let workspace = WorkspaceId::default_workspace();
    let new = NewCommit::new(workspace, CommitKind::Append, dataset.clone());
    NewCommit { create, schema: step, ..new }
}

fn schema(text: &str) -> Schema {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn another_process_that_made_the_dataset_first_is_joined() {
    let bench = Bench::new();
    let id = DatasetId::mint();
    let create = NewDataset {
        id: id.clone(),
        name: "d".into(),
        kind: DatasetKind::Event,
        time_column: None,
        schema: schema(r#"{"fields":[{"name":"z","type":"boolean"}]}"#),
    };
    bench.catalog.race(other(&id, Some(create), None));
    let report = bench.take("x.jsonl", r#"{"a":1}"#).await;
    assert_eq!((report.commit.0, report.created), (2, false));
    assert_eq!(bench.schema().await, "z: boolean, a: int64");
    assert_eq!(bench.rows().await, [r#"{"a":1}"#]);
}

#[tokio::test]
async fn a_schema_that_moved_is_stepped_again_or_refused() {
    let bench = Bench::new();
    bench.take("x.jsonl", r#"{"a":1}"#).await;
    let dataset = bench.catalog.dataset(&WorkspaceId::default_workspace(), "d").await.unwrap();
    let step = |kind: &str| {
        let text = format!(
            r#"{{"fields":[{{"name":"a","type":"int64"}},{{"name":"b","type":"{kind}"}}]}}"#
        );
        SchemaStep { seen: dataset.schema.id(), next: schema(&text) }
    };
    bench.catalog.race(other(&dataset.id, None, Some(step("boolean"))));
    bench.take("y.jsonl", r#"{"a":2,"c":"x"}"#).await;
    assert_eq!(bench.schema().await, "a: int64, b: boolean, c: string");

    let bench = Bench::new();
    bench.take("x.jsonl", r#"{"a":1}"#).await;
    let dataset = bench.catalog.dataset(&WorkspaceId::default_workspace(), "d").await.unwrap();
    let keys = bench.objects.keys();
    let text = r#"{"fields":[{"name":"a","type":"int64"},{"name":"c","type":"boolean"}]}"#;
    let step = SchemaStep { seen: dataset.schema.id(), next: schema(text) };
    bench.catalog.race(other(&dataset.id, None, Some(step)));
    let error = bench.run(&bench.import(&[("y.jsonl", br#"{"c":"x"}"#)])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "`y.jsonl`: column `c` is `boolean` in the dataset and `string` in the input; cast one of them"
    );
    assert_eq!(bench.objects.keys(), keys);
}

#[tokio::test]
async fn a_lost_reply_to_the_commit_is_settled() {
    let bench = Bench::new();
    bench.catalog.trouble(Trouble::LosesReply);
    let report = bench.take("x.jsonl", r#"{"a":1}"#).await;
    assert_eq!((report.commit.0, report.rows, report.created), (1, 1, true));
    assert_eq!(bench.rows().await, [r#"{"a":1}"#]);
    bench.catalog.trouble(Trouble::Fails);
    assert_eq!(bench.take("y.jsonl", r#"{"a":2}"#).await.commit.0, 2);
    bench.catalog.trouble(Trouble::LosesReply);
    let report = bench.take("z.jsonl", r#"{"a":3}"#).await;
    assert_eq!((report.commit.0, report.created, report.repeated), (3, false, false));
    assert_eq!(bench.rows().await.len(), 3);
}

#[tokio::test]
async fn a_refused_commit_leaves_nothing_and_an_unknown_one_its_files() {
    let bench = Bench::new();
    bench.catalog.trouble(Trouble::Refuses);
    assert_eq!(
        bench.refuse("x.jsonl", br#"{"a":2}"#).await,
        "the metadata database failed: told to fail"
    );
    bench.catalog.trouble(Trouble::Down);
    let error = bench.run(&bench.import(&[("x.jsonl", br#"{"a":2}"#)])).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the metadata database did not say whether the rows were committed; look at the dataset's commits before you try again"
    );
    assert_eq!((error.fault(), bench.objects.keys().len()), (Fault::Own, 1));
}

#[tokio::test]
async fn a_store_that_fails_leaves_nothing() {
    let bench = Bench::on(MemoryObjects::failing_finish(2));
    let batch = RecordBatch::try_from_iter_with_nullable(vec![(
        "a",
        Arc::new(arrow::array::Int64Array::from(vec![1])) as arrow::array::ArrayRef,
        true,
    )])
    .unwrap();
    let kept = parquet(&batch, ::parquet::basic::Compression::SNAPPY);
    let import = bench.import(&[("1.parquet", &kept), ("2.jsonl", b"{\"a\":2}")]);
    let error = bench.refuse_import(&import).await;
    assert!(error.starts_with("could not store the data file `data/ds_"), "{error}");
    assert!(bench.objects.keys().is_empty());
}

#[tokio::test]
async fn the_time_column_of_a_dataset_stays() {
    let bench = Bench::new();
    bench.take("x.jsonl", r#"{"a":1}"#).await;
    let mut import = bench.import(&[("y.jsonl", br#"{"a":2}"#)]);
    import.time_column = Some("a".into());
    assert_eq!(
        bench.refuse_import(&import).await,
        "the dataset `d` has no time column; it cannot become `a`"
    );
}
