//! Keys that change, are missing or were never there, and what is kept that was altered or moved.

use std::sync::{Arc, Mutex};

use model::SecretText;
use model::destination::OpenDestination;
use model::enrolment::NewEnrolment;
use model::ports::{Enrolments, PlaceError, Places};

use super::{number, on_both, run};
use crate::conformance::places::{new, terms};
use crate::conformance::{at, workspace};
use crate::{FixedKeys, Key, KeyRing, Keys, KeysError, Store};

/// Keys that a test changes, as somebody who edits the file.
#[derive(Debug, Default)]
struct Edited(Mutex<KeyRing>);

impl Keys for Edited {
    fn read(&self) -> Result<KeyRing, KeysError> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn make(&self) -> Result<KeyRing, KeysError> {
        self.read()
    }
}

fn ring(bytes: &[u8]) -> KeyRing {
    KeyRing::new(bytes.iter().map(|byte| Key::from_random([*byte; 32])))
}

fn id(byte: u8) -> String {
    Key::from_random([byte; 32]).id().to_owned()
}

async fn open(url: &str, bytes: &[u8]) -> Store {
    Store::open(url).await.unwrap().with_keys(Arc::new(FixedKeys(ring(bytes))))
}

async fn secret(store: &Store, name: &str) -> Result<String, PlaceError> {
    let opened = store.open_destination(&workspace(), name).await;
    opened.map(|OpenDestination { secrets, .. }| secrets["s"].reveal().to_owned())
}

async fn keep(store: &Store, name: &str) -> Result<(), PlaceError> {
    let new = new(name, &[("s", Some(name))]);
    store.create_destination(&workspace(), &new, at(1)).await.map(drop)
}

