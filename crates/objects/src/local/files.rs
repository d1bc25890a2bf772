//! The blocking work on files: write, publish, look, read, delete, list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use model::ports::{ObjectInfo, Put};
use model::{ObjectKey, digest};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, renameat_with};
use rustix::io::Errno;

use super::{Shared, Step, folders};
use crate::key;

/// Unfinished uploads that one key may have under one token: each try that died leaves one until
/// somebody aborts the token.
const UPLOADS_PER_TOKEN: u32 = 16;

/// Creates an object from bytes. The file has no name before its final one where the system can do that,
/// so a crash leaves nothing behind that nobody knows of.
pub(super) fn create(shared: &Arc<Shared>, target: &Path, bytes: &[u8]) -> io::Result<Put> {
    if is_object(target) {
        return settle_existing(shared, target);
    }
    if let Some(put) = create_nameless(shared, target, bytes)? {
        return Ok(put);
    }
    let token = uuid::Uuid::new_v4().simple().to_string();
    let mut writer = Writer::open(shared.clone(), target, &token)?;
    writer.write(bytes)?;
    writer.finish()
}

/// Creates an object by `O_TMPFILE` and a link; `None` if the file system or the system has no such.
fn create_nameless(shared: &Shared, target: &Path, bytes: &[u8]) -> io::Result<Option<Put>> {
    let folder = folders::parent(target);
    let opened = in_folder(shared, folder, || {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(folder, flags, Mode::from_raw_mode(0o666))?)
    });
    let mut file = match opened {
        Ok(fd) => File::from(fd),
        Err(error) if has_no_nameless(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    shared.tell(|| Step::OpenTemp(target.to_owned()));
    file.write_all(bytes)?;
    shared.tell(|| Step::Write(target.to_owned(), bytes.len()));
    file.sync_data()?;
    shared.tell(|| Step::SyncFile(target.to_owned()));
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, &nameless, CWD, target, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => {}
        Err(Errno::EXIST) => return settle_existing(shared, target).map(Some),
        // No /proc, or a policy against such links.
        Err(Errno::NOENT | Errno::PERM | Errno::ACCESS | Errno::XDEV) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    }
    shared.tell(|| Step::Link(target.to_owned()));
    folders::sync(shared, folder)?;
    Ok(Some(Put::Created))
}

fn has_no_nameless(error: &io::Error) -> bool {
    let none = [Errno::OPNOTSUPP, Errno::ISDIR, Errno::INVAL, Errno::NOSYS];
    Errno::from_io_error(error).is_some_and(|errno| none.contains(&errno))
}

/// Opens something in a folder that is made as needed, once more if somebody removed it meanwhile.
fn in_folder<T>(shared: &Shared, folder: &Path, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    folders::ensure(shared, folder)?;
    match open() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            shared.folders.forget(folder);
            folders::ensure(shared, folder)?;
            open()
        }
        other => other,
    }
}

/// A temporary file on its way to a final name. Dropping it removes the temporary file.
pub(super) struct Writer {
    shared: Arc<Shared>,
    file: File,
    temp: PathBuf,
    target: PathBuf,
    /// Whether `temp` is a name of ours that has to go.
    owns_temp: bool,
}

impl Writer {
    /// Makes the temporary file, and folders as needed.
    pub(super) fn open(shared: Arc<Shared>, target: &Path, token: &str) -> io::Result<Self> {
        let folder = folders::parent(target);
        let (file, temp) = in_folder(&shared, folder, || open_temp(target, token))?;
        shared.tell(|| Step::OpenTemp(temp.clone()));
        Ok(Self { shared, file, temp, target: target.to_owned(), owns_temp: true })
    }

