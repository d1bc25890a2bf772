//! The files of a run as one: plain, as gzip, or in a ZIP archive.
//!
//! Contract: the run wrote gzip files of one member each (`gzip.members=one`). What is given out is made of them on the way and has a known length, so
//! that it can be asked for in parts: the deflated texts are the same in all three, only what stands around them differs (RFC 1952; APPNOTE 6.3.10 for ZIP).
//! Nothing is compressed anew.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Datelike, Timelike, Utc};
use crc32fast::Hasher;
use futures::{StreamExt, TryStreamExt, stream};
use model::part::Receipt;
use model::ports::{ObjectError, Objects};
use model::{Code, Failure, Fault, RunId, WorkspaceId};

use crate::http::download::{Content, Download, Packed, Piece};
use crate::{Core, files};

/// Files asked for at once.
const PAGE: u32 = 1000;

/// Files of a run that are put together at most: each is looked at before the first byte.
const FILES_MAX: usize = 10_000;

/// Ends of files that are read at once.
const READS_AT_ONCE: usize = 16;

/// The header of a member: RFC 1952.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A last block without content.
const LAST_BLOCK: [u8; 2] = [0x03, 0x00];

/// Bytes of a checksum and a size behind them.
const TRAILER: u64 = 8;

/// As what a run is given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The text.
    Plain,
    /// The text, packed for the way.
    Gzip,
    /// An archive with the text in it.
    Zip,
}

/// Whether the bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Only what is known of them.
    Nothing,
    /// They are.
    Bytes,
}

/// What the whole is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    /// What a client may save it as.
    pub(crate) file: &'a str,
    /// Its media type.
    pub(crate) kind: &'static str,
    /// The name of the text inside an archive.
    pub(crate) inside: &'a str,
}

/// Returns the files of a sealed run as one.
pub(crate) async fn whole(
    core: &Core,
    (workspace, run): (&WorkspaceId, &RunId),
    (form, reads): (Form, Reads),
    names: Names<'_>,
) -> Result<Download, Error> {
    let status = files::held(&*core.executor.runs, &*core.destinations, (workspace, run)).await?;
    let objects = core.destinations.open(workspace, &status.definition.destination).await;
    let objects = objects.map_err(run::Port::from).map_err(files::Error::from)?;
    let receipts = receipts(core, workspace, run).await?;
    let plain = receipts.iter().map(|receipt| receipt.uncompressed_bytes).sum();
    let sum = status.sums.map(|sums| sums.sha256).unwrap_or_default();
    let made_at = status.ended_at.unwrap_or(status.created_at);
    let (content, bytes) = match form {
        Form::Plain => (Content::Packed(packed(&objects, receipts)), plain),
        Form::Gzip | Form::Zip => {
            let crc = match reads {
                Reads::Bytes => checksum(&*objects, &receipts).await?,
                Reads::Nothing => 0,
            };
            let deflated = deflated(&objects, &receipts);
            let around = match form {
                Form::Zip => zip(names.inside, made_at, (crc, plain, deflated.bytes)),
                _ => gzip(crc, plain),
            };
            around.put_around(deflated)
        }
    };
    Ok(Download {
        name: names.file.to_owned(),
        kind: names.kind,
        bytes,
        tag: match form {
            Form::Plain => sum,
            Form::Gzip => format!("{sum}-gzip"),
            Form::Zip => format!("{sum}-zip"),
        },
        sha256: None,
        md5: None,
        coding: (form == Form::Gzip).then_some("gzip"),
        content,
    })
}

async fn receipts(
    core: &Core,
    workspace: &WorkspaceId,
    run: &RunId,
) -> Result<Vec<Receipt>, Error> {
    let mut all = Vec::new();
    loop {
        let next = all.len() as u64 + 1;
        let page = core.executor.runs.files(workspace, run, next, PAGE).await;
        let page = page.map_err(files::Error::from)?;
        let is_last = page.len() < PAGE as usize;
        all.extend(page);
        if all.len() > FILES_MAX {
            return Err(Error::Many { run: run.clone() });
        }
        if is_last {
            return Ok(all);
        }
    }
}

