//! Files as answers: whole or in part, under a tag that is the SHA-256 of their bytes.
//!
//! Source: RFC 9110, sections 13 and 14. One range is served; of several at once the whole file, which a server may
//! choose. A tag never changes its bytes, so a download that broke off goes on where it was (`Range` with `If-Range`).

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body::{Frame, SizeHint};
use http_range_header::RangeUnsatisfiableError;
use model::ports::Objects;
use model::{Code, ObjectKey};

use super::problem::Problem;
use super::unpack;

/// Bytes read at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// Files that are looked at together.
const LOOKS_AT_ONCE: usize = 16;

/// A file to be served.
#[derive(Clone, Debug)]
pub(crate) struct Download {
    /// What a client may save it as.
    pub(crate) name: String,
    /// Its media type.
    pub(crate) kind: &'static str,
    /// Its bytes.
    pub(crate) bytes: u64,
    /// Stands for these very bytes; with that of others of its origin it has nothing in common.
    pub(crate) tag: String,
    /// Their SHA-256, bare lower-case hex, if it is known.
    pub(crate) sha256: Option<String>,
    /// Their MD5, bare lower-case hex, if it is known.
    pub(crate) md5: Option<String>,
    /// How they are packed for the way, if they are.
    pub(crate) coding: Option<&'static str>,
    /// Where they are.
    pub(crate) content: Content,
}

impl Download {
    /// Makes a file of known sum, whose tag is that sum.
    pub(crate) fn summed(
        (name, kind): (String, &'static str),
        (bytes, sha256): (u64, String),
        content: Content,
    ) -> Self {
        let tag = sha256.clone();
        let sha256 = Some(sha256);
        Self { name, kind, bytes, tag, sha256, md5: None, coding: None, content }
    }
}

/// Where the bytes of a file are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Here.
    Memory(Bytes),
    /// In a store.
    Stored(Arc<dyn Objects>, ObjectKey),
    /// In pieces, one behind the other.
    Pieces(Vec<Piece>),
    /// In gzip files of one member, unpacked one behind the other.
    Packed(Vec<Packed>),
}

/// A piece of a file.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Here.
    Memory(Bytes),
    /// Some bytes of an object.
    Stored(Arc<dyn Objects>, ObjectKey, Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Stored(_, _, range) => range.end - range.start,
        }
    }
}

/// A gzip file of one member.
#[derive(Clone, Debug)]
pub(crate) struct Packed {
    /// The store.
    pub(crate) objects: Arc<dyn Objects>,
    /// The file.
    pub(crate) key: ObjectKey,
    /// Where in it the deflated text is.
    pub(crate) deflated: Range<u64>,
    /// Bytes that it unpacks to.
    pub(crate) plain: u64,
}

/// Answers with a file, or with what of it the headers ask for.
pub(crate) async fn serve(file: Download, headers: &HeaderMap) -> Result<Response, Problem> {
    let tag = format!("\"{}\"", file.tag);
    if names(headers.get(header::IF_NONE_MATCH), &tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let Ok(range) = asked(headers, &tag, file.bytes) else {
        let detail = "the range begins behind the file's end; leave it out";
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        let problem = Problem::with_status(status, Code::Invalid, detail).at("Range");
        let unsatisfied = [(header::CONTENT_RANGE, format!("bytes */{}", file.bytes))];
        return Ok((unsatisfied, problem).into_response());
    };
    let (status, bytes) = match &range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range.clone()),
        None => (StatusCode::OK, 0..file.bytes),
    };
    let length = bytes.end - bytes.start;
    let body = Body::new(Exact { body: body(&file.content, bytes.clone()).await?, left: length });
    let mut response = (status, body).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.kind));
    out.insert(header::CONTENT_LENGTH, length.into());
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(header::ETAG, text(&tag));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    out.insert(header::CONTENT_DISPOSITION, text(&disposition(&file.name)));
    if let Some(digest) = file.sha256.as_deref().and_then(digest) {
        out.insert("repr-digest", text(&digest));
    }
    if let Some(coding) = file.coding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
    }
    if range.is_some() {
        let range = format!("bytes {}-{}/{}", bytes.start, bytes.end - 1, file.bytes);
        out.insert(header::CONTENT_RANGE, text(&range));
    }
    Ok(response)
}