    /// Appends bytes.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.shared.tell(|| Step::Write(self.temp.clone(), bytes.len()));
        Ok(())
    }

    /// Returns the file once more, to be synced while it is written.
    pub(super) fn again(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Syncs the file, names it create-only, and syncs the folder.
    pub(super) fn finish(mut self) -> io::Result<Put> {
        self.file.sync_data()?;
        self.shared.tell(|| Step::SyncFile(self.temp.clone()));
        self.check_not_aborted()?;
        match publish(&self.temp, &self.target, |from, to| fs::hard_link(from, to))? {
            Published::Linked => {
                self.shared.tell(|| Step::Link(self.target.clone()));
                self.remove_temp();
            }
            Published::Renamed => {
                self.owns_temp = false;
                self.shared.tell(|| Step::Link(self.target.clone()));
            }
            Published::Exists => {
                self.remove_temp();
                return settle_existing(&self.shared, &self.target);
            }
        }
        folders::sync(&self.shared, folders::parent(&self.target))?;
        Ok(Put::Created)
    }

    /// Removes the temporary file.
    pub(super) fn abort(mut self) -> io::Result<()> {
        self.owns_temp = false;
        unlink(&self.shared, &self.temp)
    }

    /// Sees that the temporary name still means our file: somebody who took over may have aborted it and
    /// even started again under the same name.
    fn check_not_aborted(&mut self) -> io::Result<()> {
        let ours = self.file.metadata()?;
        let there = fs::symlink_metadata(&self.temp);
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(());
        }
        self.owns_temp = false;
        Err(io::Error::other("the upload was aborted by its token"))
    }

    fn remove_temp(&mut self) {
        self.owns_temp = false;
        if let Err(error) = unlink(&self.shared, &self.temp) {
            // The object itself is settled; what stays is hidden and harmless.
            tracing::warn!(path = %self.temp.display(), %error, "a temporary file stays behind");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.owns_temp {
            self.remove_temp();
        }
    }
}

/// How a file came to its name.
#[derive(Debug, PartialEq, Eq)]
enum Published {
    Linked,
    Renamed,
    Exists,
}

/// Gives a file its final name, create-only: by a link, or by a rename that replaces nothing where the
/// file system has no links.
fn publish(
    temp: &Path,
    target: &Path,
    hard_link: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> io::Result<Published> {
    match hard_link(temp, target) {
        Ok(()) => Ok(Published::Linked),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Published::Exists),
        Err(error) if has_no_links(&error) => rename(temp, target),
        Err(error) => Err(error),
    }
}

fn has_no_links(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::MLINK].contains(&errno)
    })
}

fn rename(temp: &Path, target: &Path) -> io::Result<Published> {
    match renameat_with(CWD, temp, CWD, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(Published::Renamed),
        Err(Errno::EXIST) => Ok(Published::Exists),
        Err(errno @ (Errno::INVAL | Errno::NOSYS)) => Err(io::Error::new(
            ErrorKind::Unsupported,
            format!("this file system can neither link nor rename without replacing ({errno})"),
        )),
        Err(errno) => Err(errno.into()),
    }
}

/// Answers for an object that was there: makes sure that it stays, and that it is an object.
pub(super) fn settle_existing(shared: &Shared, target: &Path) -> io::Result<Put> {
    if fs::metadata(target).is_ok_and(|there| there.is_dir()) {
        return Err(ErrorKind::IsADirectory.into());
    }
    // Who made it may have died before the folder was synced.
    folders::sync(shared, folders::parent(target))?;
    Ok(Put::Exists)
}

/// Returns whether a file lies there.
pub(super) fn is_object(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|there| there.is_file())
}

fn open_temp(target: &Path, token: &str) -> io::Result<(File, PathBuf)> {
    for slot in 0..UPLOADS_PER_TOKEN {
        let temp = temp_path(target, token, slot);
        match OpenOptions::new().write(true).create_new(true).open(&temp) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => return other.map(|file| (file, temp)),
        }
    }
    Err(io::Error::other("too many unfinished uploads have the same token; abort them first"))
}

/// Returns the name of a temporary file: readable if it fits, a hash of the same if not.
fn temp_path(target: &Path, token: &str, slot: u32) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let slot = if slot == 0 { String::new() } else { format!(".{slot}") };
    let readable = format!(".{name}.{token}{slot}{}", key::UNFINISHED_SUFFIX);
    let fits = readable.len() <= key::COMPONENT_BYTES_MAX;
    let hashed =
        || format!(".{}{}", digest::sha256_hex(readable.as_bytes()), key::UNFINISHED_SUFFIX);
    target.with_file_name(if fits { readable } else { hashed() })
}

