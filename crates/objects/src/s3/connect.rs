//! The calls that the client library makes, as they go out and come back.
//!
//! Three things are done to them. The address is looked at ([`crate::egress`]). An upload's completion gets
//! the condition that the library knows only for copies; it is no signed header, there or here. And a refusal is
//! made an error of our own, because the library's repeat the service's whole answer, in which parts of the
//! credentials may stand.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use model::limits::REFUSAL_BYTES_MAX;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use reqwest::header::{HeaderValue, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};
use url::Url;

use super::error::{Answer, find};
use crate::Egress;
use crate::egress;

/// Makes clients that call only what may be called.
pub(super) struct Connector {
    egress: Arc<Egress>,
}

impl Connector {
    pub(super) fn new(egress: Arc<Egress>) -> Self {
        Self { egress }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("egress", &self.egress).finish()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = egress::client(self.egress.clone()).map_err(|source| {
            object_store::Error::Generic { store: "S3", source: source.into() }
        })?;
        Ok(HttpClient::new(Service { client, egress: self.egress.clone() }))
    }
}

#[derive(Debug)]
struct Service {
    client: reqwest::Client,
    egress: Arc<Egress>,
}

#[async_trait]
impl HttpService for Service {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let url = Url::parse(&request.uri().to_string());
        let url = url.map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        self.egress
            .check_url(&url)
            .map_err(|refused| HttpError::new(HttpErrorKind::Unknown, refused))?;
        let query = request.uri().query().unwrap_or_default();
        let completes = request.method() == Method::POST && query.starts_with("uploadId=");
        if completes {
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let response = self.client.call(request).await.map_err(sorted)?;
        if response.status().is_success() && !completes {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let text = beginning(body).await?;
        let code = code(&text);
        if parts.status.is_success() {
            // A completion takes long; the service says that all is well before it knows.
            return match code {
                Some(_) => Err(Answer { status: StatusCode::INTERNAL_SERVER_ERROR, code }.into()),
                None => Ok(HttpResponse::from_parts(parts, text.into())),
            };
        }
        Err(Answer { status: parts.status, code }.into())
    }
}

/// A refusal of our own does not pass, whatever the library takes it for.
fn sorted(error: HttpError) -> HttpError {
    match find::<egress::Error>(&error) {
        Some(refused) => HttpError::new(HttpErrorKind::Unknown, refused.clone()),
        None => error,
    }
}

impl From<Answer> for HttpError {
    /// The library repeats a call by the kind of its error: one that was not taken.
    fn from(answer: Answer) -> Self {
        let kind = if answer.passes() { HttpErrorKind::Request } else { HttpErrorKind::Unknown };
        Self::new(kind, answer)
    }
}

/// Reads an answer's text, as far as it is of use.
async fn beginning(body: HttpResponseBody) -> Result<String, HttpError> {
    let mut bytes = Vec::new();
    let mut stream = body.bytes_stream();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > REFUSAL_BYTES_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the word by which the service says what is wrong.
fn code(text: &str) -> Option<String> {
    let (_, error) = text.split_once("<Error>")?;
    let (_, rest) = error.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.';
    (code.len() <= 64 && code.bytes().all(plain)).then(|| code.to_owned())
}
