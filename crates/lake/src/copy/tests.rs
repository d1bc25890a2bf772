//! Tests of copying: the same rows as decoding gives, and `None` for all that is not stored so.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use arrow::array::{
    ArrayRef, ListBuilder, MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampSecondArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{Field, Fields};
use futures::TryStreamExt;
use model::format::{EncoderId, FormatSpec};
use model::ports::{Bound, Relations};
use model::relation::{Selection, Source as From};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::*;
use crate::session::fixture::{World, csv, numbers};

/// The files of tests are not compressed.
fn encoding(compression: &str) -> Encoding {
    let (format, options) = ("parquet".into(), BTreeMap::new());
    let (compression_asked, file_rows, file_bytes, name) = (None, None, None, None);
    let spec = FormatSpec {
        format,
        compression: compression_asked,
        options,
        file_rows,
        file_bytes,
        name,
        folder: None,
        md5: false,
    };
    Encoding {
        spec,
        compression: compression.into(),
        encoder: EncoderId("parquet/1".into()),
        extension: ".parquet".into(),
        copies: true,
    }
}

async fn world() -> World {
    let world = World::new();
    world.add("sales", &numbers(0..10), 4).await;
    world.add("sales", &numbers(10..13), 4).await;
    world
}

async fn bind(world: &World, columns: &str, filter: &str) -> Bound {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let selection =
        Selection { columns: some(columns), filter: some(filter), ..Selection::default() };
    world.bind_all(From::Dataset("sales".into()), selection).await.unwrap()
}

/// Copies and returns the file with what it comes to.
async fn copy(world: &World, bound: &Bound, encoding: &Encoding) -> Option<(Bytes, Encoded)> {
    let relation = Arc::new(bound.relation.clone());
    let task = ReadTask { relation, inputs: bound.inputs.clone() };
    let chunks = world.lake.copy(&task, encoding).await.unwrap()?;
    let (mut bytes, mut end) = (Vec::new(), None);
    for chunk in chunks.try_collect::<Vec<_>>().await.unwrap() {
        match chunk {
            EncodedChunk::Bytes(piece) => bytes.extend_from_slice(&piece),
            EncodedChunk::End(encoded) => end = Some(encoded),
        }
    }
    Some((bytes.into(), end.expect("an end")))
}

fn read(bytes: &Bytes) -> String {
    let reader = ParquetRecordBatchReader::try_new(bytes.clone(), 1000).unwrap();
    csv(&reader.collect::<Result<Vec<RecordBatch>, _>>().unwrap())
}

async fn decoded(world: &World, bound: &Bound) -> String {
    csv(&world.read(bound).await.unwrap().into_iter().map(|rows| rows.batch).collect::<Vec<_>>())
}

#[tokio::test]
async fn a_whole_file_is_copied_byte_for_byte() {
    let world = world().await;
    let mut bound = bind(&world, "", "").await;
    assert!(bound.copies.is_some());
    bound.inputs.truncate(1);
    let (bytes, end) = copy(&world, &bound, &encoding("none")).await.unwrap();
    let key = Path::from(bound.inputs[0].key.as_str());
    let stored = world.store.get(&key).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes, stored);
    assert_eq!((end.rows, end.rows_read, end.values_lost), (10, 10, 0));
}

#[tokio::test]
async fn chunks_of_several_files_and_of_some_columns_make_a_file() {
    let world = world().await;
    for columns in ["", "f, n", "\"Text\"", "at, f, n, \"Text\""] {
        let bound = bind(&world, columns, "").await;
        let (bytes, end) = copy(&world, &bound, &encoding("none")).await.expect(columns);
        assert_eq!(read(&bytes), decoded(&world, &bound).await, "{columns}");
        assert_eq!(end.rows, 13);
        assert_eq!(copy(&world, &bound, &encoding("none")).await.unwrap().0, bytes);
    }
}

