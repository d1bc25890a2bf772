//! Where bytes come from: an address, or an object of a destination.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::digest::hex;
use model::ports::Objects;
use model::{Failure, ObjectKey};
use reqwest::header::{ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::failed::Failed;

/// Time in which a server must have taken a connection, and in which something must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes read of an object at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Bytes of an answer that is no file which are looked at.
const TOLD_BYTES_MAX: usize = 64 << 10;

/// Something to be fetched.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// What an address opens.
    Address(Client, Url),
    /// What lies in a destination.
    Object(Arc<dyn Objects>, ObjectKey, Whole),
}

/// What is known of it before a byte of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Its bytes.
    pub(crate) bytes: u64,
    /// Their SHA-256, bare lower-case hex, if that is told.
    pub(crate) sha256: Option<String>,
    /// What changes with it.
    pub(crate) tag: Option<String>,
}

/// Why no bytes come.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// Asking again may help; a server may say after how many seconds.
    Again(String, Option<u64>),
    /// It does not.
    Over(Failed),
}

impl Source {
    /// Returns what an address opens.
    pub(crate) fn address(url: Url) -> Result<Self, Failed> {
        let client = Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).build();
        let client = client.map_err(|e| Failed::internal(format!("cannot make a client: {e}")))?;
        Ok(Self::Address(client, url))
    }

    /// Asks what it is.
    pub(crate) async fn look(&self) -> Result<Whole, Stopped> {
        match self {
            Self::Object(_, _, whole) => Ok(whole.clone()),
            Self::Address(client, url) => {
                let answer = client.head(url.clone()).send().await.map_err(broken)?;
                // What goes wrong is told in a body, which this has none of.
                if !answer.status().is_success() {
                    let asked = client.get(url.clone()).header(RANGE, "bytes=0-0");
                    return Err(refused(asked.send().await.map_err(broken)?).await);
                }
                let headers = answer.headers();
                let bytes = text(headers, "content-length").and_then(|text| text.parse().ok());
                let Some(bytes) = bytes else {
                    let message =
                        "the server does not say how large the file is; fetch it otherwise";
                    return Err(Stopped::Over(Failed::source(message)));
                };
                let tag = text(headers, ETAG.as_str()).filter(|tag| !tag.starts_with("W/"));
                Ok(Whole { bytes, sha256: sha256(headers), tag: tag.map(str::to_owned) })
            }
        }
    }

    /// Asks for a range; hands what comes to `take`, piece by piece.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
        whole: &Whole,
        mut take: impl FnMut(Bytes) -> Result<(), Failed> + Send,
    ) -> Result<(), Stopped> {
        match self {
            Self::Object(objects, key, _) => {
                let mut at = range.start;
                while at < range.end {
                    let end = range.end.min(at + CHUNK_BYTES);
                    let bytes = objects.read(key, at..end).await.map_err(|error| {
                        if error.code().can_retry() {
                            Stopped::Again(error.to_string(), None)
                        } else {
                            Stopped::Over(error.into())
                        }
                    })?;
                    take(bytes).map_err(Stopped::Over)?;
                    at = end;
                }
                Ok(())
            }
            Self::Address(client, url) => {
                let mut asked = client.get(url.clone());
                let is_all = range == (0..whole.bytes);
                if !is_all {
                    asked = asked.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
                    if let Some(tag) = &whole.tag {
                        asked = asked.header(IF_RANGE, tag);
                    }
                }
                let mut answer = asked.send().await.map_err(broken)?;
                let wanted = if is_all { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
                if answer.status() == StatusCode::OK && wanted != StatusCode::OK {
                    let message = "the file has changed, or the server gives no ranges; remove what is there, and fetch it with --parallel 1";
                    return Err(Stopped::Over(Failed::source(message)));
                }
                if answer.status() != wanted {
                    return Err(refused(answer).await);
                }
                while let Some(bytes) = answer.chunk().await.map_err(broken)? {
                    take(bytes).map_err(Stopped::Over)?;
                }
                Ok(())
            }
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Returns the checksum that a server tells (RFC 9530).
fn sha256(headers: &HeaderMap) -> Option<String> {
    let told = text(headers, "repr-digest")?;
    let one =
        told.split(',').find_map(|one| one.trim().strip_prefix("sha-256=:")?.strip_suffix(':'));
    STANDARD.decode(one?).ok().filter(|sum| sum.len() == 32).map(|sum| hex(&sum))
}

/// The address, with its signature, stays out of what is said.
fn broken(error: reqwest::Error) -> Stopped {
    let error = error.without_url();
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    Stopped::Again(said, None)
}

/// Reads why a server does not give what was asked for.
async fn refused(mut answer: Response) -> Stopped {
    let status = answer.status();
    let after = text(answer.headers(), "retry-after").and_then(|text| text.parse().ok());
    let mut body = Vec::new();
    while body.len() < TOLD_BYTES_MAX {
        let Ok(Some(bytes)) = answer.chunk().await else { break };
        body.extend_from_slice(&bytes);
    }
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let detail = problem["detail"].as_str().or(status.canonical_reason()).unwrap_or("no reason");
    let said = format!("the server answers {}: {detail}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Stopped::Again(said, after),
        status if status.is_server_error() => Stopped::Again(said, after),
        _ => Stopped::Over(Failed::source(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_found_among_others() {
        let told = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("repr-digest", value.parse().expect("plain"));
            sha256(&headers)
        };
        let zeros = STANDARD.encode([0; 32]);
        let expected = Some("0".repeat(64));
        assert_eq!(told(&format!("sha-256=:{zeros}:")), expected);
        assert_eq!(told(&format!("md5=:AA==:, sha-256=:{zeros}:")), expected);
        for bad in ["sha-256=:AAAA:", "sha-512=:AAAA:", "sha-256=?", ""] {
            assert_eq!(told(bad), None, "{bad}");
        }
    }
}
