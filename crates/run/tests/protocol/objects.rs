//! A store in memory that keeps the contract, and can fail in every way that the contract allows.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;

use model::ObjectKey;
use model::ports::{ObjectError, ObjectInfo, Objects, Put, Upload};

use crate::process::{Handle, Injected};

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) objects: BTreeMap<String, Bytes>,
    /// Unfinished uploads by key and token.
    pub(crate) uploads: BTreeMap<(String, String), Vec<u8>>,
    /// Bytes that fit, if the place is small.
    pub(crate) room: Option<usize>,
    /// Keys that were deleted.
    pub(crate) deleted: Vec<String>,
    /// Keys under which something was created by us.
    pub(crate) created: Vec<String>,
}

impl Store {
    fn used(&self) -> usize {
        let whole: usize = self.objects.values().map(Bytes::len).sum();
        whole + self.uploads.values().map(Vec::len).sum::<usize>()
    }

    fn fits(&self, key: &str, bytes: usize) -> Result<(), ObjectError> {
        if self.room.is_none_or(|room| self.used() + bytes <= room) {
            return Ok(());
        }
        let source = io::Error::from(io::ErrorKind::StorageFull);
        Err(ObjectError::Full { path: key.into(), source })
    }

    fn create(&mut self, key: &str, bytes: Bytes) -> Result<Put, ObjectError> {
        if self.objects.contains_key(key) {
            return Ok(Put::Exists);
        }
        self.fits(key, bytes.len())?;
        self.objects.insert(key.into(), bytes);
        self.created.push(key.into());
        Ok(Put::Created)
    }
}

/// Failures by chance, from a seed.
#[derive(Debug)]
pub(crate) struct Faults {
    state: Mutex<u64>,
    /// Failures in a thousand.
    rate: u64,
}

impl Faults {
    pub(crate) fn new(seed: u64, rate: u64) -> Self {
        Self { state: Mutex::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1), rate }
    }

    pub(crate) fn below(&self, end: u64) -> u64 {
        let mut state = self.state.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state % end
    }

    pub(crate) fn refuse(&self) -> bool {
        self.below(1000) < self.rate
    }

    pub(crate) fn lose_reply(&self) -> bool {
        self.below(1000) < self.rate
    }
}

fn away(key: &str) -> ObjectError {
    let source = io::Error::from(io::ErrorKind::ConnectionReset).into();
    ObjectError::Unavailable { action: "reach", path: key.into(), source }
}

impl Handle {
    /// Changes the store, with whatever may happen on the way there and back.
    async fn send<T>(
        &self,
        (name, key): (&str, &str),
        op: impl Fn(&mut Store) -> Result<T, ObjectError>,
    ) -> Result<T, ObjectError> {
        let faults = self.0.faults.as_ref();
        if faults.is_some_and(Faults::refuse) {
            return Err(away(key));
        }
        let twice = faults.is_some_and(Faults::lose_reply);
        let store = &self.0.world.store;
        let deliver = || {
            let mut store = store.lock().unwrap();
            let first = op(&mut store);
            if twice { op(&mut store) } else { first }
        };
        let done = self.0.write(&format!("{name} {key}"), deliver).await;
        let done = done.map_err(|Injected| away(key))??;
        if faults.is_some_and(Faults::lose_reply) {
            return Err(away(key));
        }
        Ok(done)
    }
}

#[async_trait]
impl Objects for Handle {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        let key = key.as_str();
        self.send(("create", key), |store| store.create(key, bytes.clone())).await
    }

    async fn upload(&self, key: &ObjectKey, token: &str) -> Result<Box<dyn Upload>, ObjectError> {
        let id = (key.to_string(), token.to_owned());
        let begin = |store: &mut Store| {
            store.uploads.insert(id.clone(), Vec::new());
            Ok(())
        };
        self.send(("upload", key.as_str()), begin).await?;
        Ok(Box::new(Writing { handle: self.clone(), id }))
    }

    async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError> {
        let id = (key.to_string(), token.to_owned());
        let abort = |store: &mut Store| {
            store.uploads.remove(&id);
            Ok(())
        };
        self.send(("abort", key.as_str()), abort).await
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        if let Some(faults) = &self.0.faults {
            if faults.refuse() {
                return Err(away(key.as_str()));
            }
            // An old view, from before the object was created.
            if faults.refuse() {
                return Ok(None);
            }
        }
        let store = &self.0.world.store;
        let find = || {
            let store = store.lock().unwrap();
            let found = store.objects.get(key.as_str());
            found.map(|found| ObjectInfo { key: key.clone(), bytes: found.len() as u64 })
        };
        Ok(self.0.look(find).await)
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        if self.0.faults.as_ref().is_some_and(Faults::refuse) {
            return Err(away(key.as_str()));
        }
        let store = &self.0.world.store;
        let object = self.0.look(|| store.lock().unwrap().objects.get(key.as_str()).cloned()).await;
        let object = object.ok_or_else(|| ObjectError::NotFound { path: key.to_string() })?;
        let (start, end) =
            (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
        Ok(object.slice(start..end))
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let delete = |store: &mut Store| {
            if store.objects.remove(key.as_str()).is_some() {
                store.deleted.push(key.to_string());
            }
            Ok(())
        };
        self.send(("delete", key.as_str()), delete).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        let store = self.0.world.store.lock().unwrap();
        let below = store.objects.iter().filter(|(key, _)| key.starts_with(folder));
        Ok(below
            .map(|(key, found)| ObjectInfo { key: ObjectKey::new(key), bytes: found.len() as u64 })
            .collect())
    }
}

struct Writing {
    handle: Handle,
    id: (String, String),
}

fn gone(key: &str) -> ObjectError {
    let source = io::Error::from(io::ErrorKind::NotFound).into();
    ObjectError::Broken { action: "write", path: key.into(), source }
}

#[async_trait]
impl Upload for Writing {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        let key = &self.id.0;
        if let Some(faults) = &self.handle.0.faults
            && faults.refuse()
        {
            // The body breaks off: some of it has arrived.
            let mut store = self.handle.0.world.store.lock().unwrap();
            if let Some(there) = store.uploads.get_mut(&self.id) {
                there.extend_from_slice(&bytes[..bytes.len() / 2]);
            }
            return Err(away(key));
        }
        let write = || {
            let mut store = self.handle.0.world.store.lock().unwrap();
            store.fits(key, bytes.len())?;
            let there = store.uploads.get_mut(&self.id).ok_or_else(|| gone(key))?;
            there.extend_from_slice(&bytes);
            Ok(())
        };
        let done = self.handle.0.write(&format!("write {key}"), write).await;
        done.map_err(|Injected| away(key))?
    }

    async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
        let key = self.id.0.as_str();
        let finish = |store: &mut Store| {
            // A second delivery finds the upload done.
            let Some(bytes) = store.uploads.remove(&self.id) else {
                let there = store.objects.contains_key(key);
                return if there { Ok(Put::Exists) } else { Err(gone(key)) };
            };
            store.create(key, bytes.into())
        };
        self.handle.send(("finish", key), finish).await
    }

    async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
        let abort = |store: &mut Store| {
            store.uploads.remove(&self.id);
            Ok(())
        };
        self.handle.send(("abort", &self.id.0), abort).await
    }
}
