//! Damaged and made-up input of every form: it is imported or refused with a message; nothing panics and nothing
//! is left behind.

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, ListArray, StringArray};
use arrow::datatypes::{Int32Type, Int64Type};
use proptest::prelude::*;

use super::*;

const LINES: &str = "{\"a\":1,\"b\":{\"c\":[1.5,null,\"\\u00e9\\ud83d\\ude00\"]},\"t\":\"2026-01-01T00:00:00.5+02:00\"}\n\
                     {\"b\":{},\"a\":-12e-3,\"x\":[[],[{}]]}\n";
const CELLS: &str = "a,\"b \"\"x\"\"\",c\r\n1,\"two\nlines\",2026-01-01\r\n,\"\",007\r\n";

/// What is done to the bytes of a file.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Cut(usize, usize),
    Repeat(usize, usize),
    Insert(usize, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = || any::<usize>();
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (at(), 1_usize..64).prop_map(|(at, bytes)| Damage::Cut(at, bytes)),
        (at(), 1_usize..64).prop_map(|(at, bytes)| Damage::Repeat(at, bytes)),
        (at(), prop::collection::vec(any::<u8>(), 1..9))
            .prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn damaged(mut bytes: Vec<u8>, all: &[Damage]) -> Vec<u8> {
    for damage in all {
        let place = |at: usize| at % bytes.len().max(1);
        match damage {
            _ if bytes.is_empty() => {}
            Damage::Flip(at, bits) => {
                let at = place(*at);
                bytes[at] ^= bits;
            }
            Damage::Cut(at, count) => {
                let at = place(*at);
                bytes.drain(at..(at + count).min(bytes.len()));
            }
            Damage::Repeat(at, count) => {
                let at = place(*at);
                let piece = bytes[at..(at + count).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            Damage::Insert(at, piece) => {
                let at = place(*at);
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

fn table(codec: ::parquet::basic::Compression) -> Vec<u8> {
    let words: DictionaryArray<Int32Type> = ["x", "y", "x"].into_iter().collect();
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
        Some(vec![Some(1)]),
        None,
        Some(vec![]),
    ]);
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("a", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])) as ArrayRef, true),
        ("b", Arc::new(StringArray::from(vec!["1", "2", "3"])) as ArrayRef, true),
        ("c", Arc::new(words) as ArrayRef, true),
        ("d", Arc::new(lists) as ArrayRef, true),
    ]);
    parquet(&batch.unwrap(), codec)
}

/// Whole files by their names.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    use ::parquet::basic::Compression;
    let array = format!("[{}]", LINES.trim_end().replace('\n', ","));
    vec![
        ("x.jsonl", LINES.into()),
        ("x.json", array.clone().into()),
        ("x.csv", CELLS.into()),
        ("x", "a\n1\n\n2\n".into()),
        ("x.jsonl.gz", gzip(LINES.as_bytes())),
        ("x.json.zst", zstd(array.as_bytes())),
        ("plain.parquet", table(Compression::UNCOMPRESSED)),
        ("packed.parquet", table(Compression::ZSTD(::parquet::basic::ZstdLevel::default()))),
    ]
}

async fn import(name: &str, bytes: &[u8], block_bytes: usize) {
    let bench = Bench::new();
    let mut import = bench.import(&[(name, bytes)]);
    import.rejects = block_bytes.is_multiple_of(2).then(|| bench.rejects());
    import.receive_time = block_bytes.is_multiple_of(3).then(|| "a".into());
    let progress = Arc::new(Furthest::new(bench.told.clone()));
    let depth = Depth { blocks: 1, block_bytes };
    let job = Importing { lake: &bench.lake, import: &import, progress, depth };
    match Box::pin(job.run()).await {
        Ok(report) => {
            let rows =
                bench.batches().await.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
            assert_eq!(rows, report.rows);
        }
        Err(error) => {
            assert_eq!(bench.objects.keys(), Vec::<String>::new(), "{error}");
            assert!(!error.to_string().contains("panic"), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn damaged_files_are_imported_or_refused(
        which in 0..files().len(),
        all in prop::collection::vec(damage(), 1..6),
        block_bytes in prop_oneof![1_usize..64, Just(1 << 20)],
    ) {
        let (name, bytes) = files().swap_remove(which);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(import(name, &damaged(bytes, &all), block_bytes));
    }
}
