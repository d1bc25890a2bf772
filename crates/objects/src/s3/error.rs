//! What a service's answer means for an object.

use std::error::Error;
use std::io;
use std::ops::Range;

use model::ports::ObjectError;
use object_store::client::{HttpError, HttpErrorKind};
use reqwest::StatusCode;

use super::Place;
use crate::egress;

/// A refusal.
#[derive(Debug, thiserror::Error)]
#[error("it answered {status}{}", .code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
pub(super) struct Answer {
    /// By number.
    pub(super) status: StatusCode,
    /// By word, if there was one.
    pub(super) code: Option<String>,
}

impl Answer {
    /// Returns whether asking again may help.
    pub(super) fn passes(&self) -> bool {
        let server =
            self.status.is_server_error() && !matches!(self.status.as_u16(), 501 | 505 | 507);
        let slow = matches!(self.code.as_deref(), Some("RequestTimeout" | "SlowDown"));
        server || slow || matches!(self.status.as_u16(), 408 | 429)
    }
}

/// What is wrong with the settings, and what to set.
#[derive(Debug, thiserror::Error)]
enum Mend {
    #[error("there is no bucket `{bucket}`; make it, or name another one")]
    Bucket { bucket: String },
    #[error(
        "the bucket is in another region; set `region` (and `endpoint`, if there is one) to its own"
    )]
    Region,
    #[error("the service does not know the key; check `access_key_id`")]
    UnknownKey,
    #[error("the signature is wrong; check `secret_access_key`")]
    WrongSecret,
    #[error("the session is over or unknown; give new keys with their `session_token`")]
    Session,
    #[error("the clock of this machine is wrong; set it")]
    Clock,
    #[error(
        "the key may not do that; allow it to list, read, write and delete there, and check the bucket's name"
    )]
    Denied,
}

/// What a store does that it must not.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// Fewer bytes.
    #[error("bytes {range:?} of {bytes} were asked")]
    Range {
        /// Those asked.
        range: Range<u64>,
        /// Those there.
        bytes: u64,
    },
    /// A larger file.
    #[error("a file has at most {max} pieces of {bytes} bytes; make smaller files")]
    Pieces {
        /// Pieces.
        max: usize,
        /// Bytes of one.
        bytes: usize,
    },
    /// An upload after it failed.
    #[error("an earlier write of this upload failed")]
    Stopped,
    /// An upload that is not there any more.
    #[error("the upload was aborted")]
    Aborted,
    /// Anything that nobody can read.
    #[error("its answer cannot be understood")]
    Unclear,
}

/// Finds an error of one kind among an error and its causes.
pub(super) fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// Returns the number of the service's refusal, if that is what the error is.
pub(super) fn status(error: &object_store::Error) -> Option<StatusCode> {
    find::<Answer>(error).map(|answer| answer.status)
}

/// Returns whether the service refuses whoever asks, whatever is asked for.
pub(super) fn is_of_keys(error: &ObjectError) -> bool {
    let ObjectError::Denied { source, .. } = error else { return false };
    let mend = source.get_ref().and_then(|source| source.downcast_ref::<Mend>());
    matches!(mend, Some(Mend::UnknownKey | Mend::WrongSecret | Mend::Session | Mend::Clock))
}

/// Sorts an error by outcome and names the object.
pub(super) fn of(
    action: &'static str,
    place: &Place,
    name: &str,
    error: &object_store::Error,
) -> ObjectError {
    let path = place.shown(name);
    if let Some(Answer { status, code }) = find::<Answer>(error) {
        return refused(action, place, path, Answer { status: *status, code: code.clone() });
    }
    if let Some(refused) = find::<egress::Error>(error) {
        return ObjectError::Denied { action, path, source: io::Error::other(refused.clone()) };
    }
    match find::<HttpError>(error).map(HttpError::kind) {
        Some(HttpErrorKind::Decode) | None => {
            tracing::debug!(%error, "an answer of S3 cannot be understood");
            ObjectError::Broken { action, path, source: Broken::Unclear.into() }
        }
        // The innermost cause is the system's: nobody listens, the name is unknown, the time is over.
        Some(_) => {
            let cause = causes(error).last().map(ToString::to_string).unwrap_or_default();
            ObjectError::Unavailable { action, path, source: cause.into() }
        }
    }
}

