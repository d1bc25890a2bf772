//! TLS as clients see it: by a certificate that they check.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::helper::Sluice;
use crate::http::Raw;
use crate::server::Server;

const ONE: [&[u8]; 2] =
    [include_bytes!("data/tls-one.cert.pem"), include_bytes!("data/tls-one.key.pem")];
const TWO: [&[u8]; 2] =
    [include_bytes!("data/tls-two.cert.pem"), include_bytes!("data/tls-two.key.pem")];
const LOCKED: &[u8] = include_bytes!("data/tls-locked.key.pem");

const SETTINGS: &str = "[server]\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n";

fn write(sluice: &Sluice, [certificate, key]: [&[u8]; 2]) {
    sluice.file("cert.pem", certificate);
    sluice.file("key.pem", key);
}

/// What is answered to whoever trusts this certificate alone, and speaks these protocols.
fn ask(server: &Server, trusted: &[u8], protocols: &[&str]) -> Result<String, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted).expect("a certificate")).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are some");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").expect("a name");
    let client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let socket = TcpStream::connect(server.address())?;
    socket.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut stream = StreamOwned::new(client, socket);
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn what_is_served_is_encrypted() {
    let sluice = Sluice::new();
    sluice.configure(&format!("{SETTINGS}head_seconds = 1\n"));
    write(&sluice, ONE);
    let server = Server::start(&sluice);
    for protocols in [&[][..], &["http/1.1"], &["h2", "http/1.1"]] {
        let answer = ask(&server, ONE[0], protocols).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    }
    ask(&server, TWO[0], &[]).expect_err("another certificate");
    ask(&server, ONE[0], &["h2"]).expect_err("another protocol");
    // Plain text is not answered in plain text; who says nothing is not waited for.
    let mut plain = Raw::open(server.address());
    plain.say("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(!plain.rest_bytes().starts_with(b"HTTP"));
    assert_eq!(Raw::open(server.address()).rest_bytes(), b"");
    assert!(server.stop());
}

#[test]
fn a_new_certificate_is_taken_up() {
    let sluice = Sluice::new();
    sluice.configure(SETTINGS);
    write(&sluice, ONE);
    let server = Server::start(&sluice);
    ask(&server, ONE[0], &[]).expect("an answer");
    // A key without its certificate is no reason to serve nothing.
    write(&sluice, [ONE[0], TWO[1]]);
    server.tell("-HUP");
    ask(&server, ONE[0], &[]).expect("an answer");
    write(&sluice, TWO);
    server.tell("-HUP");
    while ask(&server, TWO[0], &[]).is_err() {}
    ask(&server, ONE[0], &[]).expect_err("it is gone");
}

#[test]
fn files_that_are_no_certificate_and_key_are_named() {
    let mut sluice = Sluice::new();
    sluice.set("SLUICE_LOG", "error");
    sluice.configure(SETTINGS);
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    sluice.fails(&serve, 2, &["cannot read `cert.pem`"]);
    sluice.file("cert.pem", ONE[0]);
    sluice.fails(&serve, 2, &["cannot read `key.pem`"]);
    let bad = [
        ([ONE[0], TWO[1]], "KeyMismatch"),
        ([ONE[0], ONE[0]], "no keys"),
        ([ONE[0], LOCKED], "no keys"),
        ([ONE[1], ONE[1]], ""),
        ([b"", ONE[1]], ""),
        ([ONE[0], b"-----BEGIN PRIVATE KEY-----\nMIGH\n"], ""),
        ([b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n", ONE[1]], "certificate"),
    ];
    for (files, word) in bad {
        write(&sluice, files);
        let said = sluice.fails(&serve, 2, &["`cert.pem`", "`key.pem`", word, "; name a PEM file"]);
        assert!(!said.contains("MIGH"), "{said}");
    }
    assert!(!sluice.path("sluice-data/admin-token").exists(), "nothing was begun");
    sluice.configure("[server]\ntls_cert = \"cert.pem\"\n");
    sluice.fails(&serve, 2, &["`server.tls_cert`", "`server.tls_key`"]);
    sluice.configure("[server]\nhead_seconds = 0\n");
    sluice.fails(&serve, 2, &["`server.head_seconds`", "1 to 3600"]);
}
