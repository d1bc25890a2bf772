//! Files fetched in several pieces at once, and what is left of them after a crash.
//!
//! Contract: a file has its name once it is whole, its sum is right and it is durable. Until then its bytes are in
//! `NAME.partial`, and how far each piece has come in `NAME.partial.json`, which never tells of bytes that are not on disk.
//! So a download that was killed goes on where it was, and what has changed meanwhile is not mixed with what was there. One
//! process at a time fetches a file, and no byte is written to a file that has its name.

mod source;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::digest::hex;
use model::ports::Progress;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use crate::durable;
use crate::failed::Failed;
use crate::progress::{Bar, Total};

use objects::address::Whole;

pub(crate) use source::{Source, Stopped};

/// Bytes below which a file is not cut into pieces.
const PIECE_BYTES_MIN: u64 = 4 << 20;

/// Tries of a piece without a byte in between.
const TRIES: u32 = 6;

/// Seconds after which what came is made durable and noted.
const NOTE_SECONDS: u64 = 1;

/// Seconds that a server may ask to wait.
const WAIT_SECONDS_MAX: u64 = 60;

/// How a file is fetched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Whether to go on with what is there.
    pub(crate) goes_on: bool,
    /// Pieces at once.
    pub(crate) parallel: u32,
}

/// A file that was fetched.
#[derive(Debug, Serialize)]
pub(crate) struct Fetched {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// Those that had to be fetched now.
    pub(crate) new_bytes: u64,
    /// Its SHA-256.
    pub(crate) sha256: String,
    /// Whether that is what the other side says; nothing if it does not say.
    pub(crate) verified: bool,
}

/// How far a download has come, as it is noted beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    bytes: u64,
    sha256: Option<String>,
    tag: Option<String>,
    pieces: Vec<Piece>,
}

/// A piece: bytes from the one to the other, of which those up to `at` are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Piece {
    from: u64,
    at: u64,
    to: u64,
}

/// Fetches a file to a path.
pub(crate) async fn fetch(source: Source, path: &Path, how: How) -> Result<Fetched, Failed> {
    let whole = patiently(|| source.look()).await?;
    if path.exists() {
        return there(path, &whole, how).await;
    }
    let one = Download::open(path, &whole, how)?;
    let new_bytes = one.left();
    one.run(source, &whole).await?;
    let (partial, size) = (one.partial.clone(), whole.bytes);
    let sha256 = sum(partial.clone()).await?;
    if whole.sha256.as_ref().is_some_and(|told| *told != sha256) {
        one.forget()?;
        let path = path.display();
        return Err(Failed::proof(format!(
            "what came for `{path}` has the SHA-256 {sha256} and not what the other side says; it was removed, fetch it again"
        )));
    }
    one.keep(path)?;
    let verified = whole.sha256.is_some();
    Ok(Fetched { path: path.to_owned(), bytes: size, new_bytes, sha256, verified })
}

/// A file of that name is there: it is the same, or in the way.
async fn there(path: &Path, whole: &Whole, how: How) -> Result<Fetched, Failed> {
    let shown = path.display();
    if !how.goes_on {
        let message =
            format!("`{shown}` is there already; remove it, or compare it with --continue");
        return Err(Failed::request(message));
    }
    let bytes = fs::metadata(path)?.len();
    let sha256 = sum(path.to_owned()).await?;
    let is_same = whole.sha256.as_ref().is_some_and(|told| *told == sha256);
    if bytes != whole.bytes || !is_same {
        let message = format!("`{shown}` is there already and is another file; move it away");
        return Err(Failed::request(message));
    }
    let Beside { partial, note } = Beside::of(path);
    let file = |path: &Path| fs::metadata(path).ok().map(|file| file.ino());
    if file(&partial) == file(path) {
        // Killed after it had its name.
        remove(&note)?;
        remove(&partial)?;
    }
    Ok(Fetched { path: path.to_owned(), bytes, new_bytes: 0, sha256, verified: true })
}

/// Where the bytes of a file are until it is whole, and how far it is.
struct Beside {
    partial: PathBuf,
    note: PathBuf,
}