/// Removes the temporary files of a token.
pub(super) fn abort(shared: &Shared, target: &Path, token: &str) -> io::Result<()> {
    (0..UPLOADS_PER_TOKEN).try_for_each(|slot| unlink(shared, &temp_path(target, token, slot)))?;
    folders::prune(shared, folders::parent(target));
    Ok(())
}

/// Returns the size of an object that is there to stay.
pub(super) fn size(shared: &Shared, path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => {
            folders::unless_denied(folders::sync(shared, folders::parent(path)))?;
            Ok(Some(there.len()))
        }
        Ok(_) => Ok(None),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a range, which must lie within the file.
pub(super) fn read(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    let file = File::open(path)
        .map_err(|error| if is_absent(&error) { ErrorKind::NotFound.into() } else { error })?;
    let there = file.metadata()?;
    if !there.is_file() {
        return Err(ErrorKind::NotFound.into());
    }
    let bytes = there.len();
    if range.start > range.end || range.end > bytes {
        let message = format!("bytes {}..{} of {bytes} were asked", range.start, range.end);
        return Err(io::Error::new(ErrorKind::UnexpectedEof, message));
    }
    let wanted = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut out = vec![0; wanted];
    file.read_exact_at(&mut out, range.start)?;
    Ok(out.into())
}

/// Deletes a file, durably.
pub(super) fn delete(shared: &Shared, path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() => Ok(()),
        Ok(_) => {
            unlink(shared, path)?;
            folders::sync(shared, folders::parent(path))?;
            folders::prune(shared, folders::parent(path));
            Ok(())
        }
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Returns the objects below a folder, by name.
pub(super) fn list(root: &Path, folder: &str) -> io::Result<Vec<ObjectInfo>> {
    let mut out = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = match fs::read_dir(root.join(&folder)) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            list_entry(&entry?, &folder, &mut out, &mut open)?;
        }
    }
    out.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(out)
}

/// Adds one entry: a file to the objects, a folder to those still to be read. What cannot be a key is
/// not ours.
fn list_entry(
    entry: &fs::DirEntry,
    folder: &str,
    out: &mut Vec<ObjectInfo>,
    open: &mut Vec<String>,
) -> io::Result<()> {
    let Ok(name) = entry.file_name().into_string() else { return Ok(()) };
    let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
    let kind = entry.file_type()?;
    if kind.is_dir() {
        open.push(path);
        return Ok(());
    }
    if !key::is_key(&path) {
        return Ok(());
    }
    match fs::metadata(entry.path()) {
        Ok(there) if there.is_file() => {
            out.push(ObjectInfo { key: ObjectKey::new(path), bytes: there.len() });
            Ok(())
        }
        // A pipe, a link to a folder.
        Ok(_) => Ok(()),
        // Deleted meanwhile, or a link to nowhere.
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a name; fine if it is not there.
fn unlink(shared: &Shared, path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => {
            shared.tell(|| Step::Unlink(path.to_owned()));
            Ok(())
        }
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn no_links(_: &Path, _: &Path) -> io::Result<()> {
        Err(Errno::PERM.into())
    }

    #[test]
    fn without_links_a_rename_replaces_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("one"), "1").unwrap();
        fs::write(at("two"), "2").unwrap();
        assert_eq!(publish(&at("one"), &at("final"), no_links).unwrap(), Published::Renamed);
        assert_eq!(publish(&at("two"), &at("final"), no_links).unwrap(), Published::Exists);
        assert_eq!(fs::read(at("final")).unwrap(), b"1");
        assert!(at("two").exists() && !at("one").exists());
    }

    #[test]
    fn other_errors_of_a_link_stay_errors() {
        let full = |_: &Path, _: &Path| Err(Errno::NOSPC.into());
        let error = publish(Path::new("a"), Path::new("b"), full).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_temporary_name_is_readable_while_it_fits() {
        let name = |target: &str, slot| {
            let path = temp_path(Path::new(target), "tok", slot);
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name("d/f.csv", 0), ".f.csv.tok.part");
        assert_eq!(name("d/f.csv", 2), ".f.csv.tok.2.part");
        let long = name(&format!("d/{}", "x".repeat(250)), 0);
        assert!(long.len() < 100 && key::is_unfinished(&long), "{long}");
    }
}
