//! The formats that rows can be written in, and the [`Encoder`] over all of them.
//!
//! A format is one file in the folder of this module and one line in the registry below. It describes
//! itself as data ([`Kind`]); checks, help and reference follow from that. The exact rules of each are in
//! `docs/formats.md`. This module reads no files and writes none.

use std::sync::Arc;

use ::parquet::errors::ParquetError;
use arrow::error::ArrowError;
use futures::StreamExt;
use model::format::{EncoderId, Encoding, FormatSpec};
use model::naming::Template;
use model::part::PartId;
use model::ports::{EncodedStream, Encoder, NameContext, RowStream};
use model::schema::Schema;
use model::{Code, Failure, Fault, PortError};

use crate::compress::CompressionKind;
use crate::options::{OptionKind, Settings};
use crate::pipeline::Machine;

macro_rules! registry {
    ($($module:ident),+ $(,)?) => {
        $(mod $module;)+
        /// Every format, in the order in which help shows them.
        pub static KINDS: &[&Kind] = &[$(&$module::KIND),+];
    };
}

registry! {
    jsonl,
    csv,
    parquet,
}

/// A format, described as data.
#[derive(Debug)]
pub struct Kind {
    /// What `--format` calls it.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Counts changes of the format's bytes; part of the encoder id.
    pub version: u32,
    /// What file names end with, before the compression's suffix; dot included.
    pub extension: &'static str,
    /// What can be chosen.
    pub options: &'static [OptionKind],
    /// How it can be compressed; the first is the default.
    pub compressions: &'static [&'static CompressionKind],
    /// Whether the compression is inside the format or around the file.
    pub packing: Packing,
    /// What it does.
    format: &'static dyn Format,
}

/// Where a format's compression happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// The file as a whole is compressed, and its name says so.
    Around,
    /// The format compresses inside itself.
    Inside,
}

/// What a format does.
trait Format: std::fmt::Debug + Sync {
    /// Refuses columns that the format cannot hold.
    fn check(&self, settings: &Settings, schema: &Schema) -> Result<(), PortError>;

    /// Returns what an encoder id says besides format, version and options, for files of at most so many
    /// bytes.
    fn id(&self, settings: &Settings, bytes_max: Option<u64>) -> String;

    /// Tells whether stored Parquet may be copied instead of being encoded.
    fn copies(&self, _spec: &FormatSpec) -> bool {
        false
    }

    /// Encodes one file; see [`Encoder::encode`].
    fn encode(&self, machine: Arc<Machine>, task: Task, rows: RowStream) -> EncodedStream;
}

/// One file to be encoded.
struct Task {
    settings: Settings,
    schema: Schema,
    bytes_max: Option<u64>,
}

impl Task {
    /// Names format and compression for people.
    fn label(&self) -> String {
        match self.settings.compression.name {
            "none" => format!("`{}`", self.settings.format.name),
            codec => format!("`{}` with `{codec}`", self.settings.format.name),
        }
    }
}

/// Encodes every format on threads of its own.
///
/// ```
/// use model::{format::FormatSpec, ports::Encoder, schema::Schema};
///
/// let formats = export::Formats::new(2);
/// let spec: FormatSpec =
///     serde_json::from_str(r#"{"format":"jsonl","compression":"gzip"}"#).expect("valid");
/// let schema: Schema =
///     serde_json::from_str(r#"{"fields":[{"name":"a","type":"int64"}]}"#).expect("valid");
/// let encoding = formats.check(&spec, &schema).expect("allowed");
/// assert_eq!(encoding.extension, ".jsonl.gz");
/// assert!(encoding.encoder.0.starts_with("jsonl/1;int64=number;nulls=omit;gzip=sluice-"));
/// ```
pub struct Formats {
    machine: Arc<Machine>,
}

impl Formats {
    /// Starts `threads` threads that all files share; at least one.
    pub fn new(threads: usize) -> Self {
        Self::with_threads(threads, || {})
    }

    /// Starts threads that call `begin` first.
    pub fn with_threads(threads: usize, begin: fn()) -> Self {
        Self { machine: Arc::new(Machine::new(threads, begin)) }
    }

    fn task(encoding: &Encoding, schema: &Schema) -> Result<Task, PortError> {
        let settings = Settings::read(&encoding.spec)?;
        let ours = encoder_id(&settings, encoding.spec.file_bytes);
        if ours != encoding.encoder {
            let planned = encoding.encoder.clone();
            return Err(Error::Planned { planned, ours }.into());
        }
        Ok(Task { settings, schema: schema.clone(), bytes_max: encoding.spec.file_bytes })
    }
}

