//! Objects as files of a folder, durable before they are acknowledged.
//!
//! Contract: an object is written to a temporary file in the folder where it will lie, synced, given its
//! name create-only by a hard link (`renameat2` with `NOREPLACE` where there are no links), and the folder
//! is synced before the call returns; so is the parent of every folder that was made for it. Bytes put in
//! one call go to a file without a name where the system has such; an upload's file is hidden and carries
//! its token (`.NAME.TOKEN.part`). What [`Objects::info`] reports is synced too: whoever settles a lost
//! reply by it can rely on the answer after a power failure. An upload that is dropped removes its
//! temporary file; one whose process died leaves it until [`Objects::abort`] names its token.
//!
//! All system calls are blocking and run off the async threads. Unix only. Symbolic links inside the root
//! are the owner's business: they are read through, but a listing does not descend into them.

mod error;
mod files;
mod folders;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::ObjectKey;
use model::ports::{ObjectError, ObjectInfo, Objects, Put, Upload};

use crate::key;
use files::Writer;
use folders::Folders;
use tokio::task::JoinHandle;

/// One durable step, reported after its system call has returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A folder was made.
    MakeFolder(PathBuf),
    /// A temporary file was made.
    OpenTemp(PathBuf),
    /// Bytes were written to a temporary file.
    Write(PathBuf, usize),
    /// A file's bytes were forced to disk.
    SyncFile(PathBuf),
    /// A file got its final name, which is named here.
    Link(PathBuf),
    /// A folder's entries were forced to disk.
    SyncFolder(PathBuf),
    /// A name was removed.
    Unlink(PathBuf),
}

/// What is told of every [`Step`].
pub type Observer = Arc<dyn Fn(Step) + Send + Sync>;

/// A folder that keeps objects.
#[derive(Clone)]
pub struct Local {
    shared: Arc<Shared>,
}

/// What the blocking work needs.
struct Shared {
    root: PathBuf,
    folders: Folders,
    observer: Option<Observer>,
}

impl Local {
    /// Names the folder; it is made when the first object is. Does no I/O.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::make(root.into(), None)
    }

    /// Like [`Local::new`], and tells `observer` of every durable step, in order: how tests see that a
    /// file is synced before it is named and its folder before the call returns.
    pub fn observed(root: impl Into<PathBuf>, observer: Observer) -> Self {
        Self::make(root.into(), Some(observer))
    }

    /// Returns the folder.
    pub fn root(&self) -> &Path {
        &self.shared.root
    }

    /// Returns the file in which an object lies or would lie.
    pub fn path(&self, key: &ObjectKey) -> Result<PathBuf, ObjectError> {
        key::check(key)?;
        Ok(self.shared.root.join(key.as_str()))
    }

    fn make(root: PathBuf, observer: Option<Observer>) -> Self {
        Self { shared: Arc::new(Shared { root, folders: Folders::default(), observer }) }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("root", &self.shared.root).finish_non_exhaustive()
    }
}

impl Shared {
    fn tell(&self, step: impl FnOnce() -> Step) {
        if let Some(observer) = &self.observer {
            observer(step());
        }
    }
}

#[async_trait]
impl Objects for Local {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        let path = self.path(key)?;
        let shared = self.shared.clone();
        blocking("write", path, move |path| files::create(&shared, path, &bytes)).await
    }

    async fn upload(&self, key: &ObjectKey, token: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let path = self.path(key)?;
        key::check_token(token)?;
        let (shared, token) = (self.shared.clone(), token.to_owned());
        let open = move |path: &Path| Writer::open(shared, path, &token);
        let writer = blocking("write", path.clone(), open).await?;
        Ok(Box::new(LocalUpload { path, writer: Some(writer), behind: 0, syncing: None }))
    }

    async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError> {
        let path = self.path(key)?;
        key::check_token(token)?;
        let (shared, token) = (self.shared.clone(), token.to_owned());
        blocking("clean up", path, move |path| files::abort(&shared, path, &token)).await
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        let path = self.path(key)?;
        let shared = self.shared.clone();
        let bytes = blocking("look at", path, move |path| files::size(&shared, path)).await?;
        Ok(bytes.map(|bytes| ObjectInfo { key: key.clone(), bytes }))
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        blocking("read", self.path(key)?, move |path| files::read(path, range)).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let path = self.path(key)?;
        let shared = self.shared.clone();
        blocking("delete", path, move |path| files::delete(&shared, path)).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        key::check_folder(folder)?;
        let (root, folder) = (self.shared.root.clone(), folder.to_owned());
        blocking("list", root, move |root| files::list(root, &folder)).await
    }
}

/// Bytes of a file after which the disk is asked to take them, while more are made: else all of them would
/// be waited for at the end.
const SYNC_BYTES: usize = 16 << 20;

/// A file being written. The writer is away while a blocking call has it; if the caller loses interest
/// meanwhile, the writer is dropped at the end of that call and removes its temporary file.
struct LocalUpload {
    path: PathBuf,
    writer: Option<Writer>,
    /// Bytes that the disk was not asked to take yet.
    behind: usize,
    /// The sync under way. Its error is told once only, so it has to be listened to.
    syncing: Option<JoinHandle<std::io::Result<()>>>,
}

#[async_trait]
impl Upload for LocalUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        let mut writer = self.take()?;
        self.behind += bytes.len();
        let write = move |_: &Path| writer.write(&bytes).map(|()| writer);
        let writer = blocking("write", self.path.clone(), write).await?;
        if self.behind >= SYNC_BYTES && self.syncing.as_ref().is_none_or(JoinHandle::is_finished) {
            self.synced().await?;
            let again = |source| error::from_io("write", &self.path, source);
            let file = writer.again().map_err(again)?;
            self.syncing = Some(tokio::task::spawn_blocking(move || file.sync_data()));
            self.behind = 0;
        }
        self.writer = Some(writer);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Put, ObjectError> {
        self.synced().await?;
        let writer = self.take()?;
        blocking("write", self.path, move |_| writer.finish()).await
    }

    async fn abort(mut self: Box<Self>) -> Result<(), ObjectError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        blocking("clean up", self.path, move |_| writer.abort()).await
    }
}

impl LocalUpload {
    /// Waits for the sync under way.
    async fn synced(&mut self) -> Result<(), ObjectError> {
        let Some(syncing) = self.syncing.take() else { return Ok(()) };
        let done = syncing.await.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)));
        done.map_err(|source| error::from_io("write", &self.path, source))
    }

    fn take(&mut self) -> Result<Writer, ObjectError> {
        self.writer.take().ok_or_else(|| ObjectError::Broken {
            action: "go on writing",
            path: self.path.display().to_string(),
            source: "an earlier write of this upload failed".into(),
        })
    }
}

/// Runs blocking work on its own thread and names its errors.
async fn blocking<T: Send + 'static>(
    action: &'static str,
    path: PathBuf,
    work: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> Result<T, ObjectError> {
    let shown = path.display().to_string();
    let joined = tokio::task::spawn_blocking(move || {
        work(&path).map_err(|source| error::from_io(action, &path, source))
    });
    match joined.await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(stopped) => {
                Err(ObjectError::Unavailable { action, path: shown, source: stopped.into() })
            }
        },
    }
}

#[cfg(test)]
mod tests;
