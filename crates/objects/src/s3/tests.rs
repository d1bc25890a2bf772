//! Tests against the S3 server of `scripts/test`, and of what no server is needed for.

use std::net::TcpListener;

use model::ports::ObjectError;
use model::{Code, Failure, limits};
use object_store::list::{PaginatedListOptions, PaginatedListStore};

use super::*;
use crate::{conformance, testing};

fn store(settings: S3Settings) -> S3 {
    S3::new(settings, testing::egress()).expect("made")
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name)
}

/// Returns the names of everything in the folder, hidden objects too.
async fn all_names(s3: &S3) -> Vec<String> {
    let shared = &s3.shared;
    let listed = shared
        .store
        .list_paginated(Some(shared.place.prefix()), PaginatedListOptions::default())
        .await
        .expect("listed");
    let name = |meta: &object_store::ObjectMeta| {
        shared.outside(&meta.location).expect("it is in the folder").to_owned()
    };
    listed.result.objects.iter().map(name).collect()
}

#[tokio::test]
async fn s3_conforms() {
    let s3 = store(testing::s3());
    conformance::all(&s3).await;
}

#[tokio::test]
async fn names_are_taken_as_they_are() {
    let s3 = store(testing::s3());
    for name in
        ["späße/日本 1.jsonl.gz", "100%", "a%20b", "a+b&c=d", "x~#?*[]{}'\"<>|^`", ".hidden"]
    {
        let key = key(name);
        assert_eq!(s3.create(&key, "1".into()).await.expect(name), Put::Created, "{name}");
        assert_eq!(s3.read(&key, 0..1).await.expect(name), "1", "{name}");
        let listed = s3.list("").await.expect("listed");
        assert!(listed.iter().any(|info| info.key == key), "{name}: {listed:?}");
        s3.delete(&key).await.expect(name);
        assert_eq!(s3.info(&key).await.expect(name), None, "{name}");
    }
}

#[tokio::test]
async fn an_upload_of_several_pieces_is_their_concatenation() {
    let s3 = store(testing::s3());
    let at = key("d/large");
    let mut upload = s3.upload(&at, "t").await.expect("begun");
    let bytes: Vec<u8> =
        (0..limits::S3_PIECE_BYTES * 2 + 5).map(|n| ((n * 7) >> 4).to_le_bytes()[0]).collect();
    let bytes = Bytes::from(bytes);
    for at in (0..bytes.len()).step_by(3_000_001) {
        upload.write(bytes.slice(at..bytes.len().min(at + 3_000_001))).await.expect("written");
    }
    assert_eq!(upload.finish().await.expect("finished"), Put::Created);
    let read = s3.read(&at, 0..bytes.len() as u64).await.expect("read");
    assert!(read == bytes, "other bytes");
    assert_eq!(all_names(&s3).await, ["d/large"], "the mark is gone");
}

#[tokio::test]
async fn what_a_dead_process_left_is_found_by_its_token() {
    let s3 = store(testing::s3());
    let at = key("d/f");
    let mut left = Vec::new();
    for token in ["x", "x", "x.y"] {
        let mut upload = s3.upload(&at, token).await.expect("begun");
        upload.write("half".into()).await.expect("written");
        left.push(upload);
    }
    assert_eq!(all_names(&s3).await.len(), 3);
    assert_eq!(s3.list("").await.expect("listed"), []);
    // Another process.
    let other = S3 { shared: s3.shared.clone() };
    other.abort(&at, "x").await.expect("aborted");
    let names = all_names(&s3).await;
    assert!(names.len() == 1 && names[0].starts_with("d/.f.x.y."), "{names:?}");
    for (upload, alive) in left.into_iter().zip([false, false, true]) {
        assert_eq!(upload.finish().await.is_ok(), alive);
    }
}

#[tokio::test]
async fn the_reader_sees_the_folder_alone() {
    let mut settings = testing::s3();
    let s3 = store(settings.clone());
    s3.create(&key("a/b"), "text".into()).await.expect("created");
    let read = s3.reader().get(&Path::from("a/b")).await.expect("there").bytes().await;
    assert_eq!(read.expect("read"), "text");
    settings.place = Place::parse(&format!("s3://{}", settings.place.bucket())).expect("a place");
    let whole = store(settings);
    let name = format!("{}/a/b", s3.shared.place.prefix());
    assert!(whole.info(&key(&name)).await.expect("looked").is_some());
    assert!(whole.reader().head(&Path::from(name)).await.is_ok());
}

#[track_caller]
fn fails(error: &ObjectError, code: Code, words: &str) {
    let text = error.to_string();
    assert_eq!(error.code(), code, "{text}");
    assert!(text.contains(words) && text.contains("`s3://"), "{text}");
    for secret in ["wrong-secret-canary", "WRONGKEYCANARY"] {
        assert!(!format!("{error:?}{text}").contains(secret), "{text}");
    }
}

/// Returns what each call that needs the service says.
async fn errors(s3: &S3) -> Vec<ObjectError> {
    let at = key("a");
    vec![
        s3.create(&at, "x".into()).await.expect_err("create"),
        s3.upload(&at, "t").await.err().expect("upload"),
        s3.read(&at, 0..1).await.expect_err("read"),
        s3.list("").await.expect_err("list"),
        s3.probe().await.expect_err("probe"),
        s3.delete(&at).await.expect_err("delete"),
    ]
}

