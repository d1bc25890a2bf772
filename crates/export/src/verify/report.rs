//! What `verify` saw, for people and as JSON.

use std::fmt;
use std::path::{Path, PathBuf};

use model::limits::VERIFY_DIFFERENCES_MAX;
use model::{CommitNumber, RunId};
use serde::{Serialize, Serializer};

use super::Chain;

/// What was read and counted, and where it differs from what manifests say.
///
/// `Display` is one sentence; the differences are lines of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether predecessors were followed.
    pub chain: Chain,
    /// The manifests that were read, newest first.
    pub manifests: Vec<Verified>,
    /// Every difference, by manifest and file; empty if all is good.
    pub differences: Vec<Difference>,
    /// Differences beyond [`VERIFY_DIFFERENCES_MAX`], which are counted only.
    pub differences_left_out: u64,
    /// Files that were read.
    pub files: u64,
    /// Rows that were counted in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A manifest that was read, with what was really found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Where it lies.
    #[serde(serialize_with = "path_text")]
    pub path: PathBuf,
    /// Its run.
    pub run: RunId,
    /// Its export's name, if it has one.
    pub export: Option<String>,
    /// Whether it belongs to no chain.
    pub stands_alone: bool,
    /// The exclusive lower end of its range.
    pub from: CommitNumber,
    /// The inclusive upper end of its range.
    pub to: CommitNumber,
    /// Files that were read.
    pub files: u64,
    /// Rows that were counted in them.
    pub rows: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// One thing that is not as a manifest says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The manifest.
    #[serde(serialize_with = "path_text")]
    pub manifest: PathBuf,
    /// The file, as the manifest names it; none if it is the manifest itself.
    pub file: Option<String>,
    /// What differs.
    pub kind: Kind,
    /// What there should be.
    pub expected: String,
    /// What there is.
    pub found: String,
}

/// Every kind of difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The format or compression is not one of this program's, so rows cannot be counted.
    Format,
    /// The schema's id is not that of its fields.
    SchemaId,
    /// The commits of the manifest are out of order.
    Range,
    /// The sum of rows is not that of the files listed.
    TotalRows,
    /// The sum of bytes is not that of the files listed.
    TotalBytes,
    /// The number of files is not that of the files listed.
    TotalFiles,
    /// The list of files beside the manifest cannot be used as one.
    FilesList,
    /// The path could lead out of the manifest's folder, or does.
    Path,
    /// Two entries name one file, or an entry names the manifest or its list.
    DuplicatePath,
    /// The commits of the file are outside of the manifest's range.
    Commits,
    /// The file is not there.
    Missing,
    /// The file could not be read to its end.
    Unreadable,
    /// The file has another length.
    Bytes,
    /// The file has another SHA-256.
    Sha256,
    /// The file has another MD5.
    Md5,
    /// The file is not of its format.
    Content,
    /// The file has another number of rows.
    Rows,
    /// The file has another length before compression.
    UncompressedBytes,
    /// The path of the predecessor is not that of a manifest beside this one.
    PredecessorPath,
    /// The predecessor is not there.
    PredecessorMissing,
    /// The predecessor is not a manifest that this program reads.
    PredecessorUnreadable,
    /// The predecessor was changed after it was sealed.
    PredecessorSha256,
    /// The predecessor is of another run.
    PredecessorRun,
    /// The predecessor is of another export.
    PredecessorExport,
    /// The predecessor ends elsewhere than this manifest begins: commits are missing or double.
    NotAdjoining,
    /// The chain comes back to a manifest that it already passed.
    Loop,
    /// The chain of an export does not begin at commit 0.
    ChainStart,
    /// The chain is longer than this program follows.
    ChainLength,
    /// A manifest that belongs to no chain follows another, or is followed.
    StandsAlone,
}

impl Report {
    pub(super) fn new(chain: Chain) -> Self {
        Self {
            chain,
            manifests: Vec::new(),
            differences: Vec::new(),
            differences_left_out: 0,
            files: 0,
            rows: 0,
            bytes: 0,
        }
    }

    /// Returns whether everything is as the manifests say.
    pub fn is_good(&self) -> bool {
        self.differences.is_empty()
    }

    pub(super) fn add(&mut self, verified: Verified) {
        self.files += verified.files;
        self.rows = self.rows.saturating_add(verified.rows);
        self.bytes += verified.bytes;
        self.manifests.push(verified);
    }