fn packed(objects: &Arc<dyn Objects>, receipts: Vec<Receipt>) -> Vec<Packed> {
    let one = |receipt: Receipt| Packed {
        objects: Arc::clone(objects),
        deflated: GZIP_HEADER.len() as u64..receipt.bytes.saturating_sub(TRAILER),
        key: receipt.key,
        plain: receipt.uncompressed_bytes,
    };
    receipts.into_iter().map(one).collect()
}

/// The deflated texts of all files, open at their end.
struct Deflated {
    pieces: Vec<Piece>,
    bytes: u64,
}

fn deflated(objects: &Arc<dyn Objects>, receipts: &[Receipt]) -> Deflated {
    let mut all = Deflated { pieces: Vec::with_capacity(receipts.len() + 2), bytes: 0 };
    for receipt in receipts {
        let back = TRAILER + LAST_BLOCK.len() as u64;
        let range = GZIP_HEADER.len() as u64..receipt.bytes.saturating_sub(back);
        all.bytes += range.end.saturating_sub(range.start);
        all.pieces.push(Piece::Stored(Arc::clone(objects), receipt.key.clone(), range));
    }
    // A text without bytes is a last block, too.
    all.bytes += LAST_BLOCK.len() as u64;
    all
}

/// Puts the checksums together that the files end with.
async fn checksum(objects: &dyn Objects, receipts: &[Receipt]) -> Result<u32, Error> {
    let one = |receipt: &Receipt| {
        let Receipt { key, bytes, uncompressed_bytes, .. } = receipt.clone();
        async move {
            let at = bytes.saturating_sub(TRAILER);
            let sum = objects.read(&key, at..at + 4).await.map_err(Error::Objects)?;
            let sum = sum.as_ref().try_into().map_err(|_| Error::Short { key: key.to_string() })?;
            Ok::<_, Error>(Hasher::new_with_initial_len(
                u32::from_le_bytes(sum),
                uncompressed_bytes,
            ))
        }
    };
    let sums = stream::iter(receipts.iter().map(one)).buffered(READS_AT_ONCE);
    let all = sums.try_fold(Hasher::new(), |mut all, next| {
        all.combine(&next);
        std::future::ready(Ok(all))
    });
    Ok(all.await?.finalize())
}

/// What stands before and behind the deflated texts.
struct Around {
    before: Vec<u8>,
    behind: Vec<u8>,
}

impl Around {
    fn put_around(self, deflated: Deflated) -> (Content, u64) {
        let behind = [LAST_BLOCK.as_slice(), &self.behind].concat();
        let bytes = self.before.len() as u64 + deflated.bytes + self.behind.len() as u64;
        let before = Piece::Memory(Bytes::from(self.before));
        let pieces = [before].into_iter().chain(deflated.pieces);
        (Content::Pieces(pieces.chain([Piece::Memory(behind.into())]).collect()), bytes)
    }
}

fn gzip(crc: u32, plain: u64) -> Around {
    // The size counts modulo 2^32.
    let size = &plain.to_le_bytes()[..4];
    Around { before: GZIP_HEADER.to_vec(), behind: [&crc.to_le_bytes(), size].concat() }
}

/// What readers must know to unpack it: ZIP64.
const ZIP_VERSION: u16 = 45;

/// Names are UTF-8.
const ZIP_FLAGS: u16 = 1 << 11;

const DEFLATED: u16 = 8;

/// What stands in 32 bits whose value is in the ZIP64 field.
const ELSEWHERE: u32 = u32::MAX;