/// A body that knows how long it is, and so that it has ended.
struct Exact {
    body: Body,
    /// Bytes that are still to come.
    left: u64,
}

impl HttpBody for Exact {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.left = self.left.saturating_sub(bytes as u64);
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The range begins behind the file's end.
#[derive(Debug, PartialEq, Eq)]
struct Unsatisfiable;

/// Returns the one range that is asked for and may be given; `None` for the whole file.
fn asked(headers: &HeaderMap, tag: &str, bytes: u64) -> Result<Option<Range<u64>>, Unsatisfiable> {
    let Some(range) = headers.get(header::RANGE).and_then(|range| range.to_str().ok()) else {
        return Ok(None);
    };
    // Of another file's bytes there is nothing to go on with.
    let other =
        headers.get(header::IF_RANGE).is_some_and(|known| known.as_bytes() != tag.as_bytes());
    // What is no range is not one that cannot be had.
    let (false, Ok(parsed)) = (other, http_range_header::parse_range_header(range)) else {
        return Ok(None);
    };
    match parsed.validate(bytes) {
        Ok(ranges) => match &*ranges {
            [range] => Ok(Some(*range.start()..range.end() + 1)),
            _ => Ok(None),
        },
        Err(RangeUnsatisfiableError::Unsatisfiable) => Err(Unsatisfiable),
        Err(_) => Ok(None),
    }
}

/// Returns whether a list of tags names this one, or any.
fn names(listed: Option<&HeaderValue>, tag: &str) -> bool {
    let Some(Ok(listed)) = listed.map(HeaderValue::to_str) else { return false };
    let one = |listed: &str| listed == "*" || listed.strip_prefix("W/").unwrap_or(listed) == tag;
    listed.split(',').any(|listed| one(listed.trim()))
}

async fn body(content: &Content, range: Range<u64>) -> Result<Body, Problem> {
    match content {
        Content::Memory(bytes) => {
            let part = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let (start, end) = part.expect("what is in memory has indexes");
            Ok(Body::from(bytes.slice(start..end)))
        }
        Content::Stored(objects, key) => {
            check_there(&**objects, key).await?;
            Ok(Body::from_stream(stored(Arc::clone(objects), key.clone(), range)))
        }
        Content::Pieces(pieces) => {
            let stored = pieces.iter().filter_map(|piece| match piece {
                Piece::Stored(objects, key, _) => Some((&**objects, key)),
                Piece::Memory(_) => None,
            });
            check_all_there(stored).await?;
            Ok(Body::from_stream(joined(cut(pieces, range))))
        }
        Content::Packed(files) => {
            check_all_there(files.iter().map(|file| (&*file.objects, &file.key))).await?;
            Ok(Body::from_stream(unpack::unpacked(files.clone(), range)))
        }
    }
}

/// Looks at several at once.
async fn check_all_there(
    files: impl Iterator<Item = (&dyn Objects, &ObjectKey)>,
) -> Result<(), Problem> {
    let looks: Vec<_> = files.map(|(objects, key)| check_there(objects, key)).collect();
    stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect().await
}

/// Before the answer begins: what is gone is a problem, not an answer that breaks off.
async fn check_there(objects: &dyn Objects, key: &ObjectKey) -> Result<(), Problem> {
    let info = objects.info(key).await.map_err(|error| {
        // Where the destination is, is not for everybody.
        tracing::warn!(%error, "a destination could not be read");
        Problem::new(Code::Unavailable, "the destination does not answer; try again")
    })?;
    if info.is_none() {
        let detail = "the file is gone from the destination; run the export again";
        return Err(Problem::new(Code::NotFound, detail));
    }
    Ok(())
}

/// Returns what of the pieces is in a range of all of them.
fn cut(pieces: &[Piece], range: Range<u64>) -> Vec<Piece> {
    let (mut at, mut kept) = (0, Vec::new());
    for piece in pieces {
        let (begin, end) = (at, at + piece.len());
        at = end;
        let inside = range.start.max(begin)..range.end.min(end);
        if inside.is_empty() {
            continue;
        }
        let (from, to) = (inside.start - begin, inside.end - begin);
        kept.push(match piece {
            Piece::Memory(bytes) => {
                let index = |at| usize::try_from(at).expect("what is in memory has indexes");
                Piece::Memory(bytes.slice(index(from)..index(to)))
            }
            Piece::Stored(objects, key, range) => {
                let range = range.start + from..range.start + to;
                Piece::Stored(Arc::clone(objects), key.clone(), range)
            }
        });
    }
    kept
}

/// Reads pieces one behind the other.
fn joined(pieces: Vec<Piece>) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    stream::iter(pieces).flat_map(|piece| match piece {
        Piece::Memory(bytes) => stream::once(std::future::ready(Ok(bytes))).boxed(),
        Piece::Stored(objects, key, range) => stored(objects, key, range).boxed(),
    })
}