#[tokio::test]
async fn wrong_keys_say_which() {
    let settings = testing::s3();
    let wrong = SecretText::new("wrong-secret-canary");
    let s3 = store(S3Settings { secret_access_key: wrong, ..settings.clone() });
    for error in errors(&s3).await {
        fails(&error, Code::Forbidden, "`secret_access_key`");
    }
    let wrong = SecretText::new("WRONGKEYCANARY");
    let s3 = store(S3Settings { access_key_id: wrong, ..settings });
    for error in errors(&s3).await {
        fails(&error, Code::Forbidden, "`access_key_id`");
    }
    // A question about the head alone is answered without words.
    fails(&s3.info(&key("a")).await.expect_err("info"), Code::Forbidden, "the key may not");
}

#[tokio::test]
async fn a_missing_bucket_is_named() {
    let place = Place::parse("s3://no-such-bucket/x").expect("a place");
    let s3 = store(S3Settings { place, ..testing::s3() });
    let listed = s3.probe().await.expect_err("probe");
    fails(&listed, Code::Invalid, "there is no bucket `no-such-bucket`");
    // A key that may not make buckets is not told more.
    let created = s3.create(&key("a"), "x".into()).await.expect_err("create");
    fails(&created, Code::Forbidden, "check the bucket's name");
    let upload = s3.upload(&key("a"), "t").await.err().expect("upload");
    fails(&upload, Code::Forbidden, "check the bucket's name");
}

#[tokio::test]
async fn nobody_listening_may_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let s3 = store(S3Settings { endpoint: Some(endpoint), ..testing::s3() });
    let error = s3.create(&key("a"), "x".into()).await.expect_err("nobody there");
    fails(&error, Code::Unavailable, "refused");
}

#[tokio::test]
async fn addresses_that_may_not_be_called_are_not() {
    // One that is called would be waited for.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let port = listener.local_addr().expect("an address").port();
    let settings = |endpoint: String| S3Settings { endpoint: Some(endpoint), ..testing::s3() };
    let refused = S3::new(settings(format!("http://127.0.0.1:{port}")), Egress::default());
    let refused = refused.expect_err("loopback");
    assert_eq!(refused.code(), Code::Forbidden);
    let s3 = S3::new(settings(format!("http://localhost:{port}")), Egress::default());
    let s3 = s3.expect("a name is looked at when it is called");
    for error in errors(&s3).await {
        fails(&error, Code::Forbidden, "`egress.allow`");
        assert!(error.to_string().contains("`localhost`"), "{error}");
    }
    assert!(listener.accept().is_err(), "it was called");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    use std::io::{Read, Write};
    let target = TcpListener::bind("127.0.0.1:0").expect("a port");
    target.set_nonblocking(true).expect("set");
    let to = target.local_addr().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("called");
        let mut head = [0; 4096];
        let _ = stream.read(&mut head).expect("asked");
        let head = format!(
            "HTTP/1.1 307 Elsewhere\r\nlocation: http://{to}/\r\ncontent-length: 0\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("answered");
    });
    let s3 = store(S3Settings { endpoint: Some(endpoint), ..testing::s3() });
    let error = s3.read(&key("a"), 0..1).await.expect_err("elsewhere");
    fails(&error, Code::Invalid, "set `region`");
    server.join().expect("it answered");
    assert!(target.accept().is_err(), "it was followed");
}

#[test]
fn nothing_shows_a_key() {
    let settings = S3Settings {
        place: Place::parse("s3://bucket/x").expect("a place"),
        region: "eu-central-1".into(),
        endpoint: None,
        path_style: false,
        access_key_id: SecretText::new("KEYCANARY"),
        secret_access_key: SecretText::new("SECRETCANARY"),
        session_token: Some(SecretText::new("TOKENCANARY")),
    };
    let s3 = store(settings.clone());
    let shown = format!("{settings:?} {s3:?}");
    assert!(shown.contains("bucket") && !shown.contains("CANARY"), "{shown}");
}

#[test]
fn places_are_read_or_refused() {
    let check = |text: &str, shown: &str| {
        assert_eq!(Place::parse(text).expect(text).to_string(), shown, "{text}");
    };
    check("s3://bucket", "s3://bucket");
    check("S3://bucket/", "s3://bucket");
    check("s3://bucket/a/b/", "s3://bucket/a/b");
    check("s3://b.u-cket1/a%20b/ü", "s3://b.u-cket1/a%20b/ü");
    for text in [
        "",
        "s3:bucket",
        "s3://",
        "s3://ab",
        "s3://Bucket",
        "s3://-bucket",
        "s3://a..b",
        "s3://key:canary@bucket/x",
    ] {
        let error = Place::parse(text).expect_err(text);
        assert!(matches!(error, SettingError::Bucket), "{text}: {error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    for text in [
        "s3://bucket//a",
        "s3://bucket/a//",
        "s3://bucket/../a",
        "s3://bucket/a?b",
        "s3://bucket/a#b",
    ] {
        let error = Place::parse(text).expect_err(text);
        assert!(matches!(error, SettingError::Prefix { .. }), "{text}: {error}");
    }
}

#[test]
fn endpoints_are_read_or_refused() {
    for text in
        ["", "localhost:9000", "ftp://host", "http://u:canary@host", "https://host/?a", "file:///x"]
    {
        let error = place::endpoint(text).expect_err(text);
        assert!(!error.to_string().contains("canary"), "{error}");
    }
    let url = place::endpoint("https://s3.example.com:9000").expect("a URL");
    let url = hosted(url, "bucket").expect("a name");
    assert_eq!(url.as_str(), "https://bucket.s3.example.com:9000/");
    let address = place::endpoint("http://127.0.0.1:9000").expect("a URL");
    assert!(matches!(hosted(address, "bucket"), Err(SettingError::Hosted)));
}
