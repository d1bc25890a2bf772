//! Files of uploads on this machine's disk, until their batch is closed.
//!
//! Contract: [`Shelf::put`] returns when the bytes are durable and a file of the batch, or refuses them. Nothing that a
//! client says becomes a path. What nobody needs is deleted as the database says, never by what lies in the folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Days, TimeDelta, Utc};
use http_body_util::BodyExt;
use model::limits::{
    STALL_SECONDS, UPLOAD_DAYS, UPLOAD_FILE_BYTES_MAX, UPLOAD_HOURS, UPLOAD_PAGE,
    UPLOAD_PIECE_BYTES,
};
use model::ports::{CatalogError, ImportFile, ObjectError, Objects, Upload, UploadError, Uploads};
use model::upload::UploadFile;
use model::{BatchId, Clock, Code, Failure, ObjectKey, WorkspaceId, digest};
use sha2::{Digest, Sha256};

use crate::http::problem::Problem;

/// What the unfinished bytes of an object are found by; each object has a name of its own.
const TOKEN: &str = "upload";

/// What is taken of a body.
#[derive(Clone, Copy, Debug)]
struct Most {
    bytes: u64,
    /// Time in which something more has to come.
    silence: Duration,
}

/// What is taken of a file.
const MOST: Most =
    Most { bytes: UPLOAD_FILE_BYTES_MAX, silence: Duration::from_secs(STALL_SECONDS) };

