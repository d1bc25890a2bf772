//! What can be edited: documents and datasets, by clients that may have seen something older.

use serde_json::{Value, json};

use crate::helper::{Sluice, numbers};
use crate::server::{Answer, Server};

fn write(server: &Server, path: &str, on: (&str, &str), body: &Value) -> Answer {
    let headers = [("content-type", "application/json"), on];
    server.send("PUT", path, (&server.admin, &headers), body.to_string().as_bytes())
}

/// Answers of clients that do the same at once.
fn at_once(ask: impl Fn() -> Answer + Sync) -> Vec<u16> {
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(&ask)).collect();
        asking.into_iter().map(|one| one.join().expect("joined").status).collect()
    })
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|one| **one == status).count()
}

#[test]
fn documents_are_written_on_what_was_read() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let path = "/v1/documents/policies/merge";
    let new = ("if-none-match", "*");
    let made = at_once(|| write(&server, path, new, &json!({ "rule": "newest" })));
    assert_eq!((count(&made, 201), count(&made, 412)), (1, 3), "{made:?}");
    let first = server.get(path);
    assert_eq!(first.ok(200)["body"], json!({ "rule": "newest" }));
    let seen = ("if-match", &*first.etag);
    let edits = at_once(|| write(&server, path, seen, &json!({ "rule": "oldest" })));
    assert_eq!((count(&edits, 200), count(&edits, 412)), (1, 3), "{edits:?}");
    write(&server, path, seen, &json!(1)).problem(412, "conflict", &["changed meanwhile"]);
    write(&server, path, ("x-nothing", "1"), &json!(1)).problem(428, "invalid", &["If-Match"]);
    write(&server, path, ("if-match", "a, b"), &json!(1)).problem(400, "invalid", &["one tag"]);
    let bad = "/v1/documents/policies/a%2Fb";
    write(&server, bad, new, &json!(1)).problem(400, "invalid", &["a/b"]);
    let none = "/v1/documents/policies/none";
    write(&server, none, ("if-match", "*"), &json!(1)).problem(404, "not_found", &["`none`"]);
    write(&server, none, new, &json!([1, "ä"])).ok(201);
    let page = server.get("/v1/documents/policies?limit=1").ok(200);
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!("merge"), &json!("merge")));
    let rest = server.get("/v1/documents/policies?limit=1&after=merge").ok(200);
    assert_eq!((&rest["items"][0]["body"], &rest["next"]), (&json!([1, "ä"]), &Value::Null));
    let remove =
        |tag: &str| server.send("DELETE", path, (&server.admin, &[("if-match", tag)]), b"");
    remove(&first.etag).problem(412, "conflict", &["changed meanwhile"]);
    let now = server.get(path).etag;
    let removed = at_once(|| remove(&now));
    assert_eq!((count(&removed, 204), count(&removed, 404)), (1, 3), "{removed:?}");
}

#[test]
fn a_dataset_is_changed_by_one_of_those_that_saw_the_same() {
    let sluice = Sluice::new();
    let server = Server::start(&sluice);
    let made = at_once(|| server.post("/v1/datasets", &json!({ "name": "d" })));
    assert_eq!((count(&made, 201), count(&made, 409)), (1, 3), "{made:?}");
    server.rows("d", &numbers(0, 3), &[]).ok(200);
    let (path, tag) = ("/v1/datasets/d", server.get("/v1/datasets/d").etag);
    let edits = at_once(|| write(&server, path, ("if-match", &tag), &json!({ "keep_days": 30 })));
    assert_eq!((count(&edits, 200), count(&edits, 412)), (1, 3), "{edits:?}");
    assert_eq!(server.get(path).ok(200)["keep_days"], 30);
    let days = |days: u32| write(&server, path, ("if-match", "*"), &json!({ "keep_days": days }));
    days(0).problem(400, "invalid", &["from 1 to"]);
    days(36_501).problem(400, "invalid", &["from 1 to"]);
    write(&server, path, ("if-match", "*"), &json!({})).ok(200);
    assert_eq!(server.get(path).ok(200)["keep_days"], Value::Null);
    write(&server, path, ("x-nothing", "1"), &json!({})).problem(428, "invalid", &["If-Match"]);
}