impl Beside {
    fn of(path: &Path) -> Self {
        let named = |end: &str| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(end);
            path.with_file_name(name)
        };
        Self { partial: named(".partial"), note: named(".partial.json") }
    }
}

/// Opens the file for bytes that come, for this process alone.
fn take(partial: &Path) -> Result<File, Failed> {
    loop {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(partial)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let shown = partial.display();
                let message = format!("another process writes `{shown}`; wait for it, or stop it");
                return Err(Failed::request(message));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let held = file.metadata()?;
        if !fs::metadata(partial).is_ok_and(|named| named.ino() == held.ino()) {
            // Whoever had it has given it its name meanwhile.
            continue;
        }
        if held.nlink() == 1 {
            return Ok(file);
        }
        // It is whole, and has its name: killed before this one was taken away.
        remove(partial)?;
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A download under way.
struct Download {
    partial: PathBuf,
    note: PathBuf,
    file: Arc<File>,
    begun: Note,
    /// How far each piece has come.
    at: Arc<[AtomicU64]>,
}

impl Download {
    /// Takes up what is there, or begins.
    fn open(path: &Path, whole: &Whole, how: How) -> Result<Self, Failed> {
        let Beside { partial, note } = Beside::of(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = take(&partial)?;
        let length = file.metadata()?.len();
        let noted =
            fs::read(&note).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let noted =
            noted.filter(|noted| how.goes_on && noted.is_of(whole) && length == whole.bytes);
        let is_new = noted.is_none();
        let begun = noted.unwrap_or_else(|| Note::of(whole, how.parallel));
        if is_new && note.exists() {
            // Before the bytes that it tells of are.
            fs::remove_file(&note)?;
            durable::sync_folder(&note)?;
        }
        if is_new {
            file.set_len(0)?;
        }
        file.set_len(whole.bytes)?;
        let at = begun.pieces.iter().map(|piece| AtomicU64::new(piece.at)).collect();
        Ok(Self { partial, note, file: Arc::new(file), begun, at })
    }

    /// Bytes that are still to come.
    fn left(&self) -> u64 {
        self.begun.pieces.iter().map(|piece| piece.to - piece.at).sum()
    }

    /// Fetches what is missing.
    async fn run(&self, source: Source, whole: &Whole) -> Result<(), Failed> {
        let bar = Arc::new(Bar::start("fetching", Some(Total { bytes: whole.bytes })));
        bar.add(0, whole.bytes - self.left());
        let mut pieces = JoinSet::new();
        for (index, piece) in self.begun.pieces.iter().enumerate() {
            let (file, at, piece) = (Arc::clone(&self.file), Arc::clone(&self.at), *piece);
            let (source, whole, bar) = (source.clone(), whole.clone(), Arc::clone(&bar));
            pieces.spawn(async move {
                let taking = Taking { file, at: &at[index], to: piece.to, bar: &bar };
                taking.piece(&source, &whole).await
            });
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(NOTE_SECONDS));
        let ended = loop {
            tokio::select! {
                done = pieces.join_next() => match done {
                    None => break Ok(()),
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(failed))) => break Err(failed),
                    Some(Err(e)) => break Err(Failed::internal(format!("a download died: {e}"))),
                },
                _ = ticks.tick() => self.note().await?,
            }
        };
        pieces.shutdown().await;
        self.note().await?;
        ended
    }

    /// Makes what came durable, and notes it.
    async fn note(&self) -> Result<(), Failed> {
        // First how far it is, then the bytes up to there and perhaps more.
        let mut note = self.begun.clone();
        for (piece, at) in note.pieces.iter_mut().zip(&*self.at) {
            piece.at = at.load(Ordering::Acquire);
        }
        let (file, path) = (Arc::clone(&self.file), self.note.clone());
        let written = tokio::task::spawn_blocking(move || {
            file.sync_data()?;
            let text = serde_json::to_string(&note).expect("a note has only string keys");
            durable::replace(&path, &[text])
        });
        Ok(written.await.expect("writing does not panic")?)
    }

    /// Takes away what is there of it.
    fn forget(&self) -> io::Result<()> {
        remove(&self.note)?;
        remove(&self.partial)
    }

    /// Gives it its name.
    fn keep(&self, path: &Path) -> Result<(), Failed> {
        // A second name, because that does not replace what somebody else has put there meanwhile.
        fs::hard_link(&self.partial, path).map_err(|e| {
            Failed::source(format!("cannot give `{}` its name: {e}", path.display()))
        })?;
        durable::sync_folder(path)?;
        Ok(self.forget()?)
    }
}

/// A piece on its way to its place in the file.
struct Taking<'a> {
    file: Arc<File>,
    at: &'a AtomicU64,
    to: u64,
    bar: &'a Bar,
}

