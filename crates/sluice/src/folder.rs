//! The data folder and what lies where in it.
//!
//! ```text
//! DIR/VERSION        the layout's number; a newer one is refused
//! DIR/sluice.toml    settings, if there are any
//! DIR/meta.sqlite    datasets, commits, runs (unless they are in PostgreSQL)
//! DIR/admin-token    the token of the first administrator, which the first `serve` makes
//! DIR/secrets.key    the keys of secrets, which the first secret makes (unless the configuration gives some)
//! DIR/lake/          data files
//! DIR/managed/       files of exports that were asked for over HTTP, a folder for each workspace
//! DIR/uploads/       files of batches that are open
//! DIR/node-id        what the folder is called in a database that several share; the first `serve` makes it
//! DIR/locks/         one file per run being worked on
//! DIR/rejects/       rows that `import --partial` refused
//! DIR/scratch/       spilled rows; may be emptied when nothing runs
//! ```

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failed::Failed;
use crate::keys::OwnKeys;

/// The layout that this program writes.
const LAYOUT: u32 = 1;

/// The folders in it that are for Sluice alone.
const OWN: [&str; 6] = ["lake", "managed", "uploads", "locks", "rejects", "scratch"];

/// A data folder that exists and is ours.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: PathBuf,
}

impl Folder {
    /// Opens the folder, made if absent. A folder with other content is refused unless it is empty.
    pub(crate) fn open(root: &Path) -> Result<Self, Failed> {
        let failed = |e: io::Error| {
            let root = root.display();
            Failed::request(format!("cannot use `{root}` as the data folder: {e}"))
        };
        fs::create_dir_all(root).map_err(failed)?;
        let root = fs::canonicalize(root).map_err(failed)?;
        let folder = Self { root };
        match fs::read_to_string(folder.version_path()) {
            Ok(text) => folder.check_version(&text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                folder.check_foreign().map_err(failed)??;
                folder.write_version().map_err(failed)?;
            }
            Err(e) => return Err(failed(e)),
        }
        for part in OWN {
            fs::create_dir_all(folder.root.join(part)).map_err(failed)?;
        }
        Ok(folder)
    }

    /// Returns the folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the URL of the folder's own database.
    pub(crate) fn database_url(&self) -> String {
        format!("sqlite:{}", self.root.join("meta.sqlite").display())
    }

    /// Returns where the first administrator's token is kept.
    pub(crate) fn admin_token(&self) -> PathBuf {
        self.root.join("admin-token")
    }

    /// Returns the folder's own keys of secrets.
    pub(crate) fn keys(&self) -> OwnKeys {
        OwnKeys { path: self.root.join("secrets.key"), lock: self.locks().join("secrets") }
    }

    /// Returns where data files lie.
    pub(crate) fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    /// Returns where managed destinations lie.
    pub(crate) fn managed(&self) -> PathBuf {
        self.root.join("managed")
    }

    /// Returns where files of open batches lie.
    pub(crate) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// Returns where it is written what the folder is called among others.
    pub(crate) fn node_id(&self) -> PathBuf {
        self.root.join("node-id")
    }

    /// Returns where runs are locked.
    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Returns where refused rows are written.
    pub(crate) fn rejects(&self) -> PathBuf {
        self.root.join("rejects")
    }

    /// Refuses a destination among files of the folder's own. Beside them there is room: `demo` uses it.
    pub(crate) fn check_outside(&self, destination: &Path) -> Result<(), Failed> {
        let inside = |part: &&&str| destination.starts_with(self.root.join(part));
        match OWN.iter().find(inside) {
            None => Ok(()),
            Some(part) => Err(Failed::request(format!(
                "`{}` belongs to the data folder (`{part}`); export to another folder",
                destination.display()
            ))),
        }
    }

    /// Makes a place where this process spills rows, and empties those of processes that are gone.
    pub(crate) fn scratch(&self) -> Result<Scratch, Failed> {
        let all = self.root.join("scratch");
        Scratch::make(&all).map_err(|e| {
            Failed::internal(format!("cannot use `{}` for spilled rows: {e}", all.display()))
        })
    }

    fn version_path(&self) -> PathBuf {
        self.root.join("VERSION")
    }

