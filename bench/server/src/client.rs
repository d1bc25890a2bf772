//! One connection to the server, kept open, with one request at a time on it.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Failed;

/// The server.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its host and port.
    pub(crate) address: String,
    /// What it lets us in with.
    pub(crate) token: String,
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// The method.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// The media type of the body.
    pub(crate) kind: &'static str,
    /// The body.
    pub(crate) body: Bytes,
}

/// What is answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// All of the body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// Returns the answer if it is a success, else what it says.
    pub(crate) fn good(self) -> Result<Self, Failed> {
        if (200..300).contains(&self.status) {
            return Ok(self);
        }
        Err(format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)).into())
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    target: Arc<Target>,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: Arc<Target>) -> Result<Self, Failed> {
        let stream = TcpStream::connect(&target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Ends with the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { target, sender })
    }

    /// Sends a request and waits for the whole answer. After an error the connection is of no use.
    pub(crate) async fn send(&mut self, asked: Asked) -> Result<Answer, Failed> {
        let request = Request::builder()
            .method(asked.method)
            .uri(asked.path)
            .header(header::HOST, &self.target.address)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.target.token))
            .header(header::CONTENT_TYPE, asked.kind)
            .body(Full::new(asked.body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: response.into_body().collect().await?.to_bytes() })
    }
}
