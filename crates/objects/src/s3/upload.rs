//! Objects that are written in pieces.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use model::ObjectKey;
use model::limits::{S3_PIECE_BYTES, S3_PIECES_MAX};
use model::ports::{ObjectError, Put, Upload};
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStore, ObjectStoreExt, PutMode};
use reqwest::StatusCode;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::Shared;
use super::error::{self, Broken};
use crate::key::UNFINISHED_SUFFIX;

/// One upload in pieces. While a piece is on its way, the next one is gathered.
pub(super) struct S3Upload {
    /// `None` once it has ended.
    begun: Option<Begun>,
    held: BytesMut,
    pieces: Vec<PartId>,
    sending: Option<JoinHandle<object_store::Result<PartId>>>,
    stopped: bool,
}

/// What the service has of an upload.
#[derive(Clone)]
struct Begun {
    shared: Arc<Shared>,
    /// The key, for people.
    name: String,
    path: Path,
    /// The hidden object that names it.
    mark: Path,
    id: MultipartId,
}

impl S3Upload {
    pub(super) async fn start(
        shared: Arc<Shared>,
        key: &ObjectKey,
        token: &str,
    ) -> Result<Self, ObjectError> {
        let (name, path) = (key.as_str().to_owned(), shared.path(key)?);
        let unique = Uuid::new_v4().simple();
        let mark = shared.inside(&format!("{}{unique}{UNFINISHED_SUFFIX}", marks(key, token)))?;
        let failed = |source| shared.failed("write", key.as_str(), &source);
        let id = shared.store.create_multipart(&path).await.map_err(failed)?;
        let text = format!("{token}\n{id}");
        let begun = Begun { shared: shared.clone(), name, path, mark, id };
        let marked = shared.store.put_opts(&begun.mark, text.into(), PutMode::Create.into()).await;
        if let Err(source) = marked {
            begun.end_quietly().await;
            return Err(failed(source));
        }
        Ok(Self {
            begun: Some(begun),
            held: BytesMut::new(),
            pieces: Vec::new(),
            sending: None,
            stopped: false,
        })
    }

    fn begun(&self) -> Result<&Begun, ObjectError> {
        let begun = self.begun.as_ref().expect("an upload ends once, by value");
        if self.stopped { Err(begun.broken(Broken::Stopped)) } else { Ok(begun) }
    }

    /// Waits for the piece that is on its way.
    async fn sent(&mut self) -> Result<(), ObjectError> {
        let Some(sending) = self.sending.take() else { return Ok(()) };
        let begun = self.begun()?.clone();
        match sending.await {
            Ok(Ok(piece)) => self.pieces.push(piece),
            Ok(Err(source)) => {
                self.stopped = true;
                return Err(begun.failed(&source));
            }
            Err(stopped) => {
                self.stopped = true;
                let path = begun.shared.place.shown(&begun.name);
                let source = stopped.into();
                return Err(ObjectError::Unavailable { action: "write", path, source });
            }
        }
        Ok(())
    }

    /// Sends a piece, after the one before it has arrived.
    async fn send(&mut self, piece: Bytes) -> Result<(), ObjectError> {
        self.sent().await?;
        let begun = self.begun()?.clone();
        let number = self.pieces.len();
        if number >= S3_PIECES_MAX {
            self.stopped = true;
            let source = Broken::Pieces { max: S3_PIECES_MAX, bytes: S3_PIECE_BYTES };
            return Err(begun.broken(source));
        }
        self.sending = Some(tokio::spawn(async move {
            begun.shared.store.put_part(&begun.path, &begun.id, number, piece.into()).await
        }));
        Ok(())
    }
}

