//! A way to a server that breaks, or on which nothing passes any more.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// What is the matter with a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is fine.
    Nothing,
    /// Bytes wait on it, as where packets are lost.
    Silent,
    /// Connections are gone, and new ones end at once.
    Broken,
}

#[derive(Debug)]
struct State {
    now: Mutex<(Trouble, Vec<TcpStream>)>,
    changed: Condvar,
}

/// A wire.
pub(crate) struct Wire {
    /// Where it begins.
    pub(crate) address: String,
    state: Arc<State>,
}

impl Wire {
    pub(crate) fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let now = Mutex::new((Trouble::Nothing, Vec::new()));
        let state = Arc::new(State { now, changed: Condvar::new() });
        let (known, server) = (Arc::clone(&state), server.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                connect(&client.expect("a client"), &server, &known);
            }
        });
        Self { address, state }
    }

    /// From here on.
    pub(crate) fn becomes(&self, trouble: Trouble) {
        let mut now = self.state.now.lock().expect("nobody panics");
        now.0 = trouble;
        if trouble == Trouble::Broken {
            for stream in now.1.drain(..) {
                // It may be over.
                drop(stream.shutdown(Shutdown::Both));
            }
        }
        self.state.changed.notify_all();
    }
}

fn connect(client: &TcpStream, server: &str, state: &Arc<State>) {
    let mut now = state.now.lock().expect("nobody panics");
    if now.0 == Trouble::Broken {
        return;
    }
    let server = TcpStream::connect(server).expect("the server is there");
    let copies = |of: &TcpStream| of.try_clone().expect("a copy");
    now.1.extend([copies(client), copies(&server)]);
    for (from, to) in [(client, &server), (&server, client)] {
        let (from, to, state) = (copies(from), copies(to), Arc::clone(state));
        std::thread::spawn(move || pass(from, to, &state));
    }
}

/// Passes bytes on for as long as both ends are there, and the wire lets them.
fn pass(mut from: TcpStream, mut to: TcpStream, state: &State) {
    let mut bytes = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let now = state.now.lock().expect("nobody panics");
        let is_silent = |now: &mut (Trouble, Vec<TcpStream>)| now.0 == Trouble::Silent;
        drop(state.changed.wait_while(now, is_silent).expect("nobody panics"));
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
}
