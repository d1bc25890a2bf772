//! One manifest: read, checked in itself, and its files checked on every core.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use model::digest::{hex, sha256_hex};
use model::limits::{MANIFEST_BYTES_MAX, PARTS_MAX, RECORD_BYTES_MAX, VERIFY_DIFFERENCES_MAX};
use model::manifest::{FILE_NAME, File as Entry, FilesList, Manifest, Totals, VERSION};
use model::schema::Schema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::Error;
use super::content::BUFFER_BYTES;
use super::file::{Beside, Checked};
use super::report::{Difference, Kind, Report, Verified, counted};

/// A manifest as it was read.
pub(super) struct Sealed {
    /// What it says.
    pub(super) manifest: Manifest,
    /// Its path, as people are told of it.
    pub(super) shown: PathBuf,
    /// Its path, with no link in it.
    pub(super) real: PathBuf,
    /// SHA-256 of its bytes.
    pub(super) sha256: String,
}

impl Sealed {
    /// Reads a manifest; its files are left alone.
    pub(super) fn read(shown: &Path) -> Result<Self, Error> {
        let io = |source: io::Error| Error::read(shown, source);
        let real = shown.canonicalize().map_err(io)?;
        Self::read_real(real, shown)
    }

    /// Reads the manifest at `real`, which people know as `shown`.
    pub(super) fn read_real(real: PathBuf, shown: &Path) -> Result<Self, Error> {
        let io = |source: io::Error| Error::read(shown, source);
        if !real.metadata().map_err(io)?.is_file() {
            return Err(Error::NoFile { path: shown.to_owned() });
        }
        let mut bytes = Vec::new();
        let file = File::open(&real).map_err(io)?;
        file.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() as u64 > MANIFEST_BYTES_MAX {
            return Err(Error::TooLarge { path: shown.to_owned() });
        }
        let manifest = parse(&bytes, shown)?;
        Ok(Self { manifest, shown: shown.to_owned(), real, sha256: sha256_hex(&bytes) })
    }

    /// Returns the folder that paths are relative to.
    pub(super) fn folder(&self) -> &Path {
        self.real.parent().expect("a file has a folder")
    }

    /// Checks what the manifest says, in itself and against its files.
    pub(super) fn check(&self, report: &mut Report) {
        let Self { manifest, shown, .. } = self;
        let beside = Beside::new(manifest, shown, self.folder());
        for difference in own_differences(manifest, &beside) {
            report.differ(difference);
        }
        let outcome = check_files(manifest, &beside);
        for difference in outcome.differences {
            report.differ(difference);
        }
        report.differences_left_out += outcome.left_out;
        report.add(Verified {
            path: shown.clone(),
            run: manifest.run.clone(),
            export: manifest.export.clone(),
            stands_alone: manifest.stands_alone(),
            from: manifest.from_commit,
            to: manifest.to_commit,
            files: outcome.found.files,
            rows: outcome.found.rows,
            bytes: outcome.found.bytes,
        });
    }
}

fn parse(bytes: &[u8], path: &Path) -> Result<Manifest, Error> {
    /// What every version has.
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }

    let path = || path.to_owned();
    let versioned: Versioned = serde_json::from_slice(bytes).map_err(|source| {
        if source.is_data() {
            Error::NoManifest { path: path(), source }
        } else {
            Error::NoJson { path: path(), source }
        }
    })?;
    if versioned.version != VERSION {
        return Err(Error::Version { path: path(), found: versioned.version });
    }
    serde_json::from_slice(bytes).map_err(|source| Error::Form { path: path(), source })
}

/// Checks what needs no other file.
fn own_differences(manifest: &Manifest, beside: &Beside) -> Vec<Difference> {
    let mut out = Vec::new();
    let mut differs =
        |kind, expected: &str, found: String| out.push(beside.differs(None, kind, expected, found));
    if beside.content.is_none() {
        let found = format!("`{}` with `{}`", manifest.format, manifest.compression);
        differs(
            Kind::Format,
            "`jsonl` or `csv` with `none`, `gzip` or `zstd`, or `parquet`",
            found,
        );
    }
    let id = Schema { fields: manifest.schema.fields.clone() }.id();
    if id != manifest.schema.id {
        differs(Kind::SchemaId, &format!("`{id}`"), format!("`{}`", manifest.schema.id));
    }
    let (from, to) = (manifest.from_commit, manifest.to_commit);
    if from > to || to > manifest.snapshot_commit {
        let found = format!("{from}, {to} and {}", manifest.snapshot_commit);
        differs(Kind::Range, "`from_commit` ≤ `to_commit` ≤ `snapshot_commit`", found);
    }
    if let Some(reset) = manifest.reset.iter().find(|reset| **reset <= from || **reset > to) {
        differs(Kind::Range, &format!("`reset` in ({from}, {to}]"), format!("commit {reset}"));
    }
    if manifest.files_list.is_some() && !manifest.files.is_empty() {
        let found = counted(manifest.files.len() as u64, "entry");
        differs(Kind::FilesList, "no `files` where there is a `files_list`", found);
    }
    out
}

/// What came of the files of one manifest.
#[derive(Default)]
struct Outcome {
    /// What was read of them.
    found: Totals,
    /// In the order of the entries.
    differences: Vec<Difference>,
    /// Differences beyond the limit.
    left_out: u64,
}

/// What the workers share.
#[derive(Default)]
struct Findings {
    found: Totals,
    differences: Vec<(u64, Difference)>,
    left_out: u64,
}