#[async_trait]
impl Upload for S3Upload {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
        self.begun()?;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let room = S3_PIECE_BYTES - self.held.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.held.extend_from_slice(now);
            rest = later;
            if self.held.len() == S3_PIECE_BYTES {
                let piece = std::mem::take(&mut self.held).freeze();
                self.send(piece).await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Put, ObjectError> {
        self.begun()?;
        // Without any piece an upload cannot be completed.
        if !self.held.is_empty() || (self.pieces.is_empty() && self.sending.is_none()) {
            let piece = std::mem::take(&mut self.held).freeze();
            self.send(piece).await?;
        }
        self.sent().await?;
        let begun = self.begun()?.clone();
        let pieces = std::mem::take(&mut self.pieces);
        let done = begun.shared.store.complete_multipart(&begun.path, &begun.id, pieces).await;
        match done {
            Ok(_) => {
                self.begun = None;
                begun.unmark_quietly().await;
                Ok(Put::Created)
            }
            Err(source) if error::status(&source) == Some(StatusCode::PRECONDITION_FAILED) => {
                self.begun = None;
                begun.end_quietly().await;
                Ok(Put::Exists)
            }
            // What is left is aborted as this is dropped.
            Err(source) => Err(begun.failed(&source)),
        }
    }

    async fn abort(mut self: Box<Self>) -> Result<(), ObjectError> {
        let Some(begun) = self.begun.take() else { return Ok(()) };
        if let Some(sending) = self.sending.take() {
            sending.abort();
            // A piece that arrives after the end would stay.
            let _ = sending.await;
        }
        begun.abort().await?;
        begun.unmark().await
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let (begun, sending) = (self.begun.take(), self.sending.take());
        let (Some(begun), Ok(runtime)) = (begun, tokio::runtime::Handle::try_current()) else {
            return;
        };
        runtime.spawn(async move {
            if let Some(sending) = sending {
                sending.abort();
                let _ = sending.await;
            }
            begun.end_quietly().await;
        });
    }
}

impl Begun {
    fn failed(&self, source: &object_store::Error) -> ObjectError {
        self.shared.failed("write", &self.name, source)
    }

    fn broken(&self, source: Broken) -> ObjectError {
        self.shared.broken("write", &self.name, source)
    }

    /// Takes back what the service has of the upload; fine if there is nothing.
    async fn abort(&self) -> Result<(), ObjectError> {
        match self.shared.store.abort_multipart(&self.path, &self.id).await {
            Err(source) if error::status(&source) != Some(StatusCode::NOT_FOUND) => {
                Err(self.shared.failed("clean up", &self.name, &source))
            }
            _ => Ok(()),
        }
    }

    async fn unmark(&self) -> Result<(), ObjectError> {
        let deleted = self.shared.store.delete(&self.mark).await;
        deleted.map_err(|source| self.shared.failed("clean up", &self.name, &source))
    }

    async fn unmark_quietly(&self) {
        if let Err(error) = self.unmark().await {
            tracing::warn!(%error, "the mark of an upload could not be removed");
        }
    }

    /// Takes back what there is, as far as that can be done; a mark that stays tells the rest later.
    async fn end_quietly(&self) {
        match self.abort().await {
            Ok(()) => self.unmark_quietly().await,
            Err(error) => tracing::warn!(%error, "an upload could not be aborted"),
        }
    }
}

/// Returns how the names of the hidden objects begin that stand for uploads of a key with a token.
fn marks(key: &ObjectKey, token: &str) -> String {
    let (folder, name) = key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()));
    let slash = if folder.is_empty() { "" } else { "/" };
    format!("{folder}{slash}.{name}.{token}.")
}

/// Aborts the uploads of a key that carry a token.
pub(super) async fn abort(
    shared: &Arc<Shared>,
    key: &ObjectKey,
    token: &str,
) -> Result<(), ObjectError> {
    let path = shared.path(key)?;
    let names = shared.inside(&marks(key, token))?;
    let mut page = None;
    let failed = |source| shared.failed("clean up", key.as_str(), &source);
    loop {
        let options = PaginatedListOptions { page_token: page, ..PaginatedListOptions::default() };
        let found = shared.store.list_paginated(Some(names.as_ref()), options).await;
        let found = found.map_err(failed)?;
        for mark in found.result.objects {
            let Some(id) = upload_of(shared, &mark.location, token).await.map_err(failed)? else {
                continue;
            };
            let (shared, name) = (shared.clone(), key.as_str().to_owned());
            let begun = Begun { shared, name, path: path.clone(), mark: mark.location, id };
            begun.abort().await?;
            begun.unmark().await?;
        }
        page = found.page_token;
        if page.is_none() {
            return Ok(());
        }
    }
}

/// Returns which upload a mark stands for; `None` if it is gone or carries another token.
async fn upload_of(
    shared: &Shared,
    mark: &Path,
    token: &str,
) -> object_store::Result<Option<MultipartId>> {
    let read = async { shared.store.get(mark).await?.bytes().await };
    let text = match read.await {
        Err(source) if error::status(&source) == Some(StatusCode::NOT_FOUND) => return Ok(None),
        read => read?,
    };
    let text = String::from_utf8_lossy(&text);
    let carried = text.split_once('\n').filter(|(carried, _)| *carried == token);
    Ok(carried.map(|(_, id)| id.to_owned()))
}
