//! Encodes batches through the public port.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use export::Formats;
use futures::StreamExt;
use model::PortError;
use model::format::{Encoding, FormatSpec};
use model::ports::{Encoded, EncodedChunk, Encoder, Positions, RowStream, Rows};
use model::schema::Schema;
use proptest::prelude::ProptestConfig;
use tokio::runtime::{Builder, Runtime};

/// Every format with every compression.
pub(crate) const ALL: &[(&str, &str)] = &[
    ("jsonl", "none"),
    ("jsonl", "gzip"),
    ("jsonl", "zstd"),
    ("csv", "none"),
    ("csv", "gzip"),
    ("csv", "zstd"),
    ("parquet", "none"),
    ("parquet", "snappy"),
    ("parquet", "gzip"),
    ("parquet", "zstd"),
];

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(2).build().unwrap());

/// Encoders with 1, 2 and 8 threads.
pub(crate) static THREADS: LazyLock<[Formats; 3]> =
    LazyLock::new(|| [Formats::new(1), Formats::new(2), Formats::new(8)]);

/// A finished file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sum: Encoded,
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    RUNTIME.block_on(work)
}

pub(crate) fn formats() -> &'static Formats {
    &THREADS[1]
}

pub(crate) fn spec(format: &str, compression: &str, options: &[(&str, &str)]) -> FormatSpec {
    let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    FormatSpec {
        format: format.into(),
        compression: Some(compression.into()),
        options,
        file_rows: None,
        file_bytes: None,
        name: None,
        folder: None,
        md5: false,
    }
}

pub(crate) fn with_maximum(format: &str, compression: &str, bytes: u64) -> FormatSpec {
    FormatSpec { file_bytes: Some(bytes), ..spec(format, compression, &[]) }
}

/// The same rows in batches of these sizes, over and over; every row is one input row.
pub(crate) fn cut(batch: &RecordBatch, sizes: &[usize]) -> RowStream {
    let mut batches = Vec::new();
    let mut sizes = sizes.iter().copied().cycle();
    let mut first = 0;
    while first < batch.num_rows() {
        let rows = sizes.next().unwrap().min(batch.num_rows() - first);
        let read = Positions::Dense { first: first as u64 };
        let read_after = (first + rows) as u64;
        batches.push(Ok(Rows { batch: batch.slice(first, rows), read, read_after }));
        first += rows;
    }
    futures::stream::iter(batches).boxed()
}

/// The same rows in one batch.
pub(crate) fn whole(batch: &RecordBatch) -> RowStream {
    cut(batch, &[batch.num_rows().max(1)])
}

pub(crate) fn schema(batch: &RecordBatch) -> Schema {
    Schema::from_arrow(&batch.schema()).unwrap()
}

pub(crate) fn check(spec: &FormatSpec, schema: &Schema) -> Encoding {
    formats().check(spec, schema).unwrap()
}

/// Encodes a stream to its end.
pub(crate) fn try_encode(
    formats: &Formats,
    spec: &FormatSpec,
    schema: &Schema,
    rows: RowStream,
) -> Result<File, PortError> {
    let encoding = formats.check(spec, schema)?;
    block_on(async {
        let mut stream = formats.encode(&encoding, schema, rows);
        let mut bytes = Vec::new();
        let mut sum = None;
        while let Some(chunk) = stream.next().await {
            assert!(sum.is_none(), "something follows the end");
            match chunk? {
                EncodedChunk::Bytes(more) => bytes.extend_from_slice(&more),
                EncodedChunk::End(end) => sum = Some(end),
            }
        }
        Ok(File { bytes, sum: sum.expect("the stream ended without its end") })
    })
}

/// Encodes one batch as one file.
pub(crate) fn encode(spec: &FormatSpec, batch: &RecordBatch) -> File {
    try_encode(formats(), spec, &schema(batch), whole(batch)).unwrap()
}

/// Makes a batch of named columns.
pub(crate) fn batch(columns: Vec<(&str, arrow::array::ArrayRef)>) -> RecordBatch {
    let field = |(name, array): &(&str, arrow::array::ArrayRef)| {
        arrow::datatypes::Field::new(*name, array.data_type().clone(), true)
    };
    let fields: Vec<_> = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), arrays).unwrap()
}

/// So many cases, whose failing ones are printed and not kept.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}