/// Frames one deflated text as an archive. Sizes are always written as ZIP64, which every reader of today takes, so that there is one form.
fn zip(name: &str, at: DateTime<Utc>, (crc, plain, deflated): (u32, u64, u64)) -> Around {
    let mut common = Vec::new();
    for short in [ZIP_VERSION, ZIP_FLAGS, DEFLATED, dos_time(at), dos_date(at)] {
        common.extend_from_slice(&short.to_le_bytes());
    }
    for word in [crc, ELSEWHERE, ELSEWHERE] {
        common.extend_from_slice(&word.to_le_bytes());
    }
    let name_bytes = u16::try_from(name.len()).expect("names are short");
    common.extend_from_slice(&name_bytes.to_le_bytes());
    let sizes = [plain.to_le_bytes(), deflated.to_le_bytes()].concat();
    let extra = |values: &[u8]| {
        let bytes = u16::try_from(values.len()).expect("two or three numbers");
        [&1_u16.to_le_bytes(), &bytes.to_le_bytes(), values].concat()
    };

    let local = extra(&sizes);
    let local_bytes = u16::try_from(local.len()).expect("two numbers");
    let before =
        [b"PK\x03\x04", &*common, &local_bytes.to_le_bytes(), name.as_bytes(), &local].concat();

    let central = extra(&[&*sizes, &0_u64.to_le_bytes()].concat());
    let central_bytes = u16::try_from(central.len()).expect("three numbers");
    let mut behind = [b"PK\x01\x02", &ZIP_VERSION.to_le_bytes()[..], &common].concat();
    behind.extend_from_slice(&central_bytes.to_le_bytes());
    // Comment, disk and attributes, then where the local header is: elsewhere.
    behind.extend_from_slice(&[0; 10]);
    behind.extend_from_slice(&ELSEWHERE.to_le_bytes());
    behind.extend_from_slice(name.as_bytes());
    behind.extend_from_slice(&central);

    let directory_at = before.len() as u64 + deflated;
    let directory_bytes = behind.len() as u64;
    let end_at = directory_at + directory_bytes;
    behind.extend_from_slice(b"PK\x06\x06");
    behind.extend_from_slice(&44_u64.to_le_bytes());
    behind.extend_from_slice(&[ZIP_VERSION.to_le_bytes(), ZIP_VERSION.to_le_bytes()].concat());
    behind.extend_from_slice(&[0; 8]);
    for number in [1, 1, directory_bytes, directory_at] {
        behind.extend_from_slice(&number.to_le_bytes());
    }
    behind.extend_from_slice(b"PK\x06\x07");
    behind.extend_from_slice(&0_u32.to_le_bytes());
    behind.extend_from_slice(&end_at.to_le_bytes());
    behind.extend_from_slice(&1_u32.to_le_bytes());
    behind.extend_from_slice(b"PK\x05\x06");
    behind.extend_from_slice(&[0, 0, 0, 0, 1, 0, 1, 0]);
    behind.extend_from_slice(&narrow(directory_bytes).to_le_bytes());
    behind.extend_from_slice(&narrow(directory_at).to_le_bytes());
    behind.extend_from_slice(&[0, 0]);
    Around { before, behind }
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(ELSEWHERE)
}

fn dos_time(at: DateTime<Utc>) -> u16 {
    let bits = at.hour() << 11 | at.minute() << 5 | (at.second() / 2);
    u16::try_from(bits).unwrap_or_default()
}

/// Years before 1980 and after 2107 cannot be told.
fn dos_date(at: DateTime<Utc>) -> u16 {
    let years = at.year().clamp(1980, 2107).abs_diff(1980);
    u16::try_from(years << 9 | at.month() << 5 | at.day()).unwrap_or_default()
}

/// Why the files of a run are not given out as one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There are none.
    #[error(transparent)]
    File(#[from] files::Error),
    /// Where they are does not answer.
    #[error(transparent)]
    Objects(ObjectError),
    /// One is not what the ledger says.
    #[error("the file `{key}` is shorter than it was written; run the export again")]
    Short {
        /// The file.
        key: String,
    },
    /// There are too many.
    #[error(
        "the run {run} has more than {FILES_MAX} files, which are not given out as one; fetch each with a link"
    )]
    Many {
        /// The run.
        run: RunId,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::File(error) => error.code(),
            Self::Objects(error) => error.code(),
            Self::Short { .. } => Code::NotFound,
            Self::Many { .. } => Code::TooLarge,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::File(error) => error.fault(),
            Self::Objects(error) => error.fault(),
            Self::Short { .. } => Fault::Destination,
            Self::Many { .. } => Fault::Request,
        }
    }
}
