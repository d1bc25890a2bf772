//! Connections: taken, limited, drained.
//!
//! Contract: [`serve`] answers until it is told to stop and what came before is answered, or its time is up. HTTP/1 alone,
//! plain or over TLS. Whoever sends no head, or does not read an answer, is cut off after the [`Times`]. What listens
//! is bound by the caller. The library that serves is not named outside of here.

mod line;
pub mod tls;

use std::future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use model::limits;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::background::Background;
use crate::http::Doors;
use crate::{Core, http};
pub(crate) use line::Peer;
use line::{Limit, Lines};
use tls::Tls;

/// Time between looks at the files of TLS and at rates that nobody uses any more.
const CARE_TIME: Duration = Duration::from_mins(1);

/// How the API is served.
#[derive(Debug)]
pub struct Settings {
    /// Certificate and key; plain text without them.
    pub tls: Option<Tls>,
    /// Requests that are worked on at once, health and metrics apart; others are refused. No limit with 0.
    pub requests_at_once: usize,
    /// Requests of one token in a second, on average. No limit with 0.
    pub requests_per_second: u32,
    /// Requests of one token at once; as many as in a second with 0.
    pub burst: u32,
    /// Time that requests under way have to end when the server stops.
    pub drain: Duration,
    /// How long clients are waited for.
    pub times: Times,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tls: None,
            requests_at_once: limits::REQUESTS_AT_ONCE,
            requests_per_second: 0,
            burst: 0,
            drain: Duration::from_secs(limits::DRAIN_SECONDS),
            times: Times::default(),
        }
    }
}

/// How long clients are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// For the handshake of TLS, and then for the first head of a connection.
    pub head: Duration,
    /// For each further head, from the end of the answer before.
    pub idle: Duration,
    /// For whoever reads an answer to take some more of it.
    pub stall: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(limits::HEAD_SECONDS),
            idle: Duration::from_secs(limits::IDLE_SECONDS),
            stall: Duration::from_secs(limits::STALL_SECONDS),
        }
    }
}

/// Where the server listens.
#[derive(Debug)]
pub struct Listeners {
    /// For clients.
    pub main: TcpListener,
    /// For operators: health and metrics without a token, in plain text. Without it, metrics are at the other one, for
    /// administrators.
    pub admin: Option<TcpListener>,
}

/// What a server is told while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Stop when what came before is answered; told again, at once.
    Stop,
    /// Read the files of TLS again.
    Reload,
}

/// Serves until it is told to stop, and what came before is answered or cut off.
pub async fn serve(
    listeners: Listeners,
    core: Core,
    settings: Settings,
    mut signals: mpsc::Receiver<Signal>,
) -> io::Result<()> {
    let background = Background::start(&core);
    let doors = Doors::new(core, &settings);
    let (times, tls) = (settings.times, settings.tls);
    let open = doors.core.metrics.connections.clone();
    let limit = Limit::new(limits::CONNECTIONS_MAX, times.stall, open);
    let router = http::service(&doors, listeners.admin.is_none());
    let handle = Handle::new();
    let main = Lines::new(listeners.main, limit);
    let mut main = listen(main, router, (&handle, times), tls.as_ref());
    let admin_handle = Handle::new();
    let mut admin: Serving = match listeners.admin {
        Some(listener) => {
            let limit = Limit::new(limits::ADMIN_CONNECTIONS_MAX, times.stall, <_>::default());
            let lines = Lines::new(listener, limit);
            listen(lines, http::admin(&doors), (&admin_handle, times), None)
        }
        None => Box::pin(future::pending()),
    };
    let mut ticks = tokio::time::interval(CARE_TIME);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ended = loop {
        tokio::select! {
            ended = &mut main => break ended,
            // It ends by itself when it cannot listen any more; it stays for as long as anything is answered.
            ended = &mut admin => break ended,
            Some(signal) = signals.recv() => match signal {
                Signal::Stop if doors.stop() => {
                    tracing::info!("stopping: requests that came before are answered");
                    handle.graceful_shutdown(Some(settings.drain));
                    background.stop();
                }
                Signal::Stop => handle.shutdown(),
                Signal::Reload => reload(tls.as_ref(), true).await,
            },
            _ = ticks.tick() => {
                doors.limits.sweep();
                reload(tls.as_ref(), false).await;
            }
        }
    };
    let cut_off = doors.core.metrics.in_flight.get();
    if cut_off > 0 {
        tracing::warn!(requests = cut_off, "cut off");
    }
    handle.shutdown();
    admin_handle.shutdown();
    background.end().await;
    ended
}

async fn reload(tls: Option<&Tls>, anyway: bool) {
    if let Some(tls) = tls {
        tls.reload(anyway).await;
    }
}

/// Something that serves until it is told to stop.
type Serving = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

fn listen(
    lines: Lines,
    router: Router,
    (handle, times): (&Handle<Peer>, Times),
    tls: Option<&Tls>,
) -> Serving {
    let service = router.into_make_service_with_connect_info::<Peer>();
    let mut server = Server::<Peer>::from_listener(lines)
        .handle(handle.clone())
        .http1_only()
        .first_request_timeout(times.head)
        .accept_error_handler(refused);
    server
        .http_builder()
        .http1()
        .header_read_timeout(times.idle)
        .max_buf_size(limits::HEAD_BYTES_MAX);
    match tls {
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(tls.config()).handshake_timeout(times.head);
            Box::pin(server.acceptor(acceptor).serve(service))
        }
        None => Box::pin(server.serve(service)),
    }
}

/// Logs a connection that did not come about.
fn refused(peer: Option<&Peer>, error: &io::Error) {
    if let Some(Peer(peer)) = peer {
        // Anybody can send anything.
        tracing::debug!(%peer, %error, "no connection");
    } else {
        tracing::warn!(%error, "a connection could not be taken");
    }
}

/// Returns what is counted as one client: an address, or the network of one household with IPv6.
pub(crate) fn client(peer: SocketAddr) -> std::net::IpAddr {
    use std::net::{IpAddr, Ipv6Addr};
    match peer.ip().to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests;
