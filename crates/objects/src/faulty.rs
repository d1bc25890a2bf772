//! A store that breaks on purpose, for tests of what stands on stores.
//!
//! Wraps any store. Before each operation a script is asked what shall become of it; it sees the
//! operation and decides. Without a script it passes [`crate::conformance`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::ObjectKey;
use model::ports::{ObjectError, ObjectInfo, Objects, Put, Upload};

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// [`Objects::create`]
    Create(ObjectKey),
    /// [`Objects::upload`]
    Upload(ObjectKey),
    /// [`Upload::write`], with the bytes
    Write(ObjectKey, usize),
    /// [`Upload::finish`]
    Finish(ObjectKey),
    /// [`Objects::abort`] and [`Upload::abort`]
    Abort(ObjectKey),
    /// [`Objects::info`]
    Info(ObjectKey),
    /// [`Objects::read`]
    Read(ObjectKey),
    /// [`Objects::delete`]
    Delete(ObjectKey),
    /// [`Objects::list`]
    List(String),
}

/// What shall become of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is done.
    Proceed,
    /// It is not done, and the store says that it is away (503).
    Refuse,
    /// It is done, and the reply is lost.
    LoseReply,
    /// It reaches the store twice; the second answer comes back. Only for operations on whole objects.
    Twice,
    /// There is no room.
    Full,
    /// `info` does not see an object that is there.
    Stale,
}

/// Decides about every operation.
pub type Script = Arc<dyn Fn(&Op) -> Action + Send + Sync>;

/// A store with a script.
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Objects>,
    script: Script,
}

impl Faulty {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Objects>, script: Script) -> Self {
        Self { inner, script }
    }

    fn ask(&self, op: &Op) -> Result<Action, ObjectError> {
        let action = (self.script)(op);
        match action {
            Action::Refuse => Err(away(op)),
            Action::Full => Err(ObjectError::Full {
                path: format!("{op:?}"),
                source: std::io::ErrorKind::StorageFull.into(),
            }),
            _ => Ok(action),
        }
    }
}

fn away(op: &Op) -> ObjectError {
    ObjectError::Unavailable {
        action: "reach",
        path: format!("{op:?}"),
        source: "the store is away (a fault on purpose)".into(),
    }
}

fn reply<T>(op: &Op, action: Action, answer: T) -> Result<T, ObjectError> {
    if action == Action::LoseReply { Err(away(op)) } else { Ok(answer) }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Objects for Faulty {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        let op = Op::Create(key.clone());
        let action = self.ask(&op)?;
        let mut put = self.inner.create(key, bytes.clone()).await?;
        if action == Action::Twice {
            put = self.inner.create(key, bytes).await?;
        }
        reply(&op, action, put)
    }

    async fn upload(&self, key: &ObjectKey, token: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let op = Op::Upload(key.clone());
        let action = self.ask(&op)?;
        let inner = self.inner.upload(key, token).await?;
        let upload = FaultyUpload { faulty: self.clone(), key: key.clone(), inner };
        reply(&op, action, Box::new(upload))
    }

    async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError> {
        let op = Op::Abort(key.clone());
        let action = self.ask(&op)?;
        self.inner.abort(key, token).await?;
        reply(&op, action, ())
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        let op = Op::Info(key.clone());
        match self.ask(&op)? {
            Action::Stale => Ok(None),
            action => reply(&op, action, self.inner.info(key).await?),
        }
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let op = Op::Read(key.clone());
        let action = self.ask(&op)?;
        reply(&op, action, self.inner.read(key, range).await?)
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let op = Op::Delete(key.clone());
        let action = self.ask(&op)?;
        self.inner.delete(key).await?;
        if action == Action::Twice {
            self.inner.delete(key).await?;
        }
        reply(&op, action, ())
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let op = Op::List(folder.to_owned());
        let action = self.ask(&op)?;
        reply(&op, action, self.inner.list(folder).await?)
    }
}

struct FaultyUpload {
    faulty: Faulty,
    key: ObjectKey,
    inner: Box<dyn Upload>,
}

#[async_trait]
impl Upload for FaultyUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        let op = Op::Write(self.key.clone(), bytes.len());
        let action = self.faulty.ask(&op)?;
        self.inner.write(bytes).await?;
        reply(&op, action, ())
    }

    async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
        let op = Op::Finish(self.key.clone());
        let action = self.faulty.ask(&op)?;
        reply(&op, action, self.inner.finish().await?)
    }

    async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
        let op = Op::Abort(self.key.clone());
        let action = self.faulty.ask(&op)?;
        self.inner.abort().await?;
        reply(&op, action, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, conformance};

    fn always(action: Action) -> (Arc<Memory>, Faulty) {
        let memory = Arc::new(Memory::new());
        (memory.clone(), Faulty::new(memory, Arc::new(move |_| action)))
    }

    #[tokio::test]
    async fn without_faults_it_conforms() {
        conformance::all(&always(Action::Proceed).1).await;
    }

    #[tokio::test]
    async fn a_lost_reply_comes_after_the_deed_and_a_refusal_before() {
        let key = ObjectKey::new("k");
        for (action, there) in [(Action::LoseReply, true), (Action::Refuse, false)] {
            let (memory, faulty) = always(action);
            let answer = faulty.create(&key, "x".into()).await;
            assert!(matches!(answer, Err(ObjectError::Unavailable { .. })), "{answer:?}");
            let found = memory.info(&key).await.expect("memory answers");
            assert_eq!(found.is_some(), there);
        }
    }

    #[tokio::test]
    async fn what_arrives_twice_exists_the_second_time() {
        let (_, faulty) = always(Action::Twice);
        let put = faulty.create(&ObjectKey::new("k"), "x".into()).await.expect("done");
        assert_eq!(put, Put::Exists);
    }
}
