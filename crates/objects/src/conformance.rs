//! The contract of [`Objects`] as functions that every store and every wrapper must pass.
//!
//! Each function works below a folder of its own, so that [`all`] can run them on one store. They panic
//! where the contract does not hold.

use bytes::Bytes;
use futures::future::join_all;
use model::ObjectKey;
use model::ports::{ObjectError, Objects, Put};

/// Runs every check.
pub async fn all(objects: &dyn Objects) {
    creates_once(objects).await;
    reads_ranges(objects).await;
    uploads_whole_or_not(objects).await;
    aborts_by_token(objects).await;
    lists_by_name(objects).await;
    deletes_what_may_be_gone(objects).await;
    refuses_bad_keys(objects).await;
    lets_one_of_many_create(objects).await;
    takes_large_uploads(objects).await;
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text)
}

#[track_caller]
fn done<T>(result: Result<T, ObjectError>) -> T {
    result.unwrap_or_else(|error| panic!("the store failed: {error}"))
}

/// Returns the whole object.
async fn content(objects: &dyn Objects, key: &ObjectKey) -> Option<Bytes> {
    let info = done(objects.info(key).await)?;
    Some(done(objects.read(key, 0..info.bytes).await))
}

/// An object is created once and never overwritten; an empty one, too.
pub async fn creates_once(objects: &dyn Objects) {
    for (name, bytes) in [("create/a/b", "first"), ("create/empty", "")] {
        let key = key(name);
        assert_eq!(done(objects.info(&key).await), None);
        assert_eq!(done(objects.create(&key, bytes.into()).await), Put::Created);
        assert_eq!(done(objects.create(&key, "second".into()).await), Put::Exists);
        assert_eq!(content(objects, &key).await.as_deref(), Some(bytes.as_bytes()));
    }
}

/// A range inside the object is read exactly; one past its end and a missing object are errors.
pub async fn reads_ranges(objects: &dyn Objects) {
    let at = key("read/digits");
    done(objects.create(&at, "0123456789".into()).await);
    for (range, text) in [(0..10, "0123456789"), (3..5, "34"), (10..10, ""), (0..0, "")] {
        assert_eq!(done(objects.read(&at, range).await), text);
    }
    assert!(objects.read(&at, 5..11).await.is_err(), "past the end");
    let missing = objects.read(&key("read/missing"), 0..1).await;
    assert!(matches!(missing, Err(ObjectError::NotFound { .. })), "{missing:?}");
}

/// An upload is not visible before it is finished, and an aborted or dropped one never.
pub async fn uploads_whole_or_not(objects: &dyn Objects) {
    let whole = key("upload/whole");
    let mut upload = done(objects.upload(&whole, "t1").await);
    done(upload.write("one ".into()).await);
    assert_eq!(done(objects.info(&whole).await), None, "visible too early");
    assert!(done(objects.list("upload").await).is_empty(), "listed too early");
    done(upload.write("two".into()).await);
    assert_eq!(done(upload.finish().await), Put::Created);
    assert_eq!(content(objects, &whole).await.as_deref(), Some(&b"one two"[..]));

    let mut second = done(objects.upload(&whole, "t2").await);
    done(second.write("other".into()).await);
    assert_eq!(done(second.finish().await), Put::Exists);
    assert_eq!(content(objects, &whole).await.as_deref(), Some(&b"one two"[..]));

    let gone = key("upload/gone");
    let mut upload = done(objects.upload(&gone, "t1").await);
    done(upload.write("half".into()).await);
    done(upload.abort().await);
    drop(done(objects.upload(&gone, "t2").await));
    assert_eq!(done(objects.info(&gone).await), None);

    let empty = key("upload/empty");
    assert_eq!(done(done(objects.upload(&empty, "t").await).finish().await), Put::Created);
    assert_eq!(content(objects, &empty).await.as_deref(), Some(&b""[..]));
}

