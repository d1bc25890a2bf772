//! The one file of a part while it is being made.
//!
//! Small files are held in memory and put at once; larger ones are uploaded piece by piece. What was
//! written is hashed on the way.

use bytes::Bytes;
use md5::Md5;
use sha2::{Digest, Sha256};

use model::digest::hex;
use model::part::PartTask;
use model::ports::Upload;

use super::Stores;
use crate::deliver::{self, Expected};
use crate::retry::Tries;

/// The file being made: held in memory while it is small, uploaded from then on.
pub(super) struct File<'a> {
    task: &'a PartTask,
    stores: &'a Stores,
    token: &'a str,
    held: Vec<Bytes>,
    upload: Option<Box<dyn Upload>>,
    /// Whether something unfinished may be at the destination.
    begun: bool,
    pub(super) bytes: u64,
    sha256: Sha256,
    md5: Option<Md5>,
}

impl<'a> File<'a> {
    pub(super) fn new(task: &'a PartTask, stores: &'a Stores, token: &'a str) -> Self {
        let (held, upload, begun, bytes) = (Vec::new(), None, false, 0);
        let md5 = task.md5.then(Md5::new);
        Self { task, stores, token, held, upload, begun, bytes, sha256: Sha256::new(), md5 }
    }

    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), deliver::Error> {
        self.bytes += bytes.len() as u64;
        self.sha256.update(&bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(&bytes);
        }
        if let Some(upload) = &mut self.upload {
            return Ok(upload.write(bytes).await?);
        }
        self.held.push(bytes);
        if self.bytes > self.stores.put_bytes_max as u64 {
            self.begun = true;
            let upload = self.stores.objects.upload(&self.task.key, self.token).await?;
            let upload = self.upload.insert(upload);
            for bytes in self.held.drain(..) {
                upload.write(bytes).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn finish(&mut self, tries: &mut Tries<'_>) -> Result<(), deliver::Error> {
        let (objects, key) = (&*self.stores.objects, &self.task.key);
        let Some(upload) = self.upload.take() else {
            let bytes = match self.held.len() {
                1 => self.held.remove(0),
                _ => self.held.concat().into(),
            };
            return deliver::put(objects, key, bytes, tries).await;
        };
        let expected = Expected { bytes: self.bytes, sha256: self.sha256() };
        let reply = upload.finish().await;
        deliver::confirm(objects, key, reply, &expected).await
    }

    /// Takes back what is unfinished. What is finished stays.
    pub(super) async fn abandon(&mut self) {
        if !std::mem::take(&mut self.begun) {
            return;
        }
        if let Some(upload) = self.upload.take()
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(%error, "an upload could not be aborted");
        }
        if let Err(error) = self.stores.objects.abort(&self.task.key, self.token).await {
            tracing::warn!(%error, "an upload could not be aborted");
        }
    }

    /// Makes it the file that is not there.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.bytes = 0;
        self.sha256 = Sha256::new();
        self.md5 = self.md5.take().map(|_| Md5::new());
    }

    /// Returns the SHA-256 of what was written so far, bare lower-case hex.
    pub(super) fn sha256(&self) -> String {
        hex(&self.sha256.clone().finalize())
    }

    /// Returns the MD5 of what was written so far, if it was asked for.
    pub(super) fn md5(&self) -> Option<String> {
        self.md5.clone().map(|hash| hex(&hash.finalize()))
    }
}
