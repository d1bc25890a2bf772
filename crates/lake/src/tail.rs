//! The rows of small commits, which live in the metadata database until they are sealed into a data file.
//!
//! Their bytes are an Arrow IPC stream under zstd. A snapshot lists them among the files; [`Lake::look`]
//! brings their bytes along, because a sealer may take them out of the database at any time.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use model::dataset::{Dataset, Snapshot};
use model::part::Input;
use model::ports::CatalogError;
use model::{CommitNumber, DatasetId, FileId, ObjectKey, WorkspaceId};
use object_store::ObjectStore;
use zstd::bulk::Compressor;
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{DCtx, ResetDirective};

use crate::Lake;

/// What stands before the id of a file of the tail in its key, which no object has.
const FOLDER: &str = "tail/";

/// The level at which the bytes are compressed.
const ZSTD_LEVEL: i32 = 1;

thread_local! {
    // Making one costs as much as packing a few rows.
    static PACKER: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Times a snapshot is read anew because its tail was sealed before its bytes were read.
const TRIES: usize = 20;

/// Where the bytes of files are read: objects, and files of the tail that were fetched before.
#[derive(Clone)]
pub(crate) struct Reader {
    /// The objects.
    pub(crate) objects: Arc<dyn ObjectStore>,
    tail: Arc<HashMap<ObjectKey, Bytes>>,
}

impl Reader {
    /// Reads objects only.
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, tail: Arc::default() }
    }

    /// Returns the bytes of a file of the tail; none for an object.
    pub(crate) fn tail(&self, key: &ObjectKey) -> Option<&Bytes> {
        self.tail.get(key)
    }
}

/// Returns the key of a file of the tail.
pub(crate) fn key(id: &FileId) -> ObjectKey {
    ObjectKey::new(format!("{FOLDER}{id}"))
}

/// Returns whether the rows are in the tail, and of which file.
fn file_of(input: &Input) -> Option<FileId> {
    input.key.as_str().strip_prefix(FOLDER).map(FileId::new)
}

/// Makes the bytes of rows that have this schema.
pub(crate) fn encode(schema: &SchemaRef, rows: &[RecordBatch]) -> Result<Bytes, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    for batch in rows {
        writer.write(batch)?;
    }
    let stream = writer.into_inner()?;
    PACKER.with_borrow_mut(|packer| {
        let zstd = match packer {
            Some(zstd) => zstd,
            None => packer.insert(new_packer()?),
        };
        Ok(zstd.compress(&stream)?.into())
    })
}

fn new_packer() -> Result<Compressor<'static>, ArrowError> {
    let mut zstd = Compressor::new(ZSTD_LEVEL)?;
    zstd.include_checksum(true)?;
    Ok(zstd)
}

/// Returns the rows that the bytes hold.
pub(crate) fn decode(bytes: &Bytes) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut stream = Vec::new();
    UNPACKER.with_borrow_mut(|unpacker| {
        // Whatever was unpacked before may have broken off.
        let reset = unpacker.reset(ResetDirective::SessionOnly);
        reset.map_err(|_| io::ErrorKind::OutOfMemory)?;
        Decoder::with_context(&bytes[..], unpacker).read_to_end(&mut stream)
    })?;
    StreamReader::try_new(&stream[..], None)?.collect()
}

impl Lake {
    /// Returns a dataset as it was at a commit, with the bytes of what of it is in the tail.
    pub(crate) async fn look(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        range: (CommitNumber, Option<CommitNumber>),
    ) -> Result<(Snapshot, Reader), CatalogError> {
        for _ in 1..TRIES {
            match self.look_once(workspace, dataset, range).await {
                Err(CatalogError::Moved) => {}
                other => return other,
            }
        }
        self.look_once(workspace, dataset, range).await
    }

    async fn look_once(
        &self,
        workspace: &WorkspaceId,
        dataset: &str,
        range: (CommitNumber, Option<CommitNumber>),
    ) -> Result<(Snapshot, Reader), CatalogError> {
        let snapshot = self.catalog.snapshot_since(workspace, dataset, range).await?;
        let tail = snapshot.files.iter().filter(|file| file.in_tail);
        let reader = self.with_tail(tail.map(|file| file.id.clone()).collect()).await?;
        Ok((snapshot, reader))
    }

    /// Returns a dataset with its newest columns and none of its files.
    pub(crate) async fn newest(
        &self,
        workspace: &WorkspaceId,
        id: &DatasetId,
    ) -> Result<Dataset, CatalogError> {
        let nothing = (CommitNumber(u64::MAX), None);
        Ok(self.catalog.snapshot_since(workspace, id.as_str(), nothing).await?.dataset)
    }

    /// Returns a reader for inputs that may be in the tail; `Moved` if one was sealed meanwhile.
    pub(crate) async fn reader_of(&self, inputs: &[Input]) -> Result<Reader, CatalogError> {
        let mut files: Vec<FileId> = inputs.iter().filter_map(file_of).collect();
        files.dedup();
        self.with_tail(files).await
    }

    /// Fetches the bytes of files of the tail.
    pub(crate) async fn with_tail(&self, files: Vec<FileId>) -> Result<Reader, CatalogError> {
        if files.is_empty() {
            return Ok(self.reader.clone());
        }
        let bodies = self.catalog.tail(&files).await?;
        let tail = files.iter().map(key).zip(bodies).collect();
        Ok(Reader { tail: Arc::new(tail), ..self.reader.clone() })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn rows_come_back() {
        let fields =
            [Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)];
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let numbers = Arc::new(Int64Array::from(vec![Some(1), None]));
        let texts = Arc::new(StringArray::from(vec![None, Some("x")]));
        let rows = RecordBatch::try_new(schema.clone(), vec![numbers, texts]).unwrap();
        let rows = [rows.clone(), rows.slice(1, 1)];
        let bytes = encode(&schema, &rows).unwrap();
        assert_eq!(decode(&bytes).unwrap(), rows);
        assert!(decode(&bytes.slice(..bytes.len() - 1)).is_err());
        assert!(decode(&Bytes::from_static(b"no rows")).is_err());
    }
}
