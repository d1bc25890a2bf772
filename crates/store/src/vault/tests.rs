//! Sealed secrets that are altered, moved or under another key do not open; keys are read as people write them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use super::*;

fn ring(bytes: &[u8]) -> KeyRing {
    KeyRing::new(bytes.iter().map(|byte| Key::from_random([*byte; 32])))
}

/// Runs a test with the names of an owner.
fn owner<'a>(ids: &'a (WorkspaceId, DestinationId), field: &'a str) -> Owner<'a> {
    Owner { workspace: &ids.0, destination: &ids.1, field }
}

fn ids(workspace: &str, destination: &str) -> (WorkspaceId, DestinationId) {
    (WorkspaceId::new(workspace), DestinationId::new(destination))
}

#[test]
fn what_is_sealed_opens_and_looks_like_nothing() {
    let (ring, ids) = (ring(&[1, 2]), ids("w", "d"));
    let owner = owner(&ids, "password");
    for text in ["canary", "é\u{0}\n", &"x".repeat(16 << 10)] {
        let secret = SecretText::new(text);
        for key in ring.keys() {
            let sealed = seal(key, &owner, &secret).unwrap();
            assert_eq!(open(&ring, &owner, (key.id(), &sealed)), Ok(secret.clone()));
            assert!(!sealed.windows(text.len()).any(|part| part == text.as_bytes()));
        }
    }
    let secret = SecretText::new("same");
    let all: BTreeSet<_> =
        (0..100).map(|_| seal(&ring.keys()[0], &owner, &secret).unwrap()).collect();
    assert_eq!(all.len(), 100, "nonces are not used twice");
}

#[test]
fn an_altered_secret_does_not_open() {
    let (ring, ids) = (ring(&[1]), ids("w", "d"));
    let owner = owner(&ids, "password");
    let key = ring.keys()[0].id();
    let sealed = seal(&ring.keys()[0], &owner, &SecretText::new("canary")).unwrap();
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut altered = sealed.to_vec();
            altered[at] ^= 1 << bit;
            assert_eq!(open(&ring, &owner, (key, &altered.into())), Err(Shut::Damaged));
        }
        assert_eq!(open(&ring, &owner, (key, &sealed.slice(..at))), Err(Shut::Damaged));
    }
}

#[test]
fn a_moved_secret_does_not_open() {
    let (ring, here) = (ring(&[1]), ids("w", "d"));
    let key = ring.keys()[0].id();
    let sealed = seal(&ring.keys()[0], &owner(&here, "a"), &SecretText::new("canary")).unwrap();
    let places =
        [("w", "d", "b"), ("w", "e", "a"), ("v", "d", "a"), ("wd", "", "a"), ("w", "da", "")];
    for (workspace, destination, field) in places {
        let there = ids(workspace, destination);
        let opened = open(&ring, &owner(&there, field), (key, &sealed));
        assert_eq!(opened, Err(Shut::Damaged), "{workspace} {destination} {field}");
    }
}

#[test]
fn a_secret_under_another_key_does_not_open() {
    let (old, ids) = (ring(&[1]), ids("w", "d"));
    let owner = owner(&ids, "a");
    let sealed = seal(&old.keys()[0], &owner, &SecretText::new("canary")).unwrap();
    let id = old.keys()[0].id();
    assert_eq!(open(&ring(&[2]), &owner, (id, &sealed)), Err(Shut::UnknownKey));
    assert!(open(&ring(&[2, 1]), &owner, (id, &sealed)).is_ok());
    let wrong = ring(&[2]);
    assert_eq!(open(&wrong, &owner, (wrong.keys()[0].id(), &sealed)), Err(Shut::Damaged));
}

#[test]
fn keys_are_read_as_people_write_them() {
    let bytes: [u8; 32] = std::array::from_fn(|n| u8::try_from(n * 7 + 3).unwrap_or(251));
    let key = Key::from_random(bytes);
    let hex = key.reveal();
    let texts = [
        hex.clone(),
        hex.to_uppercase(),
        STANDARD.encode(bytes),
        URL_SAFE.encode(bytes),
        format!("  # a note, with, commas\n\n{hex}\r\n"),
        format!("{hex},{}", STANDARD.encode(bytes)),
    ];
    for text in texts {
        assert_eq!(KeyRing::parse(&text).unwrap().keys(), std::slice::from_ref(&key), "{text}");
    }
    let two = KeyRing::parse(&format!("{}\n{hex}", "00".repeat(32))).unwrap();
    assert_eq!((two.keys().len(), two.get(key.id())), (2, Some(&key)));
    assert_eq!(KeyRing::parse(" \n# nothing\n"), Ok(KeyRing::default()));
    for bad in ["x", &hex[1..], &format!("{hex}0"), &STANDARD.encode(&bytes[1..]), "é"] {
        assert_eq!(KeyRing::parse(&format!("{hex} {bad}")), Err(2), "{bad}");
    }
    assert!(!format!("{two:?}").contains(&hex[..8]));
}
