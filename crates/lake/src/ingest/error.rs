//! What can be wrong with input: one line that names the file, the line and the column.

use std::path::PathBuf;

use model::ports::CatalogError;
use model::{Code, Failure, Fault, limits, schema};

/// What is wrong with one record. `Display` has no file and no line: those are the caller's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("invalid JSON at column {column}: expected {expected}")]
    Json {
        /// Lines into the record.
        lines: u64,
        column: usize,
        expected: &'static str,
    },
    #[error("expected a JSON object, found {found}")]
    NotObject { found: &'static str },
    #[error("values are nested deeper than {}; flatten them", limits::NESTING_MAX)]
    TooDeep,
    #[error("more than {} columns; move some of them into a list of pairs", limits::COLUMNS_MAX)]
    TooManyColumns,
    #[error("the name `{name}` appears twice")]
    Twice { name: String },
    #[error("column {column} of the header has no name")]
    Unnamed { column: usize },
    #[error("invalid UTF-8; save the file as UTF-8")]
    Utf8,
    #[error("expected {expected} fields as in the header, found {found}")]
    FieldCount { expected: usize, found: usize },
    #[error("a quoted field is never closed")]
    OpenQuote,
    #[error("text follows a closing quote; double the quotes inside a field")]
    AfterQuote,
    #[error(
        "column `{column}` is `{have}` in the dataset and `{new}` in the input; cast one of them"
    )]
    Type { column: String, have: String, new: String },
    #[error("column `{column}` is `{have}`, which `{value}` is not")]
    Value { column: String, have: String, value: String },
    #[error("column `{column}` must have a value")]
    Missing { column: String },
    #[error("column `{column}` appeared while the file was read; do not write to it meanwhile")]
    Changed { column: String },
    #[error("rows of one block hold more than 2 GiB in column `{column}`; split them")]
    TooLarge { column: String },
}

impl Reason {
    /// Returns the lines between the record's first line and the trouble.
    pub(crate) fn lines(&self) -> u64 {
        if let Self::Json { lines, .. } = self { *lines } else { 0 }
    }

    fn is_too_large(&self) -> bool {
        matches!(self, Self::TooDeep | Self::TooManyColumns | Self::TooLarge { .. })
    }
}

/// Where something was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` line {}", self.file, self.line)
    }
}

/// A kind of value and where it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) kind: &'static str,
    pub(crate) place: Place,
}

