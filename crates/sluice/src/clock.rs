//! A clock that a test sets: the text of a file.
//!
//! Contract: for tests alone; a server that has it listens on this machine only. Leases stay with the database's clock.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use model::Clock;
use run::{Pauses, TokioPauses};

use crate::failed::Failed;

/// How much shorter a pause is when a month shall pass in seconds.
const HASTE: u32 = 20;

/// The instant in a file.
#[derive(Debug)]
pub(crate) struct FileClock {
    path: PathBuf,
    /// The last one that could be read: the file may be in the middle of being written.
    last: Mutex<DateTime<Utc>>,
}

impl FileClock {
    /// Reads the file.
    pub(crate) fn open(path: &Path) -> Result<Self, Failed> {
        let Some(now) = read(path) else {
            return Err(Failed::request(format!(
                "`{}` holds no time; write one into it, as in 2026-01-31T12:00:00Z",
                path.display()
            )));
        };
        Ok(Self { path: path.to_owned(), last: Mutex::new(now) })
    }
}

impl Clock for FileClock {
    fn now(&self) -> DateTime<Utc> {
        let mut last = self.last.lock().expect("no holder of this lock can panic");
        if let Some(now) = read(&self.path) {
            *last = now;
        }
        *last
    }
}

fn read(path: &Path) -> Option<DateTime<Utc>> {
    let text = fs::read_to_string(path).ok()?;
    Some(DateTime::parse_from_rfc3339(text.trim()).ok()?.with_timezone(&Utc))
}

/// Short pauses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hasty;

#[async_trait]
impl Pauses for Hasty {
    async fn pause(&self, time: Duration) {
        TokioPauses.pause(time / HASTE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_that_could_be_read_holds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clock");
        assert!(FileClock::open(&path).is_err());
        fs::write(&path, "2026-03-01T00:00:00Z\n").expect("written");
        let clock = FileClock::open(&path).expect("a time");
        let first = clock.now();
        fs::write(&path, "2026-03-").expect("written");
        assert_eq!(clock.now(), first);
        fs::write(&path, "2026-03-02T01:00:00+01:00").expect("written");
        assert_eq!((clock.now() - first).num_hours(), 24);
    }
}
