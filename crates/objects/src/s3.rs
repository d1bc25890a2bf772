//! Objects in a bucket of S3, or of a service that speaks its protocol.
//!
//! Contract: an object is created by one conditional call (`If-None-Match: *`), so it is whole, durable and
//! never overwritten as far as the service keeps its word. What is written piece by piece is an upload in
//! pieces of S3, which shows when it is completed, conditionally too. Beside it lies a small hidden object
//! (`.NAME.TOKEN.ID.part`) with the number that the service gave to the upload, by which [`Objects::abort`] finds it
//! after a crash; it goes when the upload ends. A crash between the two leaves an upload without pieces, which costs nothing.
//! An upload that is dropped is aborted in the background.
//!
//! A call is repeated after a failure that passes. A conditional one may then find what its first try has
//! made and answer that something exists: the caller settles that, as the trait says.
//!
//! Names are taken as they are, without any encoding. Errors say what to set, and repeat no key of the
//! account; nor does `Debug`. Places are named by people who may be strangers: see [`crate::egress`].
//! Credentials are given, never asked of the machine.

mod connect;
mod error;
mod place;
mod reach;
mod upload;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use model::limits::{CALL_RETRIES, CALL_RETRY_SECONDS};
use model::ports::{Check, ObjectError, ObjectInfo, Objects, Put, Upload};
use model::{ObjectKey, SecretText};
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig};
use reqwest::StatusCode;
use url::Url;

use crate::{Egress, key};
use connect::Connector;
use error::Broken;
pub use place::{Place, SettingError};
use upload::S3Upload;

/// Bytes of a key; S3 takes no more.
const KEY_BYTES_MAX: usize = 1024;

/// Times a conditional write is tried while another one of the same name is under way.
const CONFLICT_TRIES: usize = 5;

/// How a bucket is reached.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// Where.
    pub place: Place,
    /// The region; services that have none take any.
    pub region: String,
    /// The URL of the service; Amazon's own of the region without it.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path of a URL, not in the name of the host.
    pub path_style: bool,
    /// Who.
    pub access_key_id: SecretText,
    /// The proof.
    pub secret_access_key: SecretText,
    /// What short-lived keys come with.
    pub session_token: Option<SecretText>,
}

/// A folder of a bucket.
#[derive(Clone)]
pub struct S3 {
    shared: Arc<Shared>,
}

struct Shared {
    place: Place,
    store: AmazonS3,
    /// Where the service is.
    url: Url,
    egress: Arc<Egress>,
}

impl S3 {
    /// Makes the store. Does no I/O.
    ///
    /// # Errors
    ///
    /// [`SettingError`], for an endpoint that is no URL or may not be called.
    pub fn new(settings: S3Settings, egress: Egress) -> Result<Self, SettingError> {
        let (region, egress) = (settings.region, Arc::new(egress));
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(settings.place.bucket())
            .with_region(&region)
            .with_virtual_hosted_style_request(!settings.path_style)
            .with_access_key_id(settings.access_key_id.reveal())
            .with_secret_access_key(settings.secret_access_key.reveal())
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_retry(RetryConfig {
                max_retries: CALL_RETRIES,
                retry_timeout: Duration::from_secs(CALL_RETRY_SECONDS),
                ..RetryConfig::default()
            });
        let url = match &settings.endpoint {
            Some(endpoint) => place::endpoint(endpoint)?,
            None => place::amazon(&region)?,
        };
        egress.check_url(&url)?;
        let url = if settings.path_style { url } else { hosted(url, settings.place.bucket())? };
        if settings.endpoint.is_some() {
            builder = builder.with_endpoint(url.as_str().trim_end_matches('/'));
        }
        if let Some(token) = &settings.session_token {
            builder = builder.with_token(token.reveal());
        }
        let store = builder
            .with_http_connector(Connector::new(egress.clone()))
            .build()
            .map_err(|source| SettingError::Client { source: source.into() })?;
        Ok(Self { shared: Arc::new(Shared { place: settings.place, store, url, egress }) })
    }

    /// Returns which folder it is.
    pub fn place(&self) -> &Place {
        &self.shared.place
    }

    /// Returns the same folder as the query engine reads it.
    pub fn reader(&self) -> Arc<dyn ObjectStore> {
        let store = self.shared.store.clone();
        match self.shared.place.prefix() {
            "" => Arc::new(store),
            _ => Arc::new(PrefixStore::new(store, self.shared.root())),
        }
    }

    /// Asks the service for the names in the folder, one page of them: whether it answers and may be read.
    ///
    /// # Errors
    ///
    /// What the service said, with what to set.
    pub async fn probe(&self) -> Result<(), ObjectError> {
        let first = self.shared.store.list(Some(&self.shared.root())).try_next().await;
        first.map(drop).map_err(|source| self.shared.failed("list", "", &source))
    }
}

/// Returns the URL with the bucket before its host's name.
fn hosted(mut url: Url, bucket: &str) -> Result<Url, SettingError> {
    let host = url.domain().map(|domain| format!("{bucket}.{domain}"));
    match host.filter(|host| url.set_host(Some(host)).is_ok()) {
        Some(_) => Ok(url),
        None => Err(SettingError::Hosted),
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("place", &self.shared.place).finish_non_exhaustive()
    }
}

