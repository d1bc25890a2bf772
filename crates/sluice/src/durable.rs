//! Small files that must not be lost and that their owner alone may read.
//!
//! Contract: a file is there whole or not at all, and durable when a call returns.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What only the owner may read.
const OWNER_ALONE: u32 = 0o600;

/// Returns what the file holds; made with the line if it is not there. Of several processes at once one makes it, and
/// all return the same.
pub(crate) fn kept(path: &Path, line: &str) -> io::Result<String> {
    let unfinished = path.with_extension(uuid::Uuid::new_v4().simple().to_string());
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(OWNER_ALONE).open(&unfinished)?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_folder(path)?;
    fs::read_to_string(path)
}

/// Puts the lines in the place of what the file holds. One process at a time may.
pub(crate) fn replace(path: &Path, lines: &[String]) -> io::Result<()> {
    // Always the same name: what a killed process leaves is written over.
    let unfinished = path.with_extension("unfinished");
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(OWNER_ALONE).open(&unfinished)?;
    for line in lines {
        writeln!(file, "{line}")?;
    }
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_folder(path)
}

/// Makes the name of a file durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn several_makers_agree() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f");
        let all: Vec<String> = std::thread::scope(|scope| {
            let make = |n: u32| {
                let path = &path;
                scope.spawn(move || kept(path, &n.to_string()).expect("kept"))
            };
            let threads: Vec<_> = (0..8).map(make).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(all.iter().all(|text| *text == all[0]), "{all:?}");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_is_replaced_is_replaced_whole() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f.key");
        // As a process that was killed leaves it.
        fs::write(dir.path().join("f.unfinished"), "much longer than what comes").expect("written");
        for lines in [&["a".to_owned(), "b".to_owned()][..], &["c".to_owned()][..]] {
            replace(&path, lines).expect("replaced");
            assert_eq!(fs::read_to_string(&path).expect("there"), lines.join("\n") + "\n");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
