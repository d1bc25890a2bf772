//! Cases of uploads: files come and are replaced, one commit closes them, nothing lies about that nobody knows of.

use model::dataset::{Committed, DatasetKind, IngestKey, NewCommit};
use model::limits::{UPLOAD_BYTES_MAX, UPLOADS_OPEN_MAX};
use model::ports::{CatalogError, InputFormat, Replace, UploadError};
use model::upload::{NewUpload, Noted, Terms, UploadFile};
use model::{BatchId, DatasetId, ObjectKey, WorkspaceId, digest};

use super::{Rig, append, at, refused, workspace};

/// The data folder of the tests.
const NODE: &str = "here";

/// Times that two race.
const RACES: u32 = 12;

fn terms() -> Terms {
    Terms {
        dataset: "orders".into(),
        kind: DatasetKind::Record,
        time_column: Some("at".into()),
        format: InputFormat::Csv,
        replace: Some(Replace::Batches(vec![BatchId::new("b")])),
        receive_time: Some("sent".into()),
    }
}

async fn reserve(rig: &Rig) -> BatchId {
    let new = NewUpload { batch: BatchId::mint(), terms: terms(), node: NODE.into() };
    rig.uploads.reserve(&workspace(), &new, at(1)).await.unwrap();
    new.batch
}

fn file(name: &str, content: &str) -> UploadFile {
    UploadFile {
        name: name.into(),
        bytes: content.len() as u64,
        sha256: digest::sha256_hex(content.as_bytes()),
        key: ObjectKey::new(uuid::Uuid::new_v4().to_string()),
    }
}

async fn begin(rig: &Rig, batch: &BatchId, file: &UploadFile) -> Result<(), UploadError> {
    rig.uploads.begin_file(&workspace(), batch, (NODE, &file.key), at(2)).await
}

async fn finish(rig: &Rig, batch: &BatchId, file: &UploadFile) -> Result<Noted, UploadError> {
    rig.uploads.finish_file(&workspace(), batch, file, at(3)).await
}

async fn put(rig: &Rig, batch: &BatchId, file: &UploadFile) -> Noted {
    begin(rig, batch, file).await.unwrap();
    finish(rig, batch, file).await.unwrap()
}

/// What may be deleted, of objects that were not begun lately.
async fn spare(rig: &Rig) -> Vec<ObjectKey> {
    rig.uploads.spare(NODE, at(0), 100).await.unwrap()
}

fn closing(dataset: &DatasetId, batch: &BatchId, version: u64) -> NewCommit {
    NewCommit {
        batch: Some(batch.clone()),
        reserved: Some(version),
        key: Some(IngestKey::new(batch.as_str(), batch.as_str())),
        ..append(dataset, 7)
    }
}

pub async fn an_upload_reads_back(rig: &Rig) {
    let batch = reserve(rig).await;
    let files = ["Z", "a", "ä", "b"].map(|name| file(name, name));
    for at in [2, 0, 3, 1] {
        assert!(put(rig, &batch, &files[at]).await.is_new);
    }
    let upload = rig.uploads.upload(&workspace(), &batch).await.unwrap().unwrap();
    assert_eq!((upload.terms, &*upload.node, upload.version), (terms(), NODE, 4));
    assert_eq!((upload.created_at, upload.closed), (at(1), None));
    let [upper, a, umlaut, b] = files.clone();
    assert_eq!(upload.files, [upper, a, b, umlaut]);
    let known = rig.catalog.batch(&workspace(), &batch).await.unwrap();
    assert_eq!((known.dataset, known.commit, known.taken_back), (None, None, None));
    assert!(spare(rig).await.is_empty());
    // Others know nothing of it, and another server does not take its files.
    let other = WorkspaceId::new("other");
    assert_eq!(rig.uploads.upload(&other, &batch).await.unwrap(), None);
    let missing = |what| matches!(what, UploadError::Catalog(CatalogError::NotFound { .. }));
    let object = (NODE, &files[0].key);
    assert!(missing(rig.uploads.begin_file(&other, &batch, object, at(2)).await.unwrap_err()));
    assert!(missing(rig.uploads.finish_file(&other, &batch, &files[0], at(2)).await.unwrap_err()));
    assert!(missing(rig.uploads.abandon(&other, &batch).await.unwrap_err()));
    let elsewhere = ("there", &file("c", "c").key);
    refused!(
        rig.uploads.begin_file(&workspace(), &batch, elsewhere, at(2)).await,
        UploadError::Elsewhere { .. }
    );
}

