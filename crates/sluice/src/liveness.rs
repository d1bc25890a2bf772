//! Which runs this host is working on: a locked file per run, with the epoch of its holder's lease in it.
//!
//! The kernel drops a lock when its process dies, however it dies, so a resume right after a crash need
//! not wait for the lease to run out.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::RunId;

/// Times a lock is looked at before it counts as held.
const LOOKS_MAX: u32 = 10;

/// The length of the longest epoch.
const EPOCH_CHARS_MAX: u64 = 20;

/// The pause between two looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);

/// Locks below one folder.
#[derive(Clone, Debug)]
pub(crate) struct FileLocks {
    folder: PathBuf,
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _file: File,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The file is only a place to put a lock on; one left behind is harmless.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl FileLocks {
    /// Keeps locks in `folder`, which exists.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Takes the run's lock and notes the epoch; `None` while another process of this host has it.
    pub(crate) fn hold(&self, run: &RunId, epoch: u64) -> std::io::Result<Option<Held>> {
        let path = self.path(run);
        let mut looks = 0;
        loop {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, &path) => {
                    file.set_len(0)?;
                    (&file).write_all(epoch.to_string().as_bytes())?;
                    return Ok(Some(Held { _file: file, path }));
                }
                // The last holder removed it between our opening and our locking.
                Ok(()) => {}
                // Who only asks whether the holder is dead has the lock for a moment.
                Err(TryLockError::WouldBlock) if looks < LOOKS_MAX => {
                    looks += 1;
                    std::thread::sleep(BETWEEN_LOOKS);
                }
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
    }

    /// Returns whether a process of this host had the run with that epoch and is gone.
    pub(crate) fn is_dead(&self, run: &RunId, epoch: u64) -> bool {
        // Without a file, or with an older epoch, nobody here can tell: the holder may be on another host.
        let Ok(mut file) = File::options().read(true).write(true).open(self.path(run)) else {
            return false;
        };
        let mut noted = String::new();
        file.try_lock().is_ok()
            && (&mut file).take(EPOCH_CHARS_MAX).read_to_string(&mut noted).is_ok()
            && noted.parse() == Ok(epoch)
    }

    fn path(&self, run: &RunId) -> PathBuf {
        // Run ids come from the command line too; only what the ledger mints becomes a path.
        let name: String =
            run.as_str().chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        self.folder.join(format!("{name}.lock"))
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let there = std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
    matches!((file.metadata(), there), (Ok(ours), Ok(there)) if (ours.dev(), ours.ino()) == there)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let locks = FileLocks::new(dir.path().to_owned());
        let run = RunId::new("r1");
        let held = locks.hold(&run, 1).expect("no error").expect("free");
        assert!(locks.hold(&run, 2).expect("no error").is_none());
        assert!(!locks.is_dead(&run, 1));
        drop(held);
        assert!(locks.hold(&run, 2).expect("no error").is_some());
    }

    #[test]
    fn a_lock_without_a_holder_is_a_dead_run() {
        let dir = tempfile::tempdir().expect("a folder");
        let locks = FileLocks::new(dir.path().to_owned());
        let run = RunId::new("r1");
        assert!(!locks.is_dead(&run, 3));
        std::fs::write(dir.path().join("r1.lock"), "3").expect("written");
        assert!(locks.is_dead(&run, 3));
        // Somebody elsewhere took it over since.
        assert!(!locks.is_dead(&run, 4));
        std::fs::write(dir.path().join("r1.lock"), "").expect("written");
        assert!(!locks.is_dead(&run, 3));
    }
}