impl Shared {
    /// Returns the folder's name in the bucket; that of the whole bucket is empty.
    fn root(&self) -> Path {
        Path::parse(self.place.prefix()).expect("a place's prefix was checked")
    }

    /// Returns the object's name in the bucket.
    fn path(&self, key: &ObjectKey) -> Result<Path, ObjectError> {
        key::check(key)?;
        self.inside(key.as_str())
    }

    /// Returns the name in the bucket of something in the folder.
    fn inside(&self, name: &str) -> Result<Path, ObjectError> {
        let whole = match self.place.prefix() {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        let bad = || ObjectError::BadKey { key: name.to_owned() };
        if whole.len() > KEY_BYTES_MAX {
            return Err(bad());
        }
        Path::parse(whole).map_err(|_| bad())
    }

    /// Returns the name in the folder of something in the bucket.
    fn outside<'a>(&self, path: &'a Path) -> Option<&'a str> {
        match self.place.prefix() {
            "" => Some(path.as_ref()),
            prefix => path.as_ref().strip_prefix(prefix)?.strip_prefix('/'),
        }
    }

    fn failed(
        &self,
        action: &'static str,
        name: &str,
        source: &object_store::Error,
    ) -> ObjectError {
        error::of(action, &self.place, name, source)
    }

    fn broken(&self, action: &'static str, name: &str, source: Broken) -> ObjectError {
        ObjectError::Broken { action, path: self.place.shown(name), source: source.into() }
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        match self.store.head(&self.path(key)?).await {
            Ok(found) => Ok(Some(ObjectInfo { key: key.clone(), bytes: found.size })),
            Err(source) => match error::of("look at", &self.place, key.as_str(), &source) {
                ObjectError::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }
}

#[async_trait]
impl Objects for S3 {
    async fn create(&self, key: &ObjectKey, bytes: Bytes) -> Result<Put, ObjectError> {
        let path = self.shared.path(key)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let payload = PutPayload::from(bytes.clone());
            let reply = self.shared.store.put_opts(&path, payload, PutMode::Create.into()).await;
            let Err(source) = reply else { return Ok(Put::Created) };
            match error::status(&source) {
                Some(StatusCode::PRECONDITION_FAILED) => return Ok(Put::Exists),
                // Another one of this name is being written; after it, the answer is certain.
                Some(StatusCode::CONFLICT) if tries < CONFLICT_TRIES => {}
                _ => return Err(self.shared.failed("write", key.as_str(), &source)),
            }
        }
    }

    async fn upload(&self, key: &ObjectKey, token: &str) -> Result<Box<dyn Upload>, ObjectError> {
        key::check_token(token)?;
        Ok(Box::new(S3Upload::start(self.shared.clone(), key, token).await?))
    }

    async fn abort(&self, key: &ObjectKey, token: &str) -> Result<(), ObjectError> {
        key::check_token(token)?;
        upload::abort(&self.shared, key, token).await
    }

    async fn info(&self, key: &ObjectKey) -> Result<Option<ObjectInfo>, ObjectError> {
        self.shared.info(key).await
    }

    async fn read(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, ObjectError> {
        let path = self.shared.path(key)?;
        let short = |bytes: u64| {
            let source = Broken::Range { range: range.clone(), bytes };
            self.shared.broken("read", key.as_str(), source)
        };
        if range.is_empty() {
            // There is no way to ask for no bytes.
            let found = self.shared.info(key).await?;
            let not_found =
                || ObjectError::NotFound { path: self.shared.place.shown(key.as_str()) };
            let bytes = found.ok_or_else(not_found)?.bytes;
            return if range.end <= bytes { Ok(Bytes::new()) } else { Err(short(bytes)) };
        }
        let read = self.shared.store.get_range(&path, range.clone()).await;
        let bytes = read.map_err(|source| self.shared.failed("read", key.as_str(), &source))?;
        let wanted = range.end - range.start;
        let found = bytes.len() as u64;
        if found == wanted { Ok(bytes) } else { Err(short(range.start + found)) }
    }

    async fn delete(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        let path = self.shared.path(key)?;
        let deleted = self.shared.store.delete(&path).await;
        match deleted.map_err(|source| self.shared.failed("delete", key.as_str(), &source)) {
            Err(ObjectError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    async fn reach(&self, now: DateTime<Utc>) -> Vec<Check> {
        self.shared.reach(now).await
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectInfo>, ObjectError> {
        key::check_folder(folder)?;
        let inside = match folder {
            "" => self.shared.root(),
            _ => self.shared.inside(folder)?,
        };
        let mut found = Vec::new();
        let mut listed = self.shared.store.list(Some(&inside));
        let failed = |source| self.shared.failed("list", folder, &source);
        while let Some(object) = listed.try_next().await.map_err(failed)? {
            // What no key can name is not ours.
            let name = self.shared.outside(&object.location).filter(|name| key::is_key(name));
            let info = |name| ObjectInfo { key: ObjectKey::new(name), bytes: object.size };
            found.extend(name.map(info));
        }
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
