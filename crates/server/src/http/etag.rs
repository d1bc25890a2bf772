//! Versions of what can be changed: `ETag` out, `If-Match` in.
//!
//! Source: RFC 9110, sections 8.8.3 and 13.1.1; RFC 6585, section 3. Tags are compared here, as whole texts; whoever
//! changes something still has to let the store decide between two that saw the same.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponseParts, ResponseParts};
use model::Code;
use model::document::Basis;

use super::problem::Problem;

/// The version of something, as a strong tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Etag(String);

impl Etag {
    /// Makes the tag of a version. With the id, another thing of the same name has other tags.
    pub(crate) fn new(id: &str, version: u64) -> Self {
        Self(format!("\"{id}.{version}\""))
    }

    /// Makes the tag of a text that stands for one version alone.
    pub(crate) fn of(text: &str) -> Self {
        Self(format!("\"{text}\""))
    }

    /// Mints such a text.
    pub(crate) fn mint() -> String {
        uuid::Uuid::new_v4().simple().to_string()
    }
}

impl IntoResponseParts for Etag {
    type Error = Problem;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Problem> {
        let value = HeaderValue::try_from(self.0).map_err(|_| Problem::broken())?;
        parts.headers_mut().insert(header::ETAG, value);
        Ok(parts)
    }
}

/// What a write is built on, as `If-Match` or `If-None-Match: *` says; one of them has to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct On(pub(crate) Basis);

impl<S: Send + Sync> FromRequestParts<S> for On {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let IfMatch(seen) = IfMatch::from_request_parts(parts, state).await?;
        let absent = parts.headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes);
        match (seen.as_deref(), absent) {
            (None, Some(b"*")) => Ok(Self(Basis::Nothing)),
            (Some("*"), None) => Ok(Self(Basis::Anything)),
            (Some(tag), None) => {
                let text = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                let text = text.filter(|text| !text.contains('"')).ok_or_else(|| {
                    let detail = "`If-Match` is not one tag; send the `ETag` as it was read";
                    Problem::new(Code::Invalid, detail).at("If-Match")
                })?;
                Ok(Self(Basis::Etag(text.to_owned())))
            }
            _ => {
                let status = StatusCode::PRECONDITION_REQUIRED;
                let detail = "a write has to say what it is built on; send the `ETag` of what you read as `If-Match`, or `If-None-Match: *` for something new";
                Err(Problem::with_status(status, Code::Invalid, detail).at("If-Match"))
            }
        }
    }
}

/// What a change is built on, as `If-Match` says; nothing without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IfMatch(Option<String>);

impl IfMatch {
    /// Returns whether it says something.
    pub(crate) fn is_given(&self) -> bool {
        self.0.is_some()
    }

    /// Refuses a change that does not say what it is built on, or was built on something else.
    pub(crate) fn demand(&self, is: &Etag) -> Result<(), Problem> {
        if self.0.is_none() {
            let status = StatusCode::PRECONDITION_REQUIRED;
            let detail = "a change has to say what it is built on; send the `ETag` of what you read as `If-Match`";
            return Err(Problem::with_status(status, Code::Invalid, detail).at("If-Match"));
        }
        self.allow(is)
    }

    /// Refuses a change that was built on something else.
    pub(crate) fn allow(&self, is: &Etag) -> Result<(), Problem> {
        let Some(tags) = &self.0 else { return Ok(()) };
        // A tag of ours has no comma.
        let matches = tags.split(',').map(str::trim).any(|tag| tag == "*" || tag == is.0);
        if matches {
            return Ok(());
        }
        Err(Problem::outdated(
            "it was changed meanwhile; read it again and send the `ETag` that it has then",
        ))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let values = parts.headers.get_all(header::IF_MATCH).iter();
        let texts: Result<Vec<&str>, _> = values.map(HeaderValue::to_str).collect();
        let texts = texts.map_err(|_| {
            let detail = "`If-Match` is not plain text; send the `ETag` as it was read";
            Problem::new(Code::Invalid, detail).at("If-Match")
        })?;
        Ok(Self((!texts.is_empty()).then(|| texts.join(","))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> IfMatch {
        IfMatch(Some(text.into()))
    }

    #[test]
    fn tags_match_whole_and_strongly() {
        let is = Etag::new("de_1", 12);
        for text in ["\"de_1.12\"", "*", "\"x\", \"de_1.12\"", " \"de_1.12\" "] {
            assert_eq!(given(text).demand(&is), Ok(()), "{text}");
        }
        for text in ["\"de_1.1\"", "de_1.12", "W/\"de_1.12\"", "\"de_2.12\"", "", "\"*\""] {
            let refused = given(text).allow(&is).expect_err(text);
            assert_eq!(refused, given(text).demand(&is).expect_err(text));
            assert_eq!(refused.code(), "conflict");
        }
        assert_eq!(IfMatch(None).allow(&is), Ok(()));
        assert_eq!(IfMatch(None).demand(&is).expect_err("required").code(), "invalid");
    }
}
