//! One file against its entry: read once from end to end, hashed and counted in the same pass.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use md5::Md5;
use model::CommitNumber;
use model::digest::hex;
use model::manifest::{File as Entry, Manifest};
use sha2::{Digest, Sha256};

use super::content::{self, Content, Counted, Flaw};
use super::report::{Difference, Kind, counted};

/// What all files of one manifest share.
pub(super) struct Beside {
    /// The manifest, as people are told of it.
    pub(super) manifest: PathBuf,
    /// The manifest's folder, with no link in it.
    pub(super) folder: PathBuf,
    /// How to read the files; none if that is unknown.
    pub(super) content: Option<Content>,
    /// The exclusive lower end of the range.
    from: CommitNumber,
    /// The inclusive upper end of the range.
    to: CommitNumber,
}

/// What one file really is.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Files read: 1, or 0 if it could not be opened.
    pub(super) files: u64,
    /// Rows counted.
    pub(super) rows: u64,
    /// Bytes read.
    pub(super) bytes: u64,
    /// Where it differs.
    pub(super) differences: Vec<Difference>,
}

impl Beside {
    pub(super) fn new(manifest: &Manifest, path: &Path, folder: &Path) -> Self {
        Self {
            manifest: path.to_owned(),
            folder: folder.to_owned(),
            content: Content::of(manifest),
            from: manifest.from_commit,
            to: manifest.to_commit,
        }
    }

    /// Makes a difference of a file, or of the manifest itself.
    pub(super) fn differs(
        &self,
        file: Option<&str>,
        kind: Kind,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Difference {
        let (expected, found) = (expected.into(), found.into());
        let file = file.map(str::to_owned);
        Difference { manifest: self.manifest.clone(), file, kind, expected, found }
    }

    /// Opens a file that a manifest names.
    ///
    /// # Errors
    ///
    /// The difference that it makes. Nothing outside of the folder is opened, not even through a link,
    /// and nothing but plain files: a named pipe would never end.
    pub(super) fn open(&self, path: &str, bytes: u64) -> Result<File, Difference> {
        let differs = |kind, expected: &str, found: &str| {
            Err(self.differs(Some(path), kind, expected, found))
        };
        if !is_plain(path) {
            return differs(Kind::Path, "names of folders and a file, with `/` between", "others");
        }
        let real = match self.folder.join(path).canonicalize() {
            Ok(real) => real,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                    return differs(Kind::Missing, &counted(bytes, "byte"), "nothing");
                }
                kind => return differs(Kind::Unreadable, "a file", &kind.to_string()),
            },
        };
        if !real.starts_with(&self.folder) {
            return differs(Kind::Path, "a file in the manifest's folder", "a link out of it");
        }
        match fs::metadata(&real) {
            Ok(metadata) if !metadata.is_file() => {
                return differs(Kind::Unreadable, "a file", "something that is no file");
            }
            Ok(_) => {}
            Err(error) => {
                return differs(Kind::Unreadable, "a file", &error.kind().to_string());
            }
        }
        File::open(&real).or_else(|error| {
            differs(Kind::Unreadable, "a file that opens", &error.kind().to_string())
        })
    }

    /// Reads a file and holds it against its entry.
    pub(super) fn check(&self, entry: &Entry) -> Checked {
        let mut checked = Checked::default();
        checked.differences.extend(self.commits(entry));
        let file = match self.open(&entry.path, entry.bytes) {
            Ok(file) => file,
            Err(difference) => {
                checked.differences.push(difference);
                return checked;
            }
        };
        let mut hashing = Hashing::new(file, entry.md5.as_ref().map(|_| Md5::new()));
        let counted = self.content.map(|how| hashing.count(how, entry.uncompressed_bytes));
        hashing.drain();
        checked.files = 1;
        checked.bytes = hashing.bytes;
        if let Some(kind) = hashing.failed {
            let (all, found) = (counted_bytes(entry.bytes), kind.to_string());
            let difference = self.differs(Some(&entry.path), Kind::Unreadable, all, found);
            checked.differences.push(difference);
            return checked;
        }
        checked.differences.extend(self.sums(entry, hashing));
        match counted {
            Some(Ok(counted)) => {
                checked.rows = counted.rows;
                checked.differences.extend(self.counts(entry, counted));
            }
            Some(Err(flaw)) => checked.differences.push(self.flaw(entry, flaw)),
            None => {}
        }
        checked
    }

    fn commits(&self, entry: &Entry) -> Option<Difference> {
        let found = match (entry.first_commit, entry.last_commit) {
            (None, None) => return None,
            (Some(first), Some(last)) => {
                if self.from < first && first <= last && last <= self.to {
                    return None;
                }
                format!("first {first} and last {last}")
            }
            (Some(first), None) => format!("first {first} without a last"),
            (None, Some(last)) => format!("last {last} without a first"),
        };
        let range = format!("commits in ({}, {}]", self.from, self.to);
        Some(self.differs(Some(&entry.path), Kind::Commits, range, found))
    }

    fn sums(&self, entry: &Entry, hashing: Hashing) -> Vec<Difference> {
        let quoted = |sum: &str| format!("`{sum}`");
        let mut out = Vec::new();
        let mut differs = |kind, expected: String, found: String| {
            if expected != found {
                out.push(self.differs(Some(&entry.path), kind, expected, found));
            }
        };
        differs(Kind::Bytes, counted_bytes(entry.bytes), counted_bytes(hashing.bytes));
        let sha256 = hex(&hashing.sha256.finalize());
        differs(Kind::Sha256, quoted(&entry.sha256), quoted(&sha256));
        if let (Some(said), Some(found)) = (&entry.md5, hashing.md5) {
            differs(Kind::Md5, quoted(said), quoted(&hex(&found.finalize())));
        }
        out
    }

    fn counts(&self, entry: &Entry, found: Counted) -> Vec<Difference> {
        let mut out = Vec::new();
        if found.rows != entry.rows {
            let (expected, found) = (counted(entry.rows, "row"), counted(found.rows, "row"));
            out.push(self.differs(Some(&entry.path), Kind::Rows, expected, found));
        }
        match found.text_bytes {
            Some(found) if found != entry.uncompressed_bytes => {
                let (said, found) = (counted_bytes(entry.uncompressed_bytes), counted_bytes(found));
                out.push(self.differs(Some(&entry.path), Kind::UncompressedBytes, said, found));
            }
            _ => {}
        }
        out
    }

    fn flaw(&self, entry: &Entry, flaw: Flaw) -> Difference {
        let (kind, expected, found) = match flaw {
            Flaw::Broken(found) => (Kind::Content, self.row(), found),
            Flaw::Excess(most) => {
                let more = format!("more than {}", counted_bytes(most));
                (Kind::UncompressedBytes, counted_bytes(entry.uncompressed_bytes), more)
            }
        };
        self.differs(Some(&entry.path), kind, expected, found)
    }

    /// Says what a file that is of its format has.
    fn row(&self) -> String {
        match self.content {
            Some(Content::Text(content::Text::Lines, _)) => "one JSON object a line".into(),
            Some(Content::Text(content::Text::Records(dialect), _)) => {
                format!("CSV records of {}", counted(dialect.columns as u64, "field"))
            }
            Some(Content::Parquet) | None => "a whole Parquet file".into(),
        }
    }
}