/// Where files of uploads lie.
#[derive(Clone)]
pub struct Shelf {
    /// The data folder, as no other is called.
    pub node: String,
    /// The folder for files of uploads.
    pub root: PathBuf,
    /// What writes to it and deletes from it.
    pub objects: Arc<dyn Objects>,
    /// What knows which files there are.
    pub uploads: Arc<dyn Uploads>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Shelf {
    /// Takes a file in. Returns it, and whether the batch had none of that name.
    pub(crate) async fn put(
        &self,
        workspace: &WorkspaceId,
        (batch, name): (&BatchId, String),
        body: Body,
    ) -> Result<(UploadFile, bool), Problem> {
        let unique = uuid::Uuid::new_v4().simple();
        let key = ObjectKey::new(format!("{workspace}/{batch}/{unique}"));
        let object = (&*self.node, &key);
        self.uploads.begin_file(workspace, batch, object, self.clock.now()).await?;
        let refused = match self.write(&key, body).await {
            Err(problem) => problem,
            Ok((bytes, sha256)) => {
                let file = UploadFile { name, bytes, sha256, key: key.clone() };
                let now = self.clock.now();
                match self.uploads.finish_file(workspace, batch, &file, now).await {
                    Ok(noted) => {
                        if let Some(spare) = noted.spare {
                            self.remove(vec![spare]).await;
                        }
                        return Ok((file, noted.is_new));
                    }
                    // It may be a file all the same.
                    Err(error @ UploadError::Catalog(CatalogError::Database { .. })) => {
                        return Err(error.into());
                    }
                    Err(error) => error.into(),
                }
            }
        };
        self.remove(vec![key]).await;
        Err(refused)
    }

    /// Returns a file as an import reads it.
    pub(crate) fn content(&self, file: &UploadFile) -> ImportFile {
        ImportFile::at(file.name.clone(), self.root.join(file.key.as_str()))
    }

    /// Deletes what nobody needs any more.
    pub(crate) async fn tidy(&self) {
        let before = self.clock.now() - TimeDelta::hours(UPLOAD_HOURS);
        loop {
            match self.uploads.spare(&self.node, before, UPLOAD_PAGE).await {
                Ok(spare) if spare.is_empty() => return,
                Ok(spare) => {
                    if !self.remove(spare).await {
                        return;
                    }
                }
                Err(error) => return tracing::warn!(%error, "files of uploads were not removed"),
            }
        }
    }

    /// Gives batches up that nobody has touched for days.
    pub(crate) async fn expire(&self) -> Result<(), UploadError> {
        let since = self.clock.now().checked_sub_days(Days::new(UPLOAD_DAYS));
        let since = since.unwrap_or(DateTime::<Utc>::MIN_UTC);
        while self.uploads.expire(since, UPLOAD_PAGE).await? == u64::from(UPLOAD_PAGE) {}
        Ok(())
    }

    /// Returns whether all of it is gone; what is not is tried again later.
    async fn remove(&self, keys: Vec<ObjectKey>) -> bool {
        let (mut gone, mut all) = (Vec::with_capacity(keys.len()), true);
        for key in keys {
            let removed = match self.objects.abort(&key, TOKEN).await {
                Ok(()) => self.objects.delete(&key).await,
                Err(error) => Err(error),
            };
            match removed {
                Ok(()) => gone.push(key),
                Err(error) => {
                    tracing::warn!(%error, "a file of an upload was not removed");
                    all = false;
                }
            }
        }
        match self.uploads.forget(&gone).await {
            Ok(()) => all,
            Err(error) => {
                tracing::warn!(%error, "a file of an upload is gone, but not forgotten");
                false
            }
        }
    }

    /// Writes a body; returns its bytes and their sum when they are durable.
    async fn write(&self, key: &ObjectKey, body: Body) -> Result<(u64, String), Problem> {
        let mut upload = self.objects.upload(key, TOKEN).await.map_err(|e| not_stored(&e))?;
        match pour(body, upload.as_mut(), MOST).await {
            Ok(sum) => {
                upload.finish().await.map_err(|e| not_stored(&e))?;
                Ok(sum)
            }
            Err(problem) => {
                // The caller removes it once more.
                drop(upload.abort().await);
                Err(problem)
            }
        }
    }
}

/// Writes a body piece by piece, and sums it up.
async fn pour(mut body: Body, into: &mut dyn Upload, most: Most) -> Result<(u64, String), Problem> {
    let (mut sum, mut bytes, mut piece) = (Sha256::new(), 0, BytesMut::new());
    while let Some(some) = next(&mut body, most.silence).await? {
        bytes += some.len() as u64;
        if bytes > most.bytes {
            return Err(too_large(most.bytes));
        }
        sum.update(&some);
        piece.extend_from_slice(&some);
        if piece.len() >= UPLOAD_PIECE_BYTES {
            into.write(piece.split().freeze()).await.map_err(|e| not_stored(&e))?;
        }
    }
    if bytes == 0 {
        let detail = "the file is empty; leave it out, or send its bytes as the body";
        return Err(Problem::new(Code::Invalid, detail).at("body"));
    }
    if !piece.is_empty() {
        into.write(piece.freeze()).await.map_err(|e| not_stored(&e))?;
    }
    Ok((bytes, digest::hex(&sum.finalize())))
}

/// Returns the next bytes of a body; nothing at its end.
async fn next(body: &mut Body, silence: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = tokio::time::timeout(silence, body.frame()).await;
        let frame = frame.map_err(|_| {
            let detail = "nothing more of the file came for a while; send it again";
            Problem::with_status(StatusCode::REQUEST_TIMEOUT, Code::Timeout, detail).at("body")
        })?;
        let Some(frame) = frame else { return Ok(None) };
        let frame = frame.map_err(|_| {
            Problem::new(Code::Invalid, "the body ended too early; send it again").at("body")
        })?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}

/// Refuses a file for its size.
pub(crate) fn too_large(bytes_max: u64) -> Problem {
    let detail = format!("the file has more than {bytes_max} bytes; send it as several");
    Problem::new(Code::TooLarge, detail).at("body")
}

/// A client need not know where files lie.
fn not_stored(error: &ObjectError) -> Problem {
    tracing::error!(%error, "a file of an upload was not stored");
    match error.code() {
        Code::TooLarge => {
            let detail = "the server has no room for the file now; send it again later";
            Problem::new(Code::Unavailable, detail)
        }
        Code::Unavailable => {
            Problem::new(Code::Unavailable, "the file could not be stored now; send it again")
        }
        _ => Problem::broken(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures::stream;
    use model::ports::Put;

    use super::*;

    const SMALL: Most = Most { bytes: 4, silence: Duration::from_mins(1) };

    /// What was written.
    #[derive(Default)]
    struct Written(Vec<Bytes>);

    #[async_trait::async_trait]
    impl Upload for Written {
        async fn write(&mut self, bytes: Bytes) -> Result<(), ObjectError> {
            self.0.push(bytes);
            Ok(())
        }

        async fn finish(self: Box<Self>) -> Result<Put, ObjectError> {
            Ok(Put::Created)
        }

        async fn abort(self: Box<Self>) -> Result<(), ObjectError> {
            Ok(())
        }
    }

    fn body(pieces: &[&'static str]) -> Body {
        let pieces: Vec<_> =
            pieces.iter().map(|piece| Ok::<_, std::io::Error>(Bytes::from(*piece))).collect();
        Body::from_stream(stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_is_summed_up_to_its_limit() {
        let mut into = Written::default();
        let sum = pour(body(&["ab", "", "cd"]), &mut into, SMALL).await.expect("it fits");
        assert_eq!(sum, (4, digest::sha256_hex(b"abcd")));
        assert_eq!(into.0, ["abcd"]);
        for (pieces, code) in [(&["ab", "cde"][..], "too_large"), (&[], "invalid")] {
            let mut into = Written::default();
            let refused = pour(body(pieces), &mut into, SMALL).await.expect_err("refused");
            assert_eq!((refused.code(), into.0.len()), (code, 0));
        }
    }

    #[tokio::test]
    async fn a_body_of_which_nothing_comes_is_given_up() {
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let hasty = Most { silence: Duration::ZERO, ..SMALL };
        let refused = pour(silent, &mut Written::default(), hasty).await.expect_err("refused");
        assert_eq!(refused.code(), "timeout");
    }
}