/// What a dead holder left is removed by its token, which never touches other tokens or objects.
pub async fn aborts_by_token(objects: &dyn Objects) {
    let at = key("abort/file");
    done(objects.abort(&at, "never").await);
    let mut old = done(objects.upload(&at, "old").await);
    done(old.write("old".into()).await);
    let mut new = done(objects.upload(&at, "new").await);
    done(new.write("new".into()).await);
    done(objects.abort(&at, "old").await);
    assert!(old.finish().await.is_err(), "an aborted upload was finished");
    assert_eq!(done(new.finish().await), Put::Created);
    done(objects.abort(&at, "new").await);
    assert_eq!(content(objects, &at).await.as_deref(), Some(&b"new"[..]));
}

/// A folder lists the objects below it by name, with sizes, and nothing else.
pub async fn lists_by_name(objects: &dyn Objects) {
    for name in ["list/b", "list/a/2", "list/a/10", "listed"] {
        done(objects.create(&key(name), name.into()).await);
    }
    let found = done(objects.list("list").await);
    let names: Vec<&str> = found.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(names, ["list/a/10", "list/a/2", "list/b"]);
    assert_eq!(found[2].bytes, 6);
    assert!(done(objects.list("list/none").await).is_empty());
    assert!(done(objects.list("").await).iter().any(|info| info.key.as_str() == "listed"));
}

/// Deleting twice is fine, and the name is free again.
pub async fn deletes_what_may_be_gone(objects: &dyn Objects) {
    let at = key("delete/file");
    done(objects.delete(&at).await);
    done(objects.create(&at, "1".into()).await);
    done(objects.delete(&at).await);
    done(objects.delete(&at).await);
    assert_eq!(done(objects.info(&at).await), None);
    assert_eq!(done(objects.create(&at, "2".into()).await), Put::Created);
}

/// Names that climb, are absolute, empty, or look like unfinished uploads are refused.
pub async fn refuses_bad_keys(objects: &dyn Objects) {
    for name in ["", "/etc/x", "a//b", "a/../b", "..", ".", "a/", "a\\b", "a\0b", "x/.y.t.part"] {
        let created = objects.create(&key(name), "x".into()).await;
        assert!(matches!(created, Err(ObjectError::BadKey { .. })), "{name:?}: {created:?}");
        assert!(objects.upload(&key(name), "t").await.is_err(), "{name:?}");
        assert!(objects.info(&key(name)).await.is_err(), "{name:?}");
        assert!(objects.delete(&key(name)).await.is_err(), "{name:?}");
    }
    assert!(objects.upload(&key("fine"), "../t").await.is_err(), "a token that climbs");
}

/// Of many that create one name at once exactly one does.
pub async fn lets_one_of_many_create(objects: &dyn Objects) {
    let at = key("race/file");
    let tries = (0..8_u8).map(|n| objects.create(&at, Bytes::from(vec![n; 1000])));
    let puts: Vec<Put> = join_all(tries).await.into_iter().map(done).collect();
    assert_eq!(puts.iter().filter(|put| **put == Put::Created).count(), 1, "{puts:?}");
    let winner = content(objects, &at).await.expect("it was created");
    assert_eq!(winner.len(), 1000);
    assert!(winner.iter().all(|byte| *byte == winner[0]), "bytes of several writers");
}

/// An upload of many pieces is their concatenation.
pub async fn takes_large_uploads(objects: &dyn Objects) {
    let at = key("large/file");
    let mut upload = done(objects.upload(&at, "t").await);
    let mut whole = Vec::new();
    for n in 0..24_u32 {
        let piece: Vec<u8> =
            (0..100_003_u32).map(|i| (i.wrapping_mul(n) >> 3).to_le_bytes()[0]).collect();
        whole.extend_from_slice(&piece);
        done(upload.write(piece.into()).await);
    }
    assert_eq!(done(upload.finish().await), Put::Created);
    assert!(content(objects, &at).await.is_some_and(|read| read == whole));
}