#[tokio::test]
async fn without_a_key_no_secret_is_kept() {
    on_both(async |url| {
        let store = open(&url, &[]).await;
        assert!(matches!(keep(&store, "a").await, Err(PlaceError::NoKey)));
        assert!(store.destinations(&workspace()).await.unwrap().is_empty());
        store.create_destination(&workspace(), &new("b", &[]), at(1)).await.unwrap();
        let seen = store.destination(&workspace(), "b").await.unwrap().seen();
        let change = terms("us", &[("s", Some("x"))]);
        let refused = store.change_destination(&workspace(), "b", (&seen, &change), at(2)).await;
        assert!(matches!(refused, Err(PlaceError::NoKey)));
        assert!(matches!(store.reseal().await, Err(PlaceError::NoKey)));
        assert_eq!(store.destination(&workspace(), "b").await.unwrap().seen(), seen);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn every_secret_goes_to_the_first_key() {
    on_both(async |url| {
        let store = open(&url, &[1]).await;
        // More than one transaction takes.
        for n in 0..230 {
            keep(&store, &format!("d{n}")).await.unwrap();
        }
        let both = open(&url, &[2, 1]).await;
        // Until somebody rotates, a new key that stands first seals nothing.
        keep(&both, "before").await.unwrap();
        assert_eq!(secret(&store, "before").await.unwrap(), "before");
        let done = both.reseal().await.unwrap();
        assert_eq!((done.key, done.secrets, done.lost.len()), (id(2), 231, 0));
        assert_eq!(both.reseal().await.unwrap().secrets, 0);
        let only = open(&url, &[2]).await;
        for n in 0..230 {
            assert_eq!(secret(&only, &format!("d{n}")).await.unwrap(), format!("d{n}"));
        }
        // Whoever has the old key alone learns that at use, and nothing else.
        let refused = secret(&store, "d1").await.unwrap_err();
        let text = refused.to_string();
        for word in ["`d1`", "`s`", &id(2), "set the secret anew"] {
            assert!(text.contains(word), "{text}");
        }
        let refused = keep(&store, "late").await.unwrap_err();
        assert!(matches!(&refused, PlaceError::OtherKey { key } if *key == id(2)), "{refused}");
        for store in [store, both, only] {
            store.close().await;
        }
    })
    .await;
}

/// One writes while another rotates, again and again: what was written last opens under the last key alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sealed_under_a_key_that_goes() {
    on_both(async |url| {
        let keys = Arc::new(Edited(Mutex::new(ring(&[0]))));
        let store = Store::open(&url).await.unwrap().with_keys(keys.clone());
        keep(&store, "a").await.unwrap();
        let writer = Store::open(&url).await.unwrap().with_keys(keys.clone());
        // So that each rotation meets a writer, and none is met by all of them.
        let (wrote, mut progress) = tokio::sync::mpsc::channel(1);
        let writing = tokio::spawn(async move {
            for n in 0..40 {
                let seen = writer.destination(&workspace(), "a").await.unwrap().seen();
                let text = n.to_string();
                let change = terms("eu", &[("s", Some(&text))]);
                let change = (&seen, &change);
                writer.change_destination(&workspace(), "a", change, at(n)).await.unwrap();
                assert_eq!(secret(&writer, "a").await.unwrap(), text);
                // Nobody listens any more after the last rotation.
                let _ = wrote.send(()).await;
            }
            writer.close().await;
        });
        for byte in 1..20 {
            *keys.0.lock().unwrap() = ring(&[byte, byte - 1]);
            assert!(store.reseal().await.unwrap().lost.is_empty());
            *keys.0.lock().unwrap() = ring(&[byte]);
            progress.recv().await.unwrap();
        }
        drop(progress);
        writing.await.unwrap();
        assert_eq!(secret(&store, "a").await.unwrap(), "39");
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn what_does_not_open_is_named_and_left() {
    on_both(async |url| {
        let store = open(&url, &[1]).await;
        for name in ["a", "b", "c"] {
            keep(&store, name).await.unwrap();
        }
        // Moved: the secret of one under the name of another.
        let moved = "UPDATE destination_secret SET sealed =
                         (SELECT sealed FROM destination_secret s JOIN destination d
                          ON d.id = s.destination WHERE d.name = 'b')
                     WHERE destination = (SELECT id FROM destination WHERE name = 'a')";
        run(&store, moved).await;
        let refused = secret(&store, "a").await.unwrap_err();
        assert!(matches!(&refused, PlaceError::Damaged { name, .. } if name == "a"), "{refused}");
        let lost = "UPDATE destination_secret SET key_id = 'lost'
                    WHERE destination = (SELECT id FROM destination WHERE name = 'c')";
        run(&store, lost).await;
        let both = open(&url, &[2, 1]).await;
        let done = both.reseal().await.unwrap();
        let reasons: Vec<String> = done.lost.iter().map(|lost| lost.reason.to_string()).collect();
        assert_eq!((done.secrets, reasons.len()), (1, 2), "{reasons:?}");
        assert!(reasons.iter().any(|text| text.contains("`a`") && text.contains("altered")));
        assert!(reasons.iter().any(|text| text.contains("`c`") && text.contains("`lost`")));
        assert_eq!(secret(&both, "b").await.unwrap(), "b");
        // The remedy.
        let seen = both.destination(&workspace(), "c").await.unwrap().seen();
        let anew = terms("eu", &[("s", Some("anew"))]);
        both.change_destination(&workspace(), "c", (&seen, &anew), at(2)).await.unwrap();
        assert_eq!(secret(&both, "c").await.unwrap(), "anew");
        let left = "SELECT COUNT(*) AS n FROM destination_secret WHERE key_id = 'lost'";
        assert_eq!(number(&both, left).await, 0);
        store.close().await;
        both.close().await;
    })
    .await;
}

#[tokio::test]
async fn secrets_of_enrolments_go_to_the_first_key_too() {
    on_both(async |url| {
        let store = open(&url, &[1]).await;
        let new = NewEnrolment {
            door: "door".into(),
            workspace: workspace(),
            names: std::collections::BTreeMap::new(),
            secret: SecretText::new("hidden"),
            since: at(1),
            covered: at(1),
        };
        store.enrol(&new).await.unwrap();
        let both = open(&url, &[2, 1]).await;
        let done = both.reseal().await.unwrap();
        assert_eq!((done.secrets, done.lost.len()), (1, 0));
        assert_eq!(both.reseal().await.unwrap().secrets, 0);
        let only = open(&url, &[2]).await;
        let secret = async |store: &Store| store.enrolment_secret(&workspace(), "door").await;
        assert_eq!(secret(&only).await.unwrap().reveal(), "hidden");
        assert!(matches!(secret(&store).await, Err(PlaceError::UnknownKey { .. })));
        for store in [store, both, only] {
            store.close().await;
        }
    })
    .await;
}
