//! Files at addresses, read over HTTP in ranges: what a link opens.
//!
//! Contract: nothing that is said of an error repeats the address, which may hold a signature. An operator names the addresses, so no rule of
//! [`crate::egress`] is asked, and redirects and proxies are as usual.

use std::ops::Range;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use model::digest::hex;
use model::limits::SILENCE_SECONDS;
use reqwest::header::{ETAG, HeaderMap, IF_RANGE, RANGE};
use reqwest::{Client, Response, StatusCode};
use url::Url;

/// Bytes of an answer that is no file which are looked at.
const TOLD_BYTES_MAX: usize = 64 << 10;

/// A file at an address.
#[derive(Clone)]
pub struct Address {
    client: Client,
    url: Url,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Address").finish_non_exhaustive()
    }
}

/// What is known of a file before a byte of it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256, bare lower-case hex, if that is told.
    pub sha256: Option<String>,
    /// What changes with it.
    pub tag: Option<String>,
}

/// Why no bytes come.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// Asking again may help.
    #[error("{why}")]
    Again {
        /// Why.
        why: String,
        /// Seconds after which the server wants to be asked.
        after: Option<u64>,
    },
    /// It does not.
    #[error("{why}")]
    Over {
        /// Why.
        why: String,
    },
}

impl Address {
    /// Names a file. Does no I/O.
    ///
    /// # Errors
    ///
    /// [`Stopped::Over`] where the certificates of this host cannot be read.
    pub fn new(url: Url) -> Result<Self, Stopped> {
        let patience = Duration::from_secs(SILENCE_SECONDS);
        let client = Client::builder().connect_timeout(patience).read_timeout(patience).build();
        let client = client.map_err(|error| over(format!("cannot make a client: {error}")))?;
        Ok(Self { client, url })
    }

    /// Asks what it is.
    ///
    /// # Errors
    ///
    /// [`Stopped`], with the words of the server.
    pub async fn look(&self) -> Result<Whole, Stopped> {
        let answer = self.client.head(self.url.clone()).send().await.map_err(broken)?;
        let status = answer.status();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            return Err(refused(answer).await);
        }
        let (answer, bytes) = if status.is_success() {
            let bytes = text(answer.headers(), "content-length").and_then(|text| text.parse().ok());
            (answer, bytes)
        } else {
            // What goes wrong is told in a body, which that has none of; and some refuse to be asked so.
            let asked = self.client.get(self.url.clone()).header(RANGE, "bytes=0-0");
            let answer = asked.send().await.map_err(broken)?;
            if !answer.status().is_success() {
                return Err(refused(answer).await);
            }
            let range =
                text(answer.headers(), "content-range").and_then(|text| text.rsplit_once('/'));
            let bytes = range.and_then(|(_, bytes)| bytes.parse().ok());
            (answer, bytes)
        };
        let headers = answer.headers();
        let bytes = bytes.ok_or_else(|| {
            over("the server does not say how large the file is; fetch it otherwise")
        })?;
        let tag = text(headers, ETAG.as_str()).filter(|tag| !tag.starts_with("W/"));
        Ok(Whole { bytes, sha256: sha256(headers), tag: tag.map(str::to_owned) })
    }

    /// Asks for a range of what was looked at.
    ///
    /// # Errors
    ///
    /// [`Stopped`], also where the file has changed since.
    pub async fn read(&self, range: Range<u64>, whole: &Whole) -> Result<Answer, Stopped> {
        let mut asked = self.client.get(self.url.clone());
        let is_all = range == (0..whole.bytes);
        if !is_all {
            asked = asked.header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
            if let Some(tag) = &whole.tag {
                asked = asked.header(IF_RANGE, tag);
            }
        }
        let answer = asked.send().await.map_err(broken)?;
        let wanted = if is_all { StatusCode::OK } else { StatusCode::PARTIAL_CONTENT };
        if answer.status() == StatusCode::OK && wanted != StatusCode::OK {
            return Err(over(
                "the file has changed, or the server gives no ranges; remove what is there, and fetch it in one piece",
            ));
        }
        if answer.status() != wanted {
            return Err(refused(answer).await);
        }
        Ok(Answer(answer))
    }
}

/// Bytes on their way.
#[derive(Debug)]
pub struct Answer(Response);

impl Answer {
    /// Returns the next bytes; none at the end.
    ///
    /// # Errors
    ///
    /// [`Stopped::Again`] where the connection breaks off.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Stopped> {
        self.0.chunk().await.map_err(broken)
    }
}

fn over(why: impl Into<String>) -> Stopped {
    Stopped::Over { why: why.into() }
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

fn broken(error: reqwest::Error) -> Stopped {
    let error = error.without_url();
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    Stopped::Again { why, after: None }
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
    let body = String::from_utf8_lossy(&body);
    let detail = detail(&body).or_else(|| status.canonical_reason().map(str::to_owned));
    let detail = detail.unwrap_or_else(|| "no reason".into());
    let why = format!("the server answers {}: {detail}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            Stopped::Again { why, after }
        }
        status if status.is_server_error() => Stopped::Again { why, after },
        _ => Stopped::Over { why },
    }
}

/// Returns what a problem (RFC 9457) says.
fn detail(body: &str) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_str(body).ok()?;
    problem["detail"].as_str().map(str::to_owned)
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

    #[tokio::test]
    async fn an_address_stays_out_of_what_is_said() {
        let url = Url::parse("http://127.0.0.1:1/a?signature=canary").expect("a URL");
        let address = Address::new(url).expect("made");
        let error = address.look().await.expect_err("nobody listens");
        assert!(matches!(error, Stopped::Again { .. }));
        let said = format!("{error} {error:?} {address:?}");
        assert!(said.contains("refused") && !said.contains("canary"), "{said}");
    }
}
