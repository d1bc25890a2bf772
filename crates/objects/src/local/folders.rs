//! Folders that survive a power failure.
//!
//! A new folder is an entry of its parent, so the parent is synced. A folder that another process made a
//! moment ago may not be synced yet, so the first use of a folder syncs its parent too, whoever made it;
//! what this process has settled once is remembered.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{Shared, Step};

/// Folders remembered as settled; beyond it the memory starts anew, which costs a sync, no more.
const SETTLED_MAX: usize = 10_000;

/// The folders whose entries in their parents are known to be on disk.
#[derive(Default)]
pub(super) struct Folders(Mutex<HashSet<PathBuf>>);

impl Folders {
    fn has(&self, folder: &Path) -> bool {
        self.0.lock().expect("no holder of this lock can panic").contains(folder)
    }

    fn add(&self, folder: &Path) {
        let mut settled = self.0.lock().expect("no holder of this lock can panic");
        if settled.len() >= SETTLED_MAX {
            settled.clear();
        }
        settled.insert(folder.to_owned());
    }

    /// Forgets a folder and those above it: somebody removed one of them.
    pub(super) fn forget(&self, folder: &Path) {
        let mut settled = self.0.lock().expect("no holder of this lock can panic");
        for folder in folder.ancestors() {
            settled.remove(folder);
        }
    }
}

/// Makes a folder below the root, and the root, as far as they are missing, durably.
pub(super) fn ensure(shared: &Shared, folder: &Path) -> io::Result<()> {
    if shared.folders.has(folder) {
        return Ok(());
    }
    match fs::create_dir(folder) {
        Ok(()) => {
            shared.tell(|| Step::MakeFolder(folder.to_owned()));
            sync_parent(shared, folder)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let parent = parent(folder);
            if parent == folder {
                return Err(error);
            }
            ensure(shared, parent)?;
            match fs::create_dir(folder) {
                Ok(()) => {
                    shared.tell(|| Step::MakeFolder(folder.to_owned()));
                    sync_parent(shared, folder)?;
                }
                // Somebody was faster.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    settle_found(shared, folder)?;
                }
                // The parent exists and still nothing can be made in it, as in /proc.
                Err(error) => return Err(error),
            }
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if !fs::metadata(folder)?.is_dir() {
                return Err(ErrorKind::NotADirectory.into());
            }
            settle_found(shared, folder)?;
        }
        // A root that exists may lie in a place where nothing may be made.
        Err(error) if !folder.is_dir() => return Err(error),
        Err(_) => {}
    }
    shared.folders.add(folder);
    Ok(())
}

/// Settles a folder that somebody else made, and those between it and the root.
fn settle_found(shared: &Shared, folder: &Path) -> io::Result<()> {
    if folder == shared.root || !folder.starts_with(&shared.root) {
        // The root was there: whether its parent may even be opened is not ours to ask.
        return unless_denied(sync_parent(shared, folder));
    }
    let above = parent(folder);
    if !shared.folders.has(above) {
        settle_found(shared, above)?;
        shared.folders.add(above);
    }
    sync_parent(shared, folder)
}

/// Removes a folder below the root that has become empty, and those above it likewise: in a store of
/// objects there are no empty folders. Whoever makes an object there meanwhile makes the folder anew.
pub(super) fn prune(shared: &Shared, folder: &Path) {
    let below = |folder: &&Path| *folder != shared.root && folder.starts_with(&shared.root);
    for folder in folder.ancestors().take_while(below) {
        if fs::remove_dir(folder).is_err() {
            return;
        }
        shared.folders.forget(folder);
    }
}

/// Forces the entries of a folder to disk.
pub(super) fn sync(shared: &Shared, folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    shared.tell(|| Step::SyncFolder(folder.to_owned()));
    Ok(())
}

/// Takes a refusal for done: who may not write to a folder has left nothing unsynced in it.
pub(super) fn unless_denied(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Returns the folder that holds `path`: `.` for a bare relative name, the path itself for `/`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn sync_parent(shared: &Shared, folder: &Path) -> io::Result<()> {
    sync(shared, parent(folder))
}