pub async fn a_file_is_replaced(rig: &Rig) {
    let batch = reserve(rig).await;
    let [first, same, other] = ["x", "x", "y"].map(|content| file("f", content));
    assert_eq!(put(rig, &batch, &first).await, Noted { is_new: true, spare: None });
    for (next, before, version) in [(&same, &first, 2), (&other, &same, 3)] {
        let noted = put(rig, &batch, next).await;
        assert_eq!(noted, Noted { is_new: false, spare: Some(before.key.clone()) });
        let upload = rig.uploads.upload(&workspace(), &batch).await.unwrap().unwrap();
        assert_eq!((upload.version, &upload.files), (version, &vec![next.clone()]));
    }
    let mut left = spare(rig).await;
    left.sort();
    let mut both = vec![first.key, same.key];
    both.sort();
    assert_eq!(left, both);
    // What is a file is not forgotten.
    rig.uploads.forget(&[left, vec![other.key]].concat()).await.unwrap();
    assert!(spare(rig).await.is_empty());
    rig.uploads.abandon(&workspace(), &batch).await.unwrap();
    assert_eq!(spare(rig).await.len(), 1);
}

pub async fn a_commit_closes_what_its_writer_saw(rig: &Rig) {
    let orders = rig.orders().await;
    let batch = reserve(rig).await;
    let (one, two, late) = (file("1", "1"), file("2", "2"), file("3", "3"));
    put(rig, &batch, &one).await;
    put(rig, &batch, &two).await;
    begin(rig, &batch, &late).await.unwrap();
    let stale = closing(&orders, &batch, 1);
    refused!(rig.catalog.commit(&stale, at(4)).await, CatalogError::Reopened { .. });
    assert_eq!(rig.catalog.head(&workspace()).await.unwrap(), None);
    let first = closing(&orders, &batch, 2);
    assert_eq!(rig.commit(&first).await, 1);
    let upload = rig.uploads.upload(&workspace(), &batch).await.unwrap().unwrap();
    let closed = upload.closed.unwrap();
    assert_eq!((closed.commit.0, closed.rows, upload.files.len()), (1, 7, 2));
    let known = rig.catalog.batch(&workspace(), &batch).await.unwrap();
    assert_eq!((known.dataset, known.commit), (Some(orders.clone()), Some(closed.commit)));
    // Nothing more comes, and all of it may go.
    for refusal in [
        begin(rig, &batch, &file("4", "4")).await.unwrap_err(),
        finish(rig, &batch, &late).await.unwrap_err(),
        rig.uploads.abandon(&workspace(), &batch).await.unwrap_err(),
    ] {
        assert!(matches!(refusal, UploadError::Closed { commit, .. } if commit == closed.commit));
    }
    assert_eq!(spare(rig).await.len(), 3);
    // Whoever imported the same meanwhile is told of the first; another key comes too late.
    let again = rig.catalog.commit(&closing(&orders, &batch, 2), at(5)).await.unwrap();
    assert!(matches!(again, Committed::Repeated(commit) if commit.number == closed.commit));
    let other = NewCommit { key: None, ..closing(&orders, &batch, 2) };
    refused!(rig.catalog.commit(&other, at(5)).await, CatalogError::Reopened { .. });
}