#[tokio::test]
async fn whole_row_groups_are_copied_and_parts_of_one_are_not() {
    let world = world().await;
    let bound = bind(&world, "", "").await;
    for (first, rows, copied) in
        [(0, 4, true), (4, 4, true), (8, 2, true), (4, 6, true), (0, 3, false), (2, 4, false)]
    {
        let inputs = vec![bound.inputs[0].take(first, rows)];
        let bound = Bound { inputs, ..bound.clone() };
        let file = copy(&world, &bound, &encoding("none")).await;
        assert_eq!(file.is_some(), copied, "{first} {rows}");
        if let Some((bytes, _)) = file {
            assert_eq!(read(&bytes), decoded(&world, &bound).await);
        }
    }
}

#[tokio::test]
async fn what_is_not_stored_as_it_is_asked_for_is_not_copied() {
    let world = world().await;
    for (columns, filter) in [
        ("n + 1 AS n", ""),
        ("n AS m", ""),
        ("_commit, n", ""),
        ("CAST(n AS double) AS n", ""),
        ("", "n > 3"),
        ("", "false"),
    ] {
        let bound = bind(&world, columns, filter).await;
        assert!(bound.copies.is_none(), "{columns} {filter}");
        assert!(copy(&world, &bound, &encoding("none")).await.is_none(), "{columns} {filter}");
    }
    let bound = bind(&world, "", "").await;
    assert!(copy(&world, &bound, &encoding("zstd")).await.is_none(), "other compression");
    let other = Encoding { copies: false, ..encoding("none") };
    assert!(copy(&world, &bound, &other).await.is_none(), "not asked for");
}

#[tokio::test]
async fn a_file_from_before_a_column_was_there_is_not_copied() {
    let world = world().await;
    let more = numbers(0..2);
    let columns = more.schema().fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    let pairs = columns.into_iter().zip(more.columns().iter().cloned());
    let pairs = pairs.chain([("z".to_owned(), Arc::clone(more.column(0)))]);
    let more = RecordBatch::try_from_iter_with_nullable(pairs.map(|(n, c)| (n, c, true))).unwrap();
    world.add("sales", &more, 4).await;
    let bound = bind(&world, "", "").await;
    assert!(copy(&world, &bound, &encoding("none")).await.is_none());
    let narrow = bind(&world, "n", "").await;
    let (bytes, _) = copy(&world, &narrow, &encoding("none")).await.unwrap();
    assert_eq!(read(&bytes), decoded(&world, &narrow).await);
}

/// Strings that repeat, on their own and inside every nested type, with the names that builders choose.
fn nested(rows: usize) -> RecordBatch {
    let word = |row: usize| ["x", "yy", "", "z\"z"][row % 4];
    let plain: StringArray = (0..rows).map(|row| (row % 5 > 0).then(|| word(row))).collect();
    let mut list = ListBuilder::new(StringBuilder::new());
    let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..rows {
        for at in 0..row % 3 {
            list.values().append_option((at > 0).then(|| word(row)));
            map.keys().append_value(format!("k{at}"));
            map.values().append_option((row % 2 > 0).then(|| word(at)));
        }
        list.append(row % 7 > 0);
        map.append(row % 6 > 0).unwrap();
    }
    let inner: ArrayRef =
        Arc::new((0..rows).map(|row| Some(word(row / 2))).collect::<StringArray>());
    let fields = Fields::from(vec![Field::new("w", DataType::Utf8, true)]);
    let nulls = (0..rows).map(|row| row % 4 > 0).collect::<Vec<_>>();
    let object = StructArray::new(fields, vec![inner], Some(nulls.into()));
    RecordBatch::try_from_iter_with_nullable([
        ("plain", Arc::new(plain) as ArrayRef, true),
        ("list", Arc::new(list.finish()), true),
        ("map", Arc::new(map.finish()), true),
        ("object", Arc::new(object), true),
    ])
    .unwrap()
}

