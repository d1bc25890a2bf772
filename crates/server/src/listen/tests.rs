//! Connections that stand still, over real sockets with short times.

use std::convert::Infallible;

use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use futures::StreamExt;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

const SHORT: Duration = Duration::from_millis(50);

/// Far more than any of these tests takes.
const LONG: Duration = Duration::from_mins(1);

/// A server of a few routes, with so many places.
async fn start(times: Times, places: usize) -> (SocketAddr, Gauge, Handle<Peer>) {
    let endless = || {
        let block = Bytes::from(vec![b'x'; 1 << 16]);
        let blocks = futures::stream::repeat(block).map(Ok::<_, Infallible>);
        future::ready(Body::from_stream(blocks))
    };
    let router =
        Router::new().route("/", get(|| future::ready("here"))).route("/endless", get(endless));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, open) = (listener.local_addr().expect("an address"), Gauge::default());
    let lines = Lines::new(listener, Limit::new(places, times.stall, open.clone()));
    let handle = Handle::new();
    tokio::spawn(listen(lines, router, (&handle, times), None));
    (address, open, handle)
}

async fn say(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(text.as_bytes()).await.expect("sent");
    stream
}

/// What comes until the other end closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // It may be cut off.
    drop(stream.read_to_end(&mut text).await);
    String::from_utf8(text).expect("text")
}

#[tokio::test]
async fn heads_that_do_not_come_are_not_waited_for() {
    let times = Times { head: SHORT, idle: LONG, stall: LONG };
    let (address, open, _handle) = start(times, 8).await;
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\nx-a: 1\r\n"] {
        let mut stream = say(address, begun).await;
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{begun}: {answer}");
    }
    // Whoever goes on sending headers is cut off as well.
    let mut stream = say(address, "GET / HTTP/1.1\r\nhost: x\r\n").await;
    while stream.write_all(b"x-a: 1\r\n").await.is_ok() {
        tokio::task::yield_now().await;
    }
    until_none_is(&open).await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let times = Times { head: LONG, idle: SHORT, stall: LONG };
    let (address, open, _handle) = start(times, 8).await;
    let mut stream = say(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(rest(&mut stream).await.ends_with("here"));
    let mut stream = say(address, "GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HT").await;
    assert_eq!(rest(&mut stream).await.matches("HTTP/1.1 200").count(), 1);
    until_none_is(&open).await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_cut_off() {
    let times = Times { head: LONG, idle: LONG, stall: SHORT };
    let (address, open, _handle) = start(times, 1).await;
    let reads_not = say(address, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    // There is one place: this one is answered when the other was cut off.
    let mut next = say(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(rest(&mut next).await.ends_with("here"));
    drop(reads_not);
    until_none_is(&open).await;
}

/// Its time is counted from the last byte that was taken.
#[tokio::test]
async fn whoever_reads_is_not_cut_off() {
    let times = Times { head: LONG, idle: LONG, stall: Duration::from_secs(5) };
    let (address, _open, _handle) = start(times, 1).await;
    let mut stream = say(address, "GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut block = vec![0; 1 << 16];
    for _ in 0..1000 {
        assert!(stream.read(&mut block).await.expect("some") > 0);
    }
}

async fn until_none_is(open: &Gauge) {
    while open.get() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_household_is_one_client() {
    let at = |text: &str| client(text.parse().expect("an address")).to_string();
    assert_eq!(at("192.0.2.7:1"), "192.0.2.7");
    assert_eq!(at("[::ffff:192.0.2.7]:1"), "192.0.2.7");
    assert_eq!(at("[2001:db8:1:2:3:4:5:6]:1"), "2001:db8:1:2::");
}