/// Reads a range piece by piece.
fn stored(
    objects: Arc<dyn Objects>,
    key: ObjectKey,
    range: Range<u64>,
) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    stream::try_unfold(range, move |left| {
        let (objects, key) = (Arc::clone(&objects), key.clone());
        async move {
            if left.is_empty() {
                return Ok(None);
            }
            let end = left.end.min(left.start + CHUNK_BYTES);
            let bytes = objects.read(&key, left.start..end).await.map_err(|error| {
                tracing::warn!(%error, "a download broke off");
                std::io::Error::other(error.to_string())
            })?;
            Ok(Some((bytes, end..left.end)))
        }
    })
}

/// Source: RFC 6266; other names than plain ones are written by RFC 8187.
fn disposition(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.bytes().all(is_plain) {
        return format!("attachment; filename=\"{name}\"");
    }
    let encode = |byte: u8| {
        if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    let encoded: String = name.bytes().map(encode).collect();
    format!("attachment; filename*=UTF-8''{encoded}")
}

/// Source: RFC 9530.
fn digest(sha256: &str) -> Option<String> {
    let byte = |at| u8::from_str_radix(sha256.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..sha256.len()).step_by(2).map(byte).collect();
    Some(format!("sha-256=:{}:", STANDARD.encode(bytes?)))
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("it is made of plain characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(header::HeaderName, &str)]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.clone(), text(value))).collect()
    }

    fn range(value: &str) -> Result<Option<Range<u64>>, Unsatisfiable> {
        asked(&headers(&[(header::RANGE, value)]), "\"t\"", 10)
    }

    #[test]
    fn one_range_is_given() {
        assert_eq!(range("bytes=2-4"), Ok(Some(2..5)));
        assert_eq!(range("bytes=2-"), Ok(Some(2..10)));
        assert_eq!(range("bytes=-3"), Ok(Some(7..10)));
        assert_eq!(range("bytes=-30"), Ok(Some(0..10)));
        assert_eq!(range("bytes=9-100"), Ok(Some(9..10)));
    }

    #[test]
    fn what_is_no_range_asks_for_the_whole_file() {
        for value in ["bytes=4-2", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "bytes=", "5"] {
            assert_eq!(range(value), Ok(None), "{value}");
        }
    }

    #[test]
    fn a_range_behind_the_end_is_refused() {
        assert_eq!(range("bytes=10-"), Err(Unsatisfiable));
        assert_eq!(range("bytes=-0"), Err(Unsatisfiable));
    }

    #[test]
    fn a_range_of_other_bytes_asks_for_the_whole_file() {
        let ask = |known| {
            asked(&headers(&[(header::RANGE, "bytes=2-4"), (header::IF_RANGE, known)]), "\"t\"", 10)
        };
        assert_eq!(ask("\"t\""), Ok(Some(2..5)));
        assert_eq!(ask("\"u\""), Ok(None));
        assert_eq!(ask("W/\"t\""), Ok(None));
    }

    #[test]
    fn tags_are_found_in_lists() {
        let names = |listed: &str| names(Some(&text(listed)), "\"t\"");
        assert!(names("\"t\"") && names("W/\"t\"") && names("\"a\", \"t\"") && names("*"));
        assert!(!names("\"a\"") && !names("t"));
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(disposition("a-1.csv"), "attachment; filename=\"a-1.csv\"");
        assert_eq!(disposition("ä\".csv"), "attachment; filename*=UTF-8''%C3%A4%22.csv");
    }

    #[test]
    fn a_digest_is_the_sum_in_base64() {
        assert_eq!(digest("00ff").as_deref(), Some("sha-256=:AP8=:"));
        assert_eq!(digest("0x"), None);
    }
}