impl Taking<'_> {
    async fn piece(&self, source: &Source, whole: &Whole) -> Result<(), Failed> {
        let mut tries = Tries::default();
        loop {
            let from = self.at.load(Ordering::Acquire);
            if from == self.to {
                return Ok(());
            }
            let taken = source.read(from..self.to, whole, |bytes| self.take(&bytes)).await;
            let now = self.at.load(Ordering::Acquire);
            if now > from {
                tries = Tries::default();
            }
            match taken {
                Ok(()) if now == self.to => return Ok(()),
                Ok(()) => tries.again("the answer ended too early".into(), None).await?,
                Err(Stopped::Over(failed)) => return Err(failed),
                Err(Stopped::Again(why, after)) => tries.again(why, after).await?,
            }
        }
    }

    fn take(&self, bytes: &[u8]) -> Result<(), Failed> {
        let at = self.at.load(Ordering::Acquire);
        let end = at + bytes.len() as u64;
        if end > self.to {
            return Err(Failed::source("more came than was asked for; fetch it again"));
        }
        self.file.write_all_at(bytes, at)?;
        self.at.store(end, Ordering::Release);
        self.bar.add(0, bytes.len() as u64);
        Ok(())
    }
}

/// Tries without success.
#[derive(Default)]
struct Tries(u32);

impl Tries {
    /// Waits before the next one, or says that it was the last.
    async fn again(&mut self, why: String, after: Option<u64>) -> Result<(), Failed> {
        self.0 += 1;
        if self.0 == TRIES {
            let message =
                format!("{why}; {TRIES} tries came to nothing, go on later with --continue");
            return Err(Failed::source(message));
        }
        tracing::info!(why, "asking again");
        let seconds = after.unwrap_or(1 << (self.0 - 1)).min(WAIT_SECONDS_MAX);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(())
    }
}

async fn patiently<T, F>(ask: impl Fn() -> F) -> Result<T, Failed>
where
    F: Future<Output = Result<T, Stopped>>,
{
    let mut tries = Tries::default();
    loop {
        match ask().await {
            Ok(done) => return Ok(done),
            Err(Stopped::Over(failed)) => return Err(failed),
            Err(Stopped::Again(why, after)) => tries.again(why, after).await?,
        }
    }
}

impl Note {
    /// Begins, with the pieces about equal.
    fn of(whole: &Whole, parallel: u32) -> Self {
        let Whole { bytes, sha256, tag } = whole.clone();
        let many = bytes.div_ceil(PIECE_BYTES_MIN).clamp(1, u64::from(parallel.max(1)));
        let each = bytes.div_ceil(many).max(1);
        let piece = |n: u64| {
            let (from, to) = ((n * each).min(bytes), ((n + 1) * each).min(bytes));
            Piece { from, at: from, to }
        };
        Self { bytes, sha256, tag, pieces: (0..many).map(piece).collect() }
    }

    /// Whether it is of the same bytes, as far as can be told, and makes sense.
    fn is_of(&self, whole: &Whole) -> bool {
        let is_known = whole.sha256.is_some() || whole.tag.is_some();
        let mut end = 0;
        let is_whole = self.pieces.iter().all(|piece| {
            let begins = std::mem::replace(&mut end, piece.to) == piece.from;
            begins && (piece.from..=piece.to).contains(&piece.at)
        });
        let same =
            self.bytes == whole.bytes && self.sha256 == whole.sha256 && self.tag == whole.tag;
        is_known && same && is_whole && end == whole.bytes
    }
}

