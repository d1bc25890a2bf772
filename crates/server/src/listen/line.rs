//! One connection: it has a place among a limited number, and is cut off when its reader stands still.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum_server::{AddrListener, Address};
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// The address of whoever is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Address for Peer {
    type Stream = Line;
    type Listener = Lines;
}

impl Connected<Peer> for Peer {
    fn connect_info(peer: Peer) -> Self {
        peer
    }
}

/// What connections share.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    places: Arc<Semaphore>,
    stall: Duration,
    open: Gauge,
}

impl Limit {
    /// Makes places for so many; `open` says how many are taken.
    pub(crate) fn new(places: usize, stall: Duration, open: Gauge) -> Self {
        Self { places: Arc::new(Semaphore::new(places)), stall, open }
    }
}

/// Takes connections while there are places for them.
#[derive(Debug)]
pub(crate) struct Lines {
    listener: TcpListener,
    limit: Limit,
}

impl Lines {
    /// Takes them from a listener.
    pub(crate) fn new(listener: TcpListener, limit: Limit) -> Self {
        Self { listener, limit }
    }
}

impl AddrListener<Line, Peer> for Lines {
    async fn bind_to(_: Peer) -> io::Result<Self> {
        // The caller binds, to say where it listens before anything is served.
        Err(io::ErrorKind::Unsupported.into())
    }

    async fn accept_stream(&self) -> io::Result<(Line, Peer)> {
        let places = self.limit.places.clone();
        let permit = places.acquire_owned().await.expect("places are never closed");
        let (stream, address) = self.listener.accept().await?;
        // An answer in small pieces must not wait for what the client has received so far.
        stream.set_nodelay(true)?;
        self.limit.open.inc();
        let place = Place { _permit: permit, open: self.limit.open.clone() };
        let stall = self.limit.stall;
        let line =
            Line { stream, stall, waiting: false, late: Box::pin(sleep(stall)), _place: place };
        Ok((line, Peer(address)))
    }

    fn get_local_addr(&self) -> io::Result<Peer> {
        self.listener.local_addr().map(Peer)
    }
}

/// A connection's place, given back with it.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Line {
    stream: TcpStream,
    stall: Duration,
    /// Whether bytes wait for the other end to read.
    waiting: bool,
    /// Ready when they have waited for too long.
    late: Pin<Box<Sleep>>,
    _place: Place,
}

impl Line {
    /// Passes on what became of a write, or breaks off if the other end has read nothing for too long.
    fn watch<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = false;
            return written;
        }
        if !self.waiting {
            self.waiting = true;
            self.late.as_mut().reset(Instant::now() + self.stall);
        }
        self.late.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watch(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