impl Encoder for Formats {
    fn check(&self, spec: &FormatSpec, schema: &Schema) -> Result<Encoding, PortError> {
        let settings = Settings::read(spec)?;
        Template::parse(spec.name.as_deref())?;
        for (limit, of) in [(spec.file_bytes, "bytes"), (spec.file_rows, "rows")] {
            if limit == Some(0) {
                return Err(Error::Zero { of }.into());
            }
        }
        settings.format.format.check(&settings, schema)?;
        let suffix = match settings.format.packing {
            Packing::Around => settings.compression.suffix,
            Packing::Inside => "",
        };
        Ok(Encoding {
            spec: spec.clone(),
            compression: settings.compression.name.into(),
            encoder: encoder_id(&settings, spec.file_bytes),
            extension: format!("{}{suffix}", settings.format.extension),
            copies: settings.format.format.copies(spec),
        })
    }

    fn name(
        &self,
        encoding: &Encoding,
        context: &NameContext,
        part: PartId,
        parts: u64,
    ) -> Result<String, PortError> {
        let template = Template::parse(encoding.spec.name.as_deref())?;
        Ok(template.render(context, part, parts, &encoding.extension)?)
    }

    fn encode(&self, encoding: &Encoding, schema: &Schema, rows: RowStream) -> EncodedStream {
        match Self::task(encoding, schema) {
            Ok(task) => task.settings.format.format.encode(Arc::clone(&self.machine), task, rows),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }
}

fn encoder_id(settings: &Settings, bytes_max: Option<u64>) -> EncoderId {
    let Kind { name, version, format, .. } = settings.format;
    EncoderId(format!("{name}/{version}{};{}", settings.id(), format.id(settings, bytes_max)))
}

/// Why a file cannot be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The format cannot hold a column.
    #[error("`{format}` cannot hold column `{column}` of type `{kind}`; cast it or leave it out")]
    Column {
        /// The format.
        format: &'static str,
        /// The column.
        column: String,
        /// Its type.
        kind: String,
    },
    /// Some formats need a column.
    #[error("`{format}` needs at least one column; choose some or use `jsonl`")]
    NoColumns {
        /// The format.
        format: &'static str,
    },
    /// A limit of zero.
    #[error("the maximum of {of} in a file cannot be 0; leave it out for no limit")]
    Zero {
        /// Of what.
        of: &'static str,
    },
    /// The part was planned by a program that makes other bytes.
    #[error(
        "this was planned for the encoder `{planned}`, and this version has `{ours}`; finish the run with the version that planned it, or cancel it and start again"
    )]
    Planned {
        /// The id in the plan.
        planned: EncoderId,
        /// The id of this program.
        ours: EncoderId,
    },
    /// Rows came with other columns than was said.
    #[error("rows have {have} columns where the schema has {schema}, which is a bug")]
    Shape {
        /// Columns in the rows.
        have: usize,
        /// Columns in the schema.
        schema: usize,
    },
    /// A value that should have been refused before.
    #[error("column `{column}` cannot be written, which is a bug")]
    Text {
        /// The column, or all of them.
        column: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The Parquet library refused.
    #[error("could not write Parquet")]
    Parquet(#[source] ParquetError),
    /// Rows are not as the schema says.
    #[error("rows are not as their schema says, which is a bug")]
    Batch(#[source] ArrowError),
    /// A value is outside what the format can hold.
    #[error("column `{column}` has a value that `parquet` cannot hold; cast it or leave it out")]
    Value {
        /// The column.
        column: String,
        /// The cause.
        #[source]
        source: ArrowError,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        match self {
            Self::Column { .. }
            | Self::NoColumns { .. }
            | Self::Zero { .. }
            | Self::Value { .. } => Code::Invalid,
            Self::Planned { .. } => Code::Conflict,
            Self::Shape { .. } | Self::Text { .. } | Self::Parquet(_) | Self::Batch(_) => {
                Code::Internal
            }
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Column { .. }
            | Self::NoColumns { .. }
            | Self::Zero { .. }
            | Self::Planned { .. } => Fault::Request,
            Self::Value { .. } => Fault::Source,
            Self::Shape { .. } | Self::Text { .. } | Self::Parquet(_) | Self::Batch(_) => {
                Fault::Own
            }
        }
    }
}

#[cfg(test)]
mod tests;
