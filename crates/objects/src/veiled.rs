//! A store whose errors do not say where it is, for places that are the server's own business.
//!
//! Wraps any store. An error names the object by its key alone, and of the cause it says what the system said; the
//! whole goes to the log. Everything else is as the store does it, so a veiled store passes [`crate::conformance`] if
//! that one does.

use std::error::Error as StdError;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use model::ObjectKey;
use model::ports::{ObjectError, ObjectInfo, Objects, Put, Upload};

/// What is said instead of a cause that may name places.
const ELSEWHERE: &str = "the server's own store failed; its log says more";

/// A store behind a veil.
#[derive(Clone, Debug)]
pub struct Veiled {
    inner: Arc<dyn Objects>,
}

impl Veiled {
    /// Wraps a store.
    pub fn new(inner: Arc<dyn Objects>) -> Self {
        Self { inner }
    }
}

#[async_trait]
impl Objects for Veiled {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        self.inner.create(key, bytes).await.map_err(|error| veil(key.as_str(), error))
    }

    async fn upload(&self, key: &ObjectKey, token: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let inner = self.inner.upload(key, token).await.map_err(|error| veil(key.as_str(), error));
        Ok(Box::new(VeiledUpload { key: key.clone(), inner: inner? }))
    }

    async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError> {
        self.inner.abort(key, token).await.map_err(|error| veil(key.as_str(), error))
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        self.inner.info(key).await.map_err(|error| veil(key.as_str(), error))
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        self.inner.read(key, range).await.map_err(|error| veil(key.as_str(), error))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.inner.delete(key).await.map_err(|error| veil(key.as_str(), error))
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        self.inner.list(folder).await.map_err(|error| veil(folder, error))
    }
}

struct VeiledUpload {
    key: ObjectKey,
    inner: Box<dyn Upload>,
}

#[async_trait]
impl Upload for VeiledUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.inner.write(bytes).await.map_err(|error| veil(self.key.as_str(), error))
    }

    async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
        self.inner.finish().await.map_err(|error| veil(self.key.as_str(), error))
    }

    async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
        self.inner.abort().await.map_err(|error| veil(self.key.as_str(), error))
    }
}

/// Returns the error as somebody may read it who only knows the key.
fn veil(key: &str, error: ObjectError) -> ObjectError {
    tracing::warn!(%error, "a place of the server's own failed");
    let path = key.to_owned();
    match error {
        ObjectError::NotFound { .. } => ObjectError::NotFound { path },
        ObjectError::BadKey { key } => ObjectError::BadKey { key },
        ObjectError::Denied { action, source, .. } => {
            ObjectError::Denied { action, path, source: said(source) }
        }
        ObjectError::Full { source, .. } => ObjectError::Full { path, source: said(source) },
        ObjectError::Unavailable { action, source, .. } => {
            ObjectError::Unavailable { action, path, source: cause(source) }
        }
        ObjectError::Misplaced { action, .. } => {
            ObjectError::Misplaced { action, path, source: ELSEWHERE.into() }
        }
        ObjectError::Broken { action, source, .. } => {
            ObjectError::Broken { action, path, source: cause(source) }
        }
    }
}

/// An error of the system is a number and its words; one with something inside may say anything.
fn said(error: io::Error) -> io::Error {
    if error.get_ref().is_none() { error } else { io::Error::new(error.kind(), ELSEWHERE) }
}

fn cause(error: Box<dyn StdError + Send + Sync>) -> Box<dyn StdError + Send + Sync> {
    match error.downcast::<io::Error>() {
        Ok(error) => said(*error).into(),
        Err(_) => ELSEWHERE.into(),
    }
}

#[cfg(test)]
mod tests {
    use model::Failure;

    use super::*;
    use crate::{Local, Memory, conformance};

    #[tokio::test]
    async fn behind_a_veil_everything_is_as_before() {
        conformance::all(&Veiled::new(Arc::new(Memory::new()))).await;
    }

    #[tokio::test]
    async fn an_error_names_the_key_and_no_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("secret-place");
        std::fs::write(&root, "a file where a folder should be").expect("written");
        let bare: Arc<dyn Objects> = Arc::new(Local::new(&root));
        let veiled = Veiled::new(bare.clone());
        let key = ObjectKey::new("run/part.csv");
        let shown = bare.create(&key, "x".into()).await.expect_err("no folder");
        let hidden = veiled.create(&key, "x".into()).await.expect_err("no folder");
        assert!(shown.to_string().contains("secret-place"), "{shown}");
        assert_eq!((hidden.code(), hidden.fault()), (shown.code(), shown.fault()));
        let text = hidden.to_string();
        assert!(text.contains("`run/part.csv`") && !text.contains("secret-place"), "{text}");
        let read = veiled.read(&key, 0..1).await.expect_err("no folder").to_string();
        assert!(read.contains("`run/part.csv`") && !read.contains("secret-place"), "{read}");
        assert!(veiled.upload(&key, "t").await.is_err_and(|e| !e.to_string().contains("secret")));
    }

    #[test]
    fn a_cause_that_may_name_places_is_not_repeated() {
        let bucket = || "no bucket `company-lake`".to_owned();
        let (action, path) = ("write", "s3://company-lake/managed/x".to_owned());
        let errors = [
            ObjectError::Denied { action, path: path.clone(), source: io::Error::other(bucket()) },
            ObjectError::Misplaced { action, path: path.clone(), source: bucket().into() },
            ObjectError::Unavailable { action, path: path.clone(), source: bucket().into() },
            ObjectError::Broken { action, path, source: bucket().into() },
        ];
        for error in errors {
            let veiled = veil("x", error).to_string();
            assert!(veiled.contains("`x`") && veiled.contains("its log"), "{veiled}");
            assert!(!veiled.contains("company"), "{veiled}");
        }
    }
}