impl Findings {
    fn add(&mut self, at: u64, checked: Checked) {
        self.found.files += checked.files;
        self.found.rows = self.found.rows.saturating_add(checked.rows);
        self.found.bytes += checked.bytes;
        for difference in checked.differences {
            if self.differences.len() < VERIFY_DIFFERENCES_MAX {
                self.differences.push((at, difference));
            } else {
                self.left_out += 1;
            }
        }
    }
}

type Work = (u64, Entry);

fn check_files(manifest: &Manifest, beside: &Beside) -> Outcome {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let listed = if manifest.files_list.is_some() { cores } else { manifest.files.len() };
    let findings = Mutex::new(Findings::default());
    let (send, receive) = sync_channel::<Work>(cores);
    let receive = Arc::new(Mutex::new(receive));
    let listing = thread::scope(|scope| {
        for _ in 0..cores.min(listed) {
            let (receive, findings) = (Arc::clone(&receive), &findings);
            scope.spawn(move || work(beside, &receive, findings));
        }
        // With the workers gone nobody receives: sending then fails instead of waiting for ever.
        drop(receive);
        list(manifest, beside, send)
    });
    let findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut differences = findings.differences;
    differences.sort_by_key(|(at, _)| *at);
    let mut differences: Vec<_> =
        differences.into_iter().map(|(_, difference)| difference).collect();
    differences.extend(listing);
    Outcome { found: findings.found, differences, left_out: findings.left_out }
}

fn work(beside: &Beside, receive: &Mutex<Receiver<Work>>, findings: &Mutex<Findings>) {
    loop {
        // The guard is gone at the end of the statement: waiting is in turn, work is not.
        let next = receive.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((at, entry)) = next else { return };
        let checked = beside.check(&entry);
        findings.lock().unwrap_or_else(PoisonError::into_inner).add(at, checked);
    }
}

/// Sends every entry to the workers and returns how the list itself differs.
fn list(manifest: &Manifest, beside: &Beside, send: SyncSender<Work>) -> Vec<Difference> {
    let mut listing = Listing { beside, send, seen: HashSet::new(), totals: Totals::default() };
    listing.seen.insert(FILE_NAME.to_owned());
    let mut out: Vec<_> =
        manifest.files.iter().filter_map(|entry| listing.take(entry.clone())).collect();
    if let Some(list) = &manifest.files_list {
        match listing.read(list, &mut out) {
            Ok(()) => {}
            Err(difference) => {
                // What was not listed cannot be summed.
                out.push(difference);
                return out;
            }
        }
    }
    let (said, sums) = (manifest.totals, listing.totals);
    for (kind, noun, said, sum) in [
        (Kind::TotalRows, "row", said.rows, sums.rows),
        (Kind::TotalBytes, "byte", said.bytes, sums.bytes),
        (Kind::TotalFiles, "file", said.files, sums.files),
    ] {
        if said != sum {
            let found = format!("{} in `totals`", counted(said, noun));
            out.push(beside.differs(None, kind, counted(sum, noun), found));
        }
    }
    out
}

/// The entries as they are met.
struct Listing<'a> {
    beside: &'a Beside,
    send: SyncSender<Work>,
    seen: HashSet<String>,
    totals: Totals,
}

impl Listing<'_> {
    /// Passes an entry on.
    fn take(&mut self, entry: Entry) -> Option<Difference> {
        let at = self.totals.files;
        self.totals.files += 1;
        self.totals.rows = self.totals.rows.saturating_add(entry.rows);
        self.totals.bytes = self.totals.bytes.saturating_add(entry.bytes);
        if !self.seen.insert(entry.path.clone()) {
            let (path, once) = (Some(entry.path.as_str()), "a path of its own");
            return Some(self.beside.differs(path, Kind::DuplicatePath, once, "one more entry"));
        }
        self.send.send((at, entry)).expect("workers stay until there is no more work");
        None
    }

    /// Reads the list beside the manifest.
    fn read(&mut self, list: &FilesList, out: &mut Vec<Difference>) -> Result<(), Difference> {
        let beside = self.beside;
        let path = Some(list.path.as_str());
        let file = beside.open(&list.path, list.bytes)?;
        let differs =
            |kind, expected: String, found: String| beside.differs(path, kind, expected, found);
        self.seen.insert(list.path.clone());
        let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
        let (mut sum, mut bytes, mut number) = (Sha256::new(), 0, 0_usize);
        let mut line = Vec::new();
        let mut flaw = None;
        loop {
            line.clear();
            let mut limited = (&mut reader).take(RECORD_BYTES_MAX as u64);
            if let Err(error) = limited.read_until(b'\n', &mut line) {
                let found = error.kind().to_string();
                return Err(differs(Kind::Unreadable, counted(list.bytes, "byte"), found));
            }
            if line.is_empty() {
                break;
            }
            sum.update(&line);
            bytes += line.len() as u64;
            number += 1;
            match serde_json::from_slice(&line) {
                _ if flaw.is_some() => {}
                Ok(_) if number > PARTS_MAX => flaw = Some(format!("more than {PARTS_MAX}")),
                Ok(entry) => out.extend(self.take(entry)),
                Err(_) => flaw = Some(format!("line {number}, which is none")),
            }
        }
        if bytes != list.bytes {
            let (said, found) = (counted(list.bytes, "byte"), counted(bytes, "byte"));
            out.push(differs(Kind::Bytes, said, found));
        }
        let sum = hex(&sum.finalize());
        if sum != list.sha256 {
            let (said, found) = (format!("`{}`", list.sha256), format!("`{sum}`"));
            out.push(differs(Kind::Sha256, said, found));
        }
        flaw.map_or(Ok(()), |found| {
            Err(differs(Kind::FilesList, "one entry of a file a line".into(), found))
        })
    }
}