pub async fn an_abandoned_upload_is_gone(rig: &Rig) {
    let orders = rig.orders().await;
    let batch = reserve(rig).await;
    let (whole, half) = (file("1", "1"), file("2", "2"));
    put(rig, &batch, &whole).await;
    begin(rig, &batch, &half).await.unwrap();
    rig.uploads.abandon(&workspace(), &batch).await.unwrap();
    assert_eq!(rig.uploads.upload(&workspace(), &batch).await.unwrap(), None);
    refused!(
        rig.catalog.batch(&workspace(), &batch).await,
        CatalogError::NotFound { what: "batch", .. }
    );
    refused!(finish(rig, &batch, &half).await, UploadError::Catalog(CatalogError::NotFound { .. }));
    let late = closing(&orders, &batch, 1);
    refused!(rig.catalog.commit(&late, at(4)).await, CatalogError::Reopened { .. });
    assert_eq!(spare(rig).await.len(), 2);
}

pub async fn what_is_begun_and_left_is_given_up(rig: &Rig) {
    let batch = reserve(rig).await;
    let (slow, quick) = (file("1", "1"), file("2", "2"));
    begin(rig, &batch, &slow).await.unwrap();
    put(rig, &batch, &quick).await;
    assert!(spare(rig).await.is_empty());
    let left = rig.uploads.spare(NODE, at(10), 100).await.unwrap();
    assert_eq!(left, std::slice::from_ref(&slow.key));
    assert!(rig.uploads.spare("there", at(10), 100).await.unwrap().is_empty());
    refused!(finish(rig, &batch, &slow).await, UploadError::Late { .. });
    rig.uploads.forget(&left).await.unwrap();
    refused!(finish(rig, &batch, &slow).await, UploadError::Late { .. });
    let upload = rig.uploads.upload(&workspace(), &batch).await.unwrap().unwrap();
    assert_eq!(upload.files, [quick]);
}

pub async fn uploads_that_nobody_touches_expire(rig: &Rig) {
    let orders = rig.orders().await;
    let [left, touched, closed] = [reserve(rig).await, reserve(rig).await, reserve(rig).await];
    put(rig, &touched, &file("1", "1")).await;
    rig.commit(&closing(&orders, &closed, 0)).await;
    assert_eq!(rig.uploads.expire(at(1), 10).await.unwrap(), 0);
    assert_eq!(rig.uploads.expire(at(2), 10).await.unwrap(), 1);
    let known =
        async |batch: &BatchId| rig.uploads.upload(&workspace(), batch).await.unwrap().is_some();
    assert!(!known(&left).await && known(&touched).await && known(&closed).await);
    assert_eq!(rig.uploads.expire(at(9), 10).await.unwrap(), 1);
    assert!(!known(&touched).await && known(&closed).await);
}

pub async fn what_is_too_much_is_refused(rig: &Rig) {
    let batch = reserve(rig).await;
    let large = UploadFile { bytes: UPLOAD_BYTES_MAX, ..file("large", "1") };
    put(rig, &batch, &large).await;
    let more = file("more", "2");
    begin(rig, &batch, &more).await.unwrap();
    refused!(finish(rig, &batch, &more).await, UploadError::TooManyBytes { .. });
    // In its place there is room.
    put(rig, &batch, &file("large", "3")).await;
    assert!(finish(rig, &batch, &more).await.unwrap().is_new);
    for _ in 1..UPLOADS_OPEN_MAX {
        reserve(rig).await;
    }
    let new = NewUpload { batch: BatchId::mint(), terms: terms(), node: NODE.into() };
    refused!(rig.uploads.reserve(&workspace(), &new, at(1)).await, UploadError::TooManyOpen);
    rig.uploads.abandon(&workspace(), &batch).await.unwrap();
    reserve(rig).await;
}

pub async fn of_a_file_and_a_commit_one_is_first(rig: &Rig) {
    let orders = rig.orders().await;
    for _ in 0..RACES {
        let batch = reserve(rig).await;
        put(rig, &batch, &file("1", "1")).await;
        let more = file("2", "2");
        begin(rig, &batch, &more).await.unwrap();
        let new = closing(&orders, &batch, 1);
        let committing = rig.catalog.commit(&new, at(4));
        let (committed, finished) = tokio::join!(committing, finish(rig, &batch, &more));
        match (committed, finished) {
            (Ok(_), Err(UploadError::Closed { .. }))
            | (Err(CatalogError::Reopened { .. }), Ok(_)) => {}
            both => panic!("{both:?}"),
        }
    }
}
