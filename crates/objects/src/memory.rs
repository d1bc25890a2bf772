//! Objects in memory, for tests: nothing survives the process.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use model::ObjectKey;
use model::ports::{ObjectError, ObjectInfo, Objects, Put, Upload};

use crate::key;

/// A map of objects. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectKey, Bytes>,
    /// Unfinished uploads by number, with the key and token they carry.
    uploads: BTreeMap<u64, Unfinished>,
    next: u64,
}

#[derive(Debug)]
struct Unfinished {
    key: ObjectKey,
    token: String,
    bytes: Vec<u8>,
}

impl Memory {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns how many uploads are unfinished.
    pub fn unfinished(&self) -> usize {
        self.state().uploads.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }
}

impl State {
    fn put(&mut self, key: &ObjectKey, bytes: Bytes) -> Put {
        if self.objects.contains_key(key) {
            return Put::Exists;
        }
        self.objects.insert(key.clone(), bytes);
        Put::Created
    }
}

#[async_trait]
impl Objects for Memory {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        key::check(key)?;
        Ok(self.state().put(key, bytes))
    }

    async fn upload(&self, key: &ObjectKey, token: &str) -> Result<Box<dyn Upload>, ObjectError> {
        key::check(key)?;
        key::check_token(token)?;
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        let unfinished =
            Unfinished { key: key.clone(), token: token.to_owned(), bytes: Vec::new() };
        state.uploads.insert(number, unfinished);
        Ok(Box::new(MemoryUpload { memory: self.clone(), number }))
    }

    async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError> {
        key::check(key)?;
        key::check_token(token)?;
        self.state().uploads.retain(|_, upload| (&upload.key, &*upload.token) != (key, token));
        Ok(())
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        key::check(key)?;
        let bytes = self.state().objects.get(key).map(|bytes| bytes.len() as u64);
        Ok(bytes.map(|bytes| ObjectInfo { key: key.clone(), bytes }))
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        key::check(key)?;
        let state = self.state();
        let path = key.to_string();
        let Some(bytes) = state.objects.get(key) else {
            return Err(ObjectError::NotFound { path });
        };
        let wanted = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
        match wanted {
            Some((start, end)) if start <= end && end <= bytes.len() => Ok(bytes.slice(start..end)),
            _ => Err(ObjectError::Broken {
                action: "read",
                path,
                source: format!("bytes {range:?} of {} were asked", bytes.len()).into(),
            }),
        }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        key::check(key)?;
        self.state().objects.remove(key);
        Ok(())
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        key::check_folder(folder)?;
        let below = |key: &ObjectKey| {
            let rest = key.as_str().strip_prefix(folder);
            folder.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let info = |(key, bytes): (&ObjectKey, &Bytes)| ObjectInfo {
            key: key.clone(),
            bytes: bytes.len() as u64,
        };
        Ok(self.state().objects.iter().filter(|(key, _)| below(key)).map(info).collect())
    }
}

struct MemoryUpload {
    memory: Memory,
    number: u64,
}

impl MemoryUpload {
    fn aborted(&self) -> ObjectError {
        ObjectError::Broken {
            action: "write",
            path: format!("upload {}", self.number),
            source: "the upload was aborted by its token".into(),
        }
    }
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        match self.memory.state().uploads.get_mut(&self.number) {
            Some(upload) => {
                upload.bytes.extend_from_slice(&bytes);
                Ok(())
            }
            None => Err(self.aborted()),
        }
    }

    async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
        let mut state = self.memory.state();
        match state.uploads.remove(&self.number) {
            Some(upload) => Ok(state.put(&upload.key, upload.bytes.into())),
            None => Err(self.aborted()),
        }
    }

    async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
        self.memory.state().uploads.remove(&self.number);
        Ok(())
    }
}

impl Drop for MemoryUpload {
    fn drop(&mut self) {
        self.memory.state().uploads.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn memory_conforms() {
        conformance::all(&Memory::new()).await;
    }
}