    pub(super) fn differ(&mut self, difference: Difference) {
        if self.differences.len() < VERIFY_DIFFERENCES_MAX {
            self.differences.push(difference);
        } else {
            self.differences_left_out += 1;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let manifests = self.manifests.len() as u64;
        write!(
            f,
            "{}, {}, {}, {}: ",
            counted(manifests, "manifest"),
            counted(self.files, "file"),
            counted(self.rows, "row"),
            size(self.bytes),
        )?;
        let differences = self.differences.len() as u64 + self.differences_left_out;
        match (differences, self.chain, manifests) {
            (0, Chain::One, _) => f.write_str("every file is as the manifest says"),
            (0, Chain::Follow, 1) if self.manifests[0].stands_alone => {
                f.write_str("every file is as the manifest says, and it stands alone")
            }
            (0, Chain::Follow, 1) => {
                f.write_str("every file is as the manifest says, and the chain begins with it")
            }
            (0, Chain::Follow, _) => {
                f.write_str("every file is as its manifest says, and the chain adjoins")
            }
            (some, ..) => write!(f, "{} found", counted(some, "difference")),
        }
    }
}

/// Writes one line, whatever the names are.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { manifest, file, kind, expected, found } = self;
        write!(f, "`{}`: ", manifest.to_string_lossy().escape_debug())?;
        if let Some(file) = file {
            write!(f, "`{}`: ", file.escape_debug())?;
        }
        write!(f, "{kind}: expected {expected}, found {found}")
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "the format is unknown",
            Self::SchemaId => "the schema's id is not that of its fields",
            Self::Range => "the commits are out of order",
            Self::TotalRows => "the total of rows is wrong",
            Self::TotalBytes => "the total of bytes is wrong",
            Self::TotalFiles => "the total of files is wrong",
            Self::FilesList => "the list of files is broken",
            Self::Path => "the path leads out of the manifest's folder",
            Self::DuplicatePath => "the path is named twice",
            Self::Commits => "the commits are outside of the manifest's range",
            Self::Missing => "the file is missing",
            Self::Unreadable => "the file cannot be read",
            Self::Bytes => "the length differs",
            Self::Sha256 => "the SHA-256 differs",
            Self::Md5 => "the MD5 differs",
            Self::Content => "the content is broken",
            Self::Rows => "the number of rows differs",
            Self::UncompressedBytes => "the length before compression differs",
            Self::PredecessorPath => "the predecessor's path is not one of a manifest",
            Self::PredecessorMissing => "the predecessor is missing",
            Self::PredecessorUnreadable => "the predecessor cannot be read",
            Self::PredecessorSha256 => "the predecessor was changed",
            Self::PredecessorRun => "the predecessor is another run's",
            Self::PredecessorExport => "the predecessor is another export's",
            Self::NotAdjoining => "the ranges do not adjoin",
            Self::Loop => "the chain is a loop",
            Self::ChainStart => "the chain has no beginning",
            Self::ChainLength => "the chain is too long",
            Self::StandsAlone => "a manifest that stands alone is in a chain",
        })
    }
}

/// Says a number with its noun: `1 row`, `541,909 rows`.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Writes a path as text also if it is not UTF-8, which serde refuses.
fn path_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(541_909, "row"), "541,909 rows");
        assert_eq!(counted(1_000_000, "row"), "1,000,000 rows");
        assert_eq!([size(0), size(1023), size(1024)], ["0 B", "1023 B", "1.0 KiB"]);
        assert_eq!(size(25_270_682), "24.1 MiB");
    }

    #[test]
    fn a_difference_is_one_line_also_for_wild_names() {
        let difference = Difference {
            manifest: "a/manifest.json".into(),
            file: Some("x\ny".into()),
            kind: Kind::Rows,
            expected: "1".into(),
            found: "2".into(),
        };
        assert_eq!(
            difference.to_string(),
            r"`a/manifest.json`: `x\ny`: the number of rows differs: expected 1, found 2"
        );
    }

    #[test]
    fn differences_beyond_the_limit_are_counted() {
        let mut report = Report::new(Chain::One);
        let difference = Difference {
            manifest: "m".into(),
            file: None,
            kind: Kind::Range,
            expected: String::new(),
            found: String::new(),
        };
        for _ in 0..VERIFY_DIFFERENCES_MAX + 2 {
            report.differ(difference.clone());
        }
        assert_eq!(report.differences.len(), VERIFY_DIFFERENCES_MAX);
        assert!(report.to_string().ends_with(": 10,002 differences found"), "{report}");
    }
}