#[tokio::test]
async fn nested_strings_come_with_their_dictionaries_and_are_copied_as_they_are() {
    let world = World::new();
    let batch = nested(40);
    world.add("sales", &batch, 25).await;
    let bound = bind(&world, "", "").await;
    let task =
        ReadTask { relation: Arc::new(bound.relation.clone()), inputs: bound.inputs.clone() };
    let rows = world.lake.read(&task).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let output = bound.relation.output.to_arrow();
    let mut plain = Vec::new();
    for rows in rows {
        let columns = rows.batch.columns().iter().zip(output.fields());
        let columns = columns.map(|(column, field)| {
            let kind = format!("{:?}", column.data_type());
            assert!(kind.contains("Dictionary"), "{}: {kind}", field.name());
            cast(column, field.data_type()).unwrap()
        });
        let columns = columns.collect();
        plain.push(RecordBatch::try_new(Arc::clone(&output), columns).unwrap());
    }
    let plain = concat_batches(&output, &plain).unwrap();
    for (columns, expected) in plain.columns().iter().zip(batch.columns()) {
        assert_eq!(columns, &cast(expected, columns.data_type()).unwrap());
    }
    let narrow = bind(&world, "map, list, object", "").await;
    assert!(narrow.copies.is_some());
    let (bytes, _) = copy(&world, &narrow, &encoding("none")).await.unwrap();
    let reader = ParquetRecordBatchReader::try_new(bytes, 1000).unwrap();
    let copied = reader.collect::<Result<Vec<_>, _>>().unwrap();
    let copied = concat_batches(&copied[0].schema(), &copied).unwrap();
    for (at, from) in [2, 1, 3].into_iter().enumerate() {
        assert_eq!(copied.column(at), batch.column(from));
    }
}

#[tokio::test]
async fn a_file_that_was_damaged_is_not_handed_out_whole() {
    let world = world().await;
    let mut bound = bind(&world, "", "").await;
    bound.inputs.truncate(1);
    bound.inputs[0].sha256 = "0".repeat(64);
    let task =
        ReadTask { relation: Arc::new(bound.relation.clone()), inputs: bound.inputs.clone() };
    let chunks = world.lake.copy(&task, &encoding("none")).await.unwrap().unwrap();
    let error = chunks.try_collect::<Vec<_>>().await.unwrap_err();
    assert!(error.to_string().contains("has other bytes than were imported"), "{error}");
}

#[tokio::test]
async fn seconds_are_not_copied_because_parquet_does_not_know_them() {
    let world = World::new();
    let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(vec![1, 2]));
    let batch = RecordBatch::try_from_iter_with_nullable([("s", seconds, true)]).unwrap();
    world.add("sales", &batch, 25).await;
    let bound = bind(&world, "", "").await;
    assert!(copy(&world, &bound, &encoding("none")).await.is_none());
}

/// As other writers make them: the dictionary is in the Arrow schema of the file.
#[tokio::test]
async fn a_file_with_dictionaries_of_its_own_can_be_computed_with() {
    let world = World::new();
    let words: StringArray = (0..40).map(|row| Some(["x", "y"][row % 2])).collect();
    let kind = |key: DataType| DataType::Dictionary(key.into(), DataType::Utf8.into());
    let plain: ArrayRef = Arc::new(words);
    let narrow = cast(&plain, &kind(DataType::Int8)).unwrap();
    let usual = cast(&plain, &kind(DataType::Int32)).unwrap();
    let columns = [("a", narrow, true), ("b", usual, true)];
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    world.add("sales", &batch, 25).await;
    let counted = "SELECT a, b, count(*) FROM sales GROUP BY a, b ORDER BY a";
    assert_eq!(world.sql(counted).await.unwrap(), "x,x,20;y,y,20");
    let bound = bind(&world, "a || b AS c, b", "").await;
    assert!(decoded(&world, &bound).await.starts_with("xx,x;yy,y;"));
}
