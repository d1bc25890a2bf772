//! How rows become bytes, as data. The formats themselves live in `export`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The format that a user asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormatSpec {
    /// The format's name: `jsonl`, `csv`, `parquet`.
    pub format: String,
    /// `none`, `gzip`, `zstd` or `snappy`; the format's default without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Options by key (`jsonl.int64`), as the format documents them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Rows of one file at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_rows: Option<u64>,
    /// Bytes of one finished file at most: a hard limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// The template of file names; `part-{part}` without it. The extension is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The template of the run's folder; `{export}/{run}` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Whether the manifest has the MD5 of each file, too, for readers that know no better.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub md5: bool,
}

impl FormatSpec {
    /// Asks for a format with everything else as it is without a choice.
    pub fn new(format: impl Into<String>) -> Self {
        Self {
            format: format.into(),
            compression: None,
            options: BTreeMap::new(),
            file_rows: None,
            file_bytes: None,
            name: None,
            folder: None,
            md5: false,
        }
    }
}

/// Names everything that decides the bytes besides the rows: format version, options, compressor with
/// its version, level and member size. The same part and encoder id give the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EncoderId(pub String);

impl fmt::Display for EncoderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A format spec that was checked against a schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Encoding {
    /// What was asked.
    pub spec: FormatSpec,
    /// The compression in force: `none`, `gzip`, `zstd` or `snappy`.
    pub compression: String,
    /// The encoder's id.
    pub encoder: EncoderId,
    /// What file names end with, dot included: `.jsonl.gz`.
    pub extension: String,
    /// Whether stored Parquet of this compression may be copied instead of being encoded anew.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copies: bool,
}
