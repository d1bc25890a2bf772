//! The lake's objects in memory, where the power can be cut at a step.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use model::ObjectKey;
use model::ports::{ObjectError, ObjectInfo, Objects, Put, Upload};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::sync::Notify;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The power is cut: nothing more happens.
    Cut,
    /// The disk is full: every write fails.
    Full,
}

/// Objects that outlive every process.
#[derive(Clone, Debug)]
pub(crate) struct Mortal {
    store: Arc<InMemory>,
    /// Steps until the power is cut; far below 0 for never.
    left: Arc<AtomicI64>,
    /// Whether the disk is full then, instead.
    fills: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Mortal {
    pub(crate) fn new(store: Arc<InMemory>) -> Self {
        let left = Arc::new(AtomicI64::new(i64::MIN / 2));
        Self { store, left, fills: Arc::default(), cut: Arc::default() }
    }

    /// Returns the names of all data files.
    pub(crate) async fn names(&self) -> BTreeSet<String> {
        let all: Vec<_> = self.store.list(None).try_collect().await.unwrap();
        all.into_iter().map(|object| object.location.to_string()).collect()
    }

    /// Lets it go wrong after that many steps.
    pub(crate) fn stop_after(&self, stop: Stop, steps: i64) {
        self.fills.store(stop == Stop::Full, Ordering::SeqCst);
        self.left.store(steps, Ordering::SeqCst);
    }

    /// Lets all go well again; returns whether something has gone wrong.
    pub(crate) fn heal(&self) -> bool {
        (i64::MIN / 4..0).contains(&self.left.swap(i64::MIN / 2, Ordering::SeqCst))
    }

    /// Returns whether a write has failed for want of room.
    pub(crate) fn is_full(&self) -> bool {
        let left = self.left.load(Ordering::SeqCst);
        self.fills.load(Ordering::SeqCst) && (i64::MIN / 4..0).contains(&left)
    }

    /// Returns when the power is cut.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }

    /// Never returns once the power is cut; fails once the disk is full.
    async fn step(&self) -> Result<(), ObjectError> {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if self.fills.load(Ordering::SeqCst) {
            let is_full = (i64::MIN / 4..=0).contains(&left);
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            let full = ObjectError::Full { path: "an object".into(), source };
            return if is_full { Err(full) } else { Ok(()) };
        }
        if left == 0 {
            self.cut.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

#[async_trait]
impl Objects for Mortal {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        self.step().await?;
        self.store.put(&Path::from(key.as_str()), bytes.into()).await.unwrap();
        self.step().await?;
        Ok(Put::Created)
    }

    async fn upload(&self, key: &ObjectKey, _: &str) -> Result<Box<dyn Upload>, ObjectError> {
        self.step().await?;
        Ok(Box::new(Open { objects: self.clone(), key: key.clone(), bytes: Vec::new() }))
    }

    async fn abort(&self, _: &ObjectKey, _: &str) -> Result<(), ObjectError> {
        Ok(())
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        let found = self.store.head(&Path::from(key.as_str())).await.ok();
        Ok(found.map(|meta| ObjectInfo { key: key.clone(), bytes: meta.size }))
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let path = Path::from(key.as_str());
        let missing = |_| ObjectError::NotFound { path: key.to_string() };
        self.store.get_range(&path, range).await.map_err(missing)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        // Deleting needs no room.
        drop(self.step().await);
        // What is not there need not be deleted.
        drop(self.store.delete(&Path::from(key.as_str())).await);
        drop(self.step().await);
        Ok(())
    }

    async fn list(&self, _: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        Ok(Vec::new())
    }
}

struct Open {
    objects: Mortal,
    key: ObjectKey,
    bytes: Vec<u8>,
}

#[async_trait]
impl Upload for Open {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
        self.objects.create(&self.key, self.bytes.into()).await
    }

    async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
        Ok(())
    }
}