fn counted_bytes(bytes: u64) -> String {
    counted(bytes, "byte")
}

/// Returns whether a path is made of names only, in one spelling: what is equal as text is one file.
pub(super) fn is_plain(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains(['\\', '\0']))
}

/// A file that is hashed while it is read.
struct Hashing {
    file: File,
    bytes: u64,
    sha256: Sha256,
    md5: Option<Md5>,
    /// Why the file system could not go on; told apart from content that a decoder dislikes.
    failed: Option<io::ErrorKind>,
}

impl Hashing {
    fn new(file: File, md5: Option<Md5>) -> Self {
        Self { file, bytes: 0, sha256: Sha256::new(), md5, failed: None }
    }

    fn count(&mut self, how: Content, said: u64) -> Result<Counted, Flaw> {
        match how {
            Content::Text(text, packing) => content::count_text(self, (text, packing), said),
            Content::Parquet => {
                let counted = content::count_parquet(&self.file);
                if let Err(error) = self.file.rewind() {
                    self.failed = Some(error.kind());
                }
                counted
            }
        }
    }

    /// Reads what the count left unread.
    fn drain(&mut self) {
        let mut buffer = vec![0; content::BUFFER_BYTES];
        while self.failed.is_none() && !matches!(self.read(&mut buffer), Ok(0)) {}
    }
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.file.read(buffer) {
            Ok(read) => read,
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.failed = Some(error.kind());
                }
                return Err(error);
            }
        };
        self.bytes += read as u64;
        self.sha256.update(&buffer[..read]);
        if let Some(md5) = &mut self.md5 {
            md5.update(&buffer[..read]);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_of_a_path_is_plain() {
        for path in ["a", "a/b.jsonl", "…/x y", "..a", "-"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["", "/a", "a/", "a//b", "./a", "a/../b", "..", ".", r"..\a", "a\0"] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