    fn check_version(&self, text: &str) -> Result<(), Failed> {
        let root = self.root.display();
        match text.trim().parse::<u32>() {
            Ok(version) if version <= LAYOUT => Ok(()),
            Ok(version) => Err(Failed::request(format!(
                "`{root}` was made by a newer Sluice (layout {version}, this one knows {LAYOUT}); use that version"
            ))),
            Err(_) => Err(Failed::request(format!(
                "`{root}/VERSION` does not hold a number, so this is not a data folder of Sluice"
            ))),
        }
    }

    /// A folder with other files may be somebody's home: nothing of ours is put there.
    fn check_foreign(&self) -> io::Result<Result<(), Failed>> {
        let ours = |name: &str| {
            OWN.contains(&name)
                || matches!(name, "VERSION" | "sluice.toml")
                || name.starts_with("VERSION.")
                || name.starts_with("meta.sqlite")
        };
        for entry in fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            if !name.to_str().is_some_and(ours) {
                return Ok(Err(Failed::request(format!(
                    "`{}` holds other files (`{}`); name an empty or a new folder with --dir",
                    self.root.display(),
                    name.display()
                ))));
            }
        }
        Ok(Ok(()))
    }

    /// Written whole or not at all; several first users at once write the same.
    fn write_version(&self) -> io::Result<()> {
        let temporary = self.root.join(format!("VERSION.{}", uuid::Uuid::new_v4().simple()));
        let mut file = fs::File::create(&temporary)?;
        writeln!(file, "{LAYOUT}")?;
        file.sync_all()?;
        fs::rename(&temporary, self.version_path())?;
        fs::File::open(&self.root)?.sync_all()
    }
}

/// A folder for spilled rows; it goes when it is dropped, or at a later start if the process is killed.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    /// Locked as long as the process lives.
    _lock: fs::File,
}

impl Scratch {
    fn make(all: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(all)? {
            sweep(&entry?.path());
        }
        let path = all.join(uuid::Uuid::new_v4().simple().to_string());
        // The lock is held before there is anything that a sweep could find.
        let lock = fs::File::create_new(path.with_extension("lock"))?;
        lock.lock()?;
        fs::create_dir(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Returns the folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed at a later start.
        let _ = fs::remove_dir_all(&self.path);
        let _ = fs::remove_file(self.path.with_extension("lock"));
    }
}

/// Removes a lock that nobody holds, and the folder it stands for.
fn sweep(lock: &Path) {
    let is_lock = lock.extension().is_some_and(|end| end == "lock");
    let free = || fs::File::open(lock).is_ok_and(|file| file.try_lock().is_ok());
    if is_lock && is_old(lock) && free() {
        let _ = fs::remove_dir_all(lock.with_extension(""));
        let _ = fs::remove_file(lock);
    }
}

/// A lock file is younger than this for the moment between its making and its locking.
fn is_old(lock: &Path) -> bool {
    let age = fs::metadata(lock).and_then(|meta| meta.modified()).map(|at| at.elapsed());
    matches!(age, Ok(Ok(age)) if age.as_secs() >= 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_folder_opens_twice() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("new/er");
        Folder::open(&root).expect("made");
        Folder::open(&root).expect("there");
    }

    #[test]
    fn a_newer_folder_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("VERSION"), "99\n").expect("written");
        let refused = Folder::open(dir.path()).expect_err("newer");
        assert!(format!("{refused:?}").contains("layout 99"));
    }

    #[test]
    fn a_folder_with_other_files_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("letter.txt"), "dear").expect("written");
        assert!(Folder::open(dir.path()).is_err());
        assert!(!dir.path().join("VERSION").exists());
    }

    fn entries(all: &Path) -> usize {
        fs::read_dir(all).expect("a folder").count()
    }

    #[test]
    fn spilled_rows_of_a_dead_process_go_and_those_of_a_living_one_stay() {
        let dir = tempfile::tempdir().expect("a folder");
        let living = Scratch::make(dir.path()).expect("made");
        let dead = dir.path().join("dead.lock");
        fs::create_dir(dead.with_extension("")).expect("made");
        let lock = fs::File::create(&dead).expect("made");
        drop(lock);
        for lock in [dead.clone(), living.path().with_extension("lock")] {
            let lock = fs::File::options().write(true).open(lock).expect("there");
            lock.set_modified(std::time::UNIX_EPOCH).expect("set");
        }
        let next = Scratch::make(dir.path()).expect("made");
        assert!(living.path().exists() && next.path().exists() && !dead.exists());
        assert_eq!(entries(dir.path()), 4);
        drop((living, next));
        assert_eq!(entries(dir.path()), 0);
    }
}