fn refused(action: &'static str, place: &Place, path: String, answer: Answer) -> ObjectError {
    let denied = |path, mend: Mend| {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, mend);
        ObjectError::Denied { action, path, source }
    };
    let misplaced = |path, mend: Mend| ObjectError::Misplaced { action, path, source: mend.into() };
    match (answer.status.as_u16(), answer.code.as_deref()) {
        (_, Some("NoSuchBucket")) => {
            misplaced(path, Mend::Bucket { bucket: place.bucket().to_owned() })
        }
        (_, Some("NoSuchUpload")) => {
            ObjectError::Broken { action, path, source: Broken::Aborted.into() }
        }
        (301 | 302 | 307 | 308, _)
        | (_, Some("AuthorizationHeaderMalformed" | "PermanentRedirect" | "InvalidRegion")) => {
            misplaced(path, Mend::Region)
        }
        (_, Some("InvalidAccessKeyId")) => denied(path, Mend::UnknownKey),
        (_, Some("SignatureDoesNotMatch")) => denied(path, Mend::WrongSecret),
        (_, Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")) => {
            denied(path, Mend::Session)
        }
        (_, Some("RequestTimeTooSkewed")) => denied(path, Mend::Clock),
        (401 | 403, _) => denied(path, Mend::Denied),
        (404, _) => ObjectError::NotFound { path },
        (507, _) | (_, Some("QuotaExceeded" | "XMinioStorageFull")) => {
            ObjectError::Full { path, source: io::Error::other(answer) }
        }
        // Of two that write one name, the other one is first; which one stays shows later.
        (409, _) => ObjectError::Unavailable { action, path, source: answer.into() },
        _ if answer.passes() => ObjectError::Unavailable { action, path, source: answer.into() },
        _ => ObjectError::Broken { action, path, source: answer.into() },
    }
}

#[cfg(test)]
mod tests {
    use model::{Code, Failure};

    use super::*;

    #[track_caller]
    fn check(status: u16, code: &str, expected: Code, words: &str) {
        let status = StatusCode::from_u16(status).expect("a status");
        let code = (!code.is_empty()).then(|| code.to_owned());
        let place = Place::parse("s3://bucket/x").expect("a place");
        let error = refused("write", &place, place.shown("a"), Answer { status, code });
        assert_eq!(error.code(), expected, "{error}");
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("`s3://bucket/x/a`"), "{text}");
    }

    #[test]
    fn every_answer_has_its_outcome() {
        check(404, "NoSuchBucket", Code::Invalid, "there is no bucket `bucket`");
        check(404, "NoSuchKey", Code::NotFound, "does not exist");
        check(404, "", Code::NotFound, "does not exist");
        check(404, "NoSuchUpload", Code::Internal, "was aborted");
        check(301, "PermanentRedirect", Code::Invalid, "set `region`");
        check(400, "AuthorizationHeaderMalformed", Code::Invalid, "set `region`");
        check(403, "InvalidAccessKeyId", Code::Forbidden, "`access_key_id`");
        check(403, "SignatureDoesNotMatch", Code::Forbidden, "`secret_access_key`");
        check(400, "ExpiredToken", Code::Forbidden, "`session_token`");
        check(403, "RequestTimeTooSkewed", Code::Forbidden, "clock");
        check(403, "AccessDenied", Code::Forbidden, "the bucket's name");
        check(401, "", Code::Forbidden, "the bucket's name");
        check(409, "ConditionalRequestConflict", Code::Unavailable, "409");
        check(429, "", Code::Unavailable, "429");
        check(503, "SlowDown", Code::Unavailable, "SlowDown");
        check(500, "InternalError", Code::Unavailable, "InternalError");
        check(400, "RequestTimeout", Code::Unavailable, "RequestTimeout");
        check(507, "", Code::TooLarge, "no room");
        check(501, "NotImplemented", Code::Internal, "NotImplemented");
        check(400, "InvalidArgument", Code::Internal, "InvalidArgument");
    }
}
