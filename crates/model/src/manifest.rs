//! The seal of a run: `manifest.json`, written last, always.
//!
//! What each property means is told in `docs/manifest.md`; the JSON Schema is `docs/manifest.schema.json`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::format::EncoderId;
use crate::ids::{CommitNumber, RunId, SchemaId};
use crate::relation::{Relation, Selection, Source};
use crate::schema::Schema;

/// The version of the manifest's form that this program writes.
pub const VERSION: u32 = 1;

/// The name of every manifest.
pub const FILE_NAME: &str = "manifest.json";

/// The seal of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// The saved export's name; null for a run without one.
    pub export: Option<String>,
    /// The run.
    pub run: RunId,
    /// What rows were taken from.
    pub relation: Source,
    /// What of it.
    pub selection: Selection,
    /// The commit at which the run read the lake.
    pub snapshot_commit: CommitNumber,
    /// The exclusive lower end of the range; 0 for a full export.
    pub from_commit: CommitNumber,
    /// The inclusive upper end of the range.
    pub to_commit: CommitNumber,
    /// Commits of kind replace or revert in the range.
    pub reset: Vec<CommitNumber>,
    /// The columns of the files.
    pub schema: ManifestSchema,
    /// The format of the files.
    pub format: String,
    /// The compression of the files.
    pub compression: String,
    /// Everything else that decides the bytes.
    pub encoder: EncoderId,
    /// When the manifest was fixed.
    pub created_at: DateTime<Utc>,
    /// Whether the range had been delivered before and this run only delivered it once more; such a
    /// manifest is not part of the export's chain.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// The commit after which the export's chain begins, in its first manifest, if that is not 0: what came before is no part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_after: Option<CommitNumber>,
    /// The manifest before this one in the export's chain.
    pub previous: Option<Previous>,
    /// Sums over `files`.
    pub totals: Totals,
    /// The files, in row order; empty when they are listed in `files_list`.
    pub files: Vec<File>,
    /// A JSON Lines file of entries as in `files`, when there are too many for the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_list: Option<FilesList>,
}

/// A schema with its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestSchema {
    /// The schema's id.
    pub id: SchemaId,
    /// The columns.
    pub fields: Vec<crate::schema::Field>,
}

impl From<&Schema> for ManifestSchema {
    fn from(schema: &Schema) -> Self {
        Self { id: schema.id(), fields: schema.fields.clone() }
    }
}

/// The manifest before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Previous {
    /// Its run.
    pub run: RunId,
    /// Its path, relative to the folder of the manifest that names it.
    pub path: String,
    /// SHA-256 of its bytes, bare lower-case hex.
    pub sha256: String,
}

/// Sums over the files of a manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Files.
    pub files: u64,
}

/// One file of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path, relative to the manifest's folder.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Bytes of it.
    pub bytes: u64,
    /// Bytes before compression.
    pub uncompressed_bytes: u64,
    /// SHA-256 of it, bare lower-case hex.
    pub sha256: String,
    /// MD5 of it, bare lower-case hex, on request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
    /// The least commit among its input rows; null for staged rows.
    pub first_commit: Option<CommitNumber>,
    /// The greatest commit among its input rows.
    pub last_commit: Option<CommitNumber>,
}

/// A list of files that lies beside its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesList {
    /// Its path, relative to the manifest's folder.
    pub path: String,
    /// Bytes of it.
    pub bytes: u64,
    /// SHA-256 of it, bare lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Returns the manifest's exact bytes: indented JSON that ends in a newline.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("only string keys");
        text.push('\n');
        text
    }

    /// Returns whether the manifest belongs to no chain: it has no name, or delivers a range [again](Self::again).
    /// It then follows no manifest and none follows it, so its range may begin anywhere.
    pub fn stands_alone(&self) -> bool {
        self.again || self.export.is_none()
    }

    /// Returns what was exported.
    pub fn asked(&self) -> Relation {
        Relation { source: self.relation.clone(), selection: self.selection.clone() }
    }
}