impl std::fmt::Display for Sighting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` in {}", self.kind, self.place)
    }
}

/// What went wrong with an import.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IngestError {
    #[error("no file to import; name at least one")]
    NoFiles,
    #[error(
        "{count} files are more than the {} of one import; import them in several",
        limits::IMPORT_FILES_MAX
    )]
    TooManyFiles { count: usize },
    #[error("`{file}` does not exist")]
    NoFile { file: String },
    #[error("`{file}` is not a file; name the files inside a folder one by one")]
    NotAFile { file: String },
    #[error("`{file}` is a pipe or a device, and input is read twice; save it as a file first")]
    Pipe { file: String },
    #[error("`{file}` is empty; there is nothing to import")]
    Empty { file: String },
    #[error("`{file}` has no rows; there is nothing to import")]
    NoRows { file: String },
    #[error("could not read `{file}`: {source}")]
    Read {
        file: String,
        #[source]
        source: std::io::Error,
    },
    #[error("`{file}` is not whole or not {codec}: {source}; fetch it again")]
    Compressed {
        file: String,
        codec: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("`{file}` is Parquet inside a compressed file; decompress it first")]
    CompressedParquet { file: String },
    #[error("`{file}` is a Parquet file, not text; leave `--format` out")]
    NotText { file: String },
    #[error("`{file}` is not a whole Parquet file: {source}; fetch it again")]
    Parquet {
        file: String,
        #[source]
        source: parquet::errors::ParquetError,
    },
    #[error(
        "`{file}` is not whole: a page of its Parquet data cannot be read: {source}; fetch it again"
    )]
    Page {
        file: String,
        #[source]
        source: arrow::error::ArrowError,
    },
    #[error("{place}: {reason}")]
    Record {
        place: Place,
        #[source]
        reason: Reason,
    },
    #[error("`{file}` row {row}: {reason}")]
    Row {
        file: String,
        row: u64,
        #[source]
        reason: Reason,
    },
    #[error("{place}: a record is longer than {} MiB; split it", limits::RECORD_BYTES_MAX >> 20)]
    TooLong { place: Place },
    #[error("`{file}` unpacks to more than {max} bytes; send less at once")]
    Unpacked { file: String, max: u64 },
    #[error("{place}: the file ends inside a value that begins here; fetch it again")]
    Unfinished { place: Place },
    #[error("{place}: a quoted field begins here and is never closed")]
    OpenQuote { place: Place },
    #[error("{place}: invalid JSON: expected {expected}")]
    Between { place: Place, expected: &'static str },
    #[error("column `{column}` is {one} and {two}; make them one type")]
    Mixed { column: String, one: Box<Sighting>, two: Box<Sighting> },
    #[error("`{file}`: {source}")]
    Schema {
        file: String,
        #[source]
        source: schema::Error,
    },
    #[error("the column name `{name}` is reserved; rename it")]
    Reserved { name: String },
    #[error("the input has no columns; there is nothing to import")]
    NoColumns,
    #[error(
        "the input has more than {} columns, nested ones included; leave some out",
        limits::COLUMNS_MAX
    )]
    TooManyColumns,
    #[error(
        "the types of column `{column}` are nested deeper than {}; flatten them",
        limits::NESTING_MAX
    )]
    TooDeep { column: String },
    #[error("column `{column}` is `{kind}`, which cannot be read from text; import it as Parquet")]
    NotFromText { column: String, kind: String },
    #[error("the time column `{column}` is not in the input; name one of its columns")]
    NoTimeColumn { column: String },
    #[error("the time column `{column}` is `{kind}`, which is not a time; {hint}")]
    NotATime { column: String, kind: String, hint: String },
    #[error(
        "`{file}` has no column `{column}`, which is to say when its rows were received; name one of its columns"
    )]
    NoReceiveTime { file: String, column: String },
    #[error(
        "`{file}` has `{column}` and `received_at`, and can keep one of them as that; leave one out"
    )]
    ReceivedTwice { file: String, column: String },
    #[error(
        "`{column}` is the dataset's time column, which says when its rows happened; name another column that says when they were received"
    )]
    ReceivedIsTime { column: String },
    #[error("the dataset `{dataset}` has {have}; it cannot become `{asked}`")]
    OtherTimeColumn { dataset: String, have: String, asked: String },
    #[error(
        "an idempotency key of {} characters at most is allowed and none of 0; shorten it",
        limits::KEY_CHARS_MAX
    )]
    BadKey,
    #[error(
        "every row was rejected; the reasons are in `{}`; the first: {first}", path.display()
    )]
    AllRejected { first: String, path: PathBuf },
    #[error("more than {} rows were rejected; mend the input first", limits::REJECTED_ROWS_MAX)]
    TooManyRejected,
    #[error("could not write the rejected rows to `{path}`: {source}")]
    Rejects {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("a reading thread broke off")]
    Task(#[source] tokio::task::JoinError),
    #[error("the dataset `{dataset}` kept changing while the rows were committed; try again")]
    Busy { dataset: String },
    #[error(
        "the metadata database did not say whether the rows were committed; look at the dataset's commits before you try again"
    )]
    Unsettled {
        #[source]
        source: CatalogError,
    },
}

impl Failure for IngestError {
    fn code(&self) -> Code {
        match self {
            Self::NoFile { .. } => Code::NotFound,
            Self::TooManyFiles { .. }
            | Self::TooLong { .. }
            | Self::Unpacked { .. }
            | Self::TooManyColumns
            | Self::TooDeep { .. }
            | Self::TooManyRejected => Code::TooLarge,
            Self::Record { reason, .. } | Self::Row { reason, .. } if reason.is_too_large() => {
                Code::TooLarge
            }
            Self::Schema { source, .. } => source.code(),
            Self::OtherTimeColumn { .. } => Code::Conflict,
            Self::Busy { .. } | Self::Unsettled { .. } => Code::Unavailable,
            Self::Arrow(_) | Self::Task(_) => Code::Internal,
            _ => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::NoFiles
            | Self::TooManyFiles { .. }
            | Self::BadKey
            | Self::OtherTimeColumn { .. }
            | Self::NoTimeColumn { .. }
            | Self::NoReceiveTime { .. }
            | Self::ReceivedTwice { .. }
            | Self::ReceivedIsTime { .. } => Fault::Request,
            Self::Rejects { .. } => Fault::Destination,
            Self::Arrow(_) | Self::Task(_) | Self::Busy { .. } | Self::Unsettled { .. } => {
                Fault::Own
            }
            _ => Fault::Source,
        }
    }
}