/// Sums a file.
async fn sum(path: PathBuf) -> Result<String, Failed> {
    let summed = tokio::task::spawn_blocking(move || {
        let (mut file, mut sum) = (File::open(path)?, Sha256::new());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok::<_, io::Error>(hex(&sum.finalize())),
                read => sum.update(&buffer[..read]),
            }
        }
    });
    Ok(summed.await.expect("reading does not panic")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: u64) -> Whole {
        Whole { bytes, sha256: Some("a".into()), tag: None }
    }

    #[test]
    fn pieces_are_the_whole() {
        for bytes in [0, 1, PIECE_BYTES_MIN, PIECE_BYTES_MIN + 1, 10 * PIECE_BYTES_MIN + 7] {
            for parallel in [0, 1, 3, 16] {
                let note = Note::of(&whole(bytes), parallel);
                assert!(note.is_of(&whole(bytes)), "{note:?}");
                assert!(note.pieces.len() <= parallel.max(1) as usize);
            }
        }
        assert_eq!(Note::of(&whole(PIECE_BYTES_MIN), 4).pieces.len(), 1);
        assert_eq!(Note::of(&whole(100 * PIECE_BYTES_MIN), 4).pieces.len(), 4);
    }

    #[test]
    fn a_note_of_other_bytes_is_not_gone_on_with() {
        let note = Note::of(&whole(9), 1);
        assert!(!note.is_of(&whole(8)));
        assert!(!note.is_of(&Whole { sha256: Some("b".into()), ..whole(9) }));
        assert!(!note.is_of(&Whole { tag: Some("\"t\"".into()), ..whole(9) }));
        let unknown = Whole { sha256: None, ..whole(9) };
        assert!(!Note::of(&unknown, 1).is_of(&unknown), "nobody can tell whether it changed");
        let mut broken = note.clone();
        broken.pieces[0].at = 10;
        assert!(!broken.is_of(&whole(9)));
        broken.pieces.clear();
        assert!(!broken.is_of(&whole(9)));
    }

    const HOW: How = How { goes_on: true, parallel: 2 };

    #[test]
    fn a_file_that_has_its_name_is_not_written_any_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, moved) = (dir.path().join("f"), dir.path().join("moved"));
        // As a process leaves it that was killed between giving the name and taking away the other, before somebody moves the file.
        fs::write(dir.path().join("f.partial"), b"delivered").expect("written");
        fs::hard_link(dir.path().join("f.partial"), &moved).expect("linked");
        let next = Download::open(&path, &whole(9), HOW).expect("open");
        next.file.write_all_at(b"something", 0).expect("written");
        assert_eq!(fs::read(&moved).expect("there"), b"delivered");
        next.keep(&path).expect("kept");
        assert_eq!(fs::read(&path).expect("there"), b"something");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 2, "nothing is left over");
    }

    #[test]
    fn one_process_at_a_time_fetches_a_file() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("f");
        let one = Download::open(&path, &whole(9), HOW).expect("open");
        let other = Download::open(&path, &whole(9), HOW).map(drop);
        assert!(other.expect_err("refused").message().contains("another process"));
        drop(one);
        Download::open(&path, &whole(9), HOW).expect("open");
    }

    #[tokio::test]
    async fn what_was_left_over_is_taken_away() {
        let dir = tempfile::tempdir().expect("a folder");
        let (path, partial) = (dir.path().join("f"), dir.path().join("f.partial"));
        fs::write(&path, b"delivered").expect("written");
        fs::hard_link(&path, &partial).expect("linked");
        let sha256 = Some(hex(&Sha256::digest(b"delivered")));
        let same = Whole { sha256, ..whole(9) };
        there(&path, &same, HOW).await.expect("the same");
        assert!(path.exists() && !partial.exists());
    }
}
