//! Cases of [`model::ports::Places`].

use std::collections::BTreeMap;

use model::destination::{Destination, NewDestination, Seen, Terms};
use model::ports::PlaceError;
use model::{DestinationId, SecretText, WorkspaceId};
use tokio::task::JoinSet;

use super::{Rig, at, refused, workspace};

/// Terms with one setting.
pub(crate) fn terms(region: &str, secrets: &[(&str, Option<&str>)]) -> Terms {
    let secret =
        |(name, text): &(&str, Option<&str>)| ((*name).to_owned(), text.map(SecretText::new));
    Terms {
        url: "s3://bucket/in".into(),
        settings: BTreeMap::from([("region".into(), region.into())]),
        secrets: secrets.iter().map(secret).collect(),
    }
}

pub(crate) fn new(name: &str, secrets: &[(&str, Option<&str>)]) -> NewDestination {
    NewDestination { id: DestinationId::mint(), name: name.into(), terms: terms("eu", secrets) }
}

impl Rig {
    async fn place(&self, name: &str, secrets: &[(&str, Option<&str>)]) -> Destination {
        self.places.create_destination(&workspace(), &new(name, secrets), at(1)).await.unwrap()
    }

    /// The secrets of a destination.
    async fn secrets(&self, name: &str) -> Vec<(String, String)> {
        let open = self.places.open_destination(&workspace(), name).await.unwrap();
        let names: Vec<&String> = open.secrets.keys().collect();
        assert_eq!(names, open.destination.secrets.iter().collect::<Vec<_>>());
        let text = |(name, secret): (String, SecretText)| (name, secret.reveal().to_owned());
        open.secrets.into_iter().map(text).collect()
    }
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

pub async fn destinations_read_back(rig: &Rig) {
    assert!(rig.places.destinations(&workspace()).await.unwrap().is_empty());
    let made = rig.place("warehouse", &[("b", Some("é\u{0}\n")), ("a", Some("1"))]).await;
    let want = Destination {
        id: made.id.clone(),
        workspace: workspace(),
        name: "warehouse".into(),
        url: "s3://bucket/in".into(),
        settings: BTreeMap::from([("region".into(), "eu".into())]),
        secrets: vec!["a".into(), "b".into()],
        version: 1,
        created_at: at(1),
        updated_at: at(1),
    };
    assert_eq!(made, want);
    let archive = rig.place("archive", &[("gone", None)]).await;
    assert!(archive.secrets.is_empty(), "nothing is removed from nothing");
    assert_eq!(rig.places.destinations(&workspace()).await.unwrap(), [archive, want.clone()]);
    assert_eq!(rig.places.destination(&workspace(), "warehouse").await.unwrap(), want);
    assert_eq!(rig.secrets("warehouse").await, pairs(&[("a", "1"), ("b", "é\u{0}\n")]));
    assert!(rig.secrets("archive").await.is_empty());
    let open = rig.places.open_destination(&workspace(), "warehouse").await.unwrap();
    assert!(!format!("{open:?}").contains('é'));
    let none = rig.places.destination(&workspace(), "ware").await;
    refused!(none, PlaceError::NotFound { name } if name == "ware");
    refused!(rig.places.open_destination(&workspace(), "ware").await, PlaceError::NotFound { .. });
}

pub async fn names_are_unique(rig: &Rig) {
    rig.place("a", &[("s", Some("first"))]).await;
    let again = new("a", &[("s", Some("second"))]);
    let again = rig.places.create_destination(&workspace(), &again, at(2)).await;
    refused!(again, PlaceError::Exists { name } if name == "a");
    assert_eq!(rig.secrets("a").await, pairs(&[("s", "first")]));
}

pub async fn of_several_makers_one_makes_it(rig: &Rig) {
    let mut tasks = JoinSet::new();
    for n in 0..4 {
        let places = rig.places.clone();
        let new = new("a", &[("s", Some(&n.to_string()))]);
        tasks.spawn(async move { places.create_destination(&workspace(), &new, at(1)).await });
    }
    let made: Vec<_> = tasks.join_all().await.into_iter().filter_map(Result::ok).collect();
    assert_eq!(rig.places.destinations(&workspace()).await.unwrap(), made);
    assert_eq!(made.len(), 1);
}

pub async fn a_change_keeps_sets_and_removes_secrets(rig: &Rig) {
    let made = rig.place("a", &[("x", Some("1")), ("y", Some("2")), ("z", Some("3"))]).await;
    let change = terms("us", &[("y", Some("two")), ("z", None), ("w", Some("4"))]);
    let seen = made.seen();
    let changed = rig.places.change_destination(&workspace(), "a", (&seen, &change), at(9)).await;
    let changed = changed.unwrap();
    assert_eq!((changed.version, changed.created_at, changed.updated_at), (2, at(1), at(9)));
    assert_eq!((&changed.id, &*changed.settings["region"]), (&made.id, "us"));
    assert_eq!(rig.secrets("a").await, pairs(&[("w", "4"), ("x", "1"), ("y", "two")]));
    // What is built on the state before changes nothing.
    let late = terms("late", &[("x", Some("late")), ("y", None)]);
    let late = rig.places.change_destination(&workspace(), "a", (&seen, &late), at(10)).await;
    refused!(late, PlaceError::Changed { name } if name == "a");
    assert_eq!(rig.places.destination(&workspace(), "a").await.unwrap(), changed);
    assert_eq!(rig.secrets("a").await, pairs(&[("w", "4"), ("x", "1"), ("y", "two")]));
    let none = rig.places.change_destination(&workspace(), "b", (&seen, &change), at(11)).await;
    refused!(none, PlaceError::NotFound { name } if name == "b");
}

pub async fn of_two_changes_of_one_state_one_happens(rig: &Rig) {
    let mut seen = rig.place("a", &[("s", Some("start"))]).await.seen();
    for round in 0..5 {
        let mut tasks = JoinSet::new();
        for n in 0..4 {
            let (places, seen) = (rig.places.clone(), seen.clone());
            let text = format!("{round}-{n}");
            tasks.spawn(async move {
                let change = terms(&text, &[("s", Some(&text))]);
                let change = (&seen, &change);
                places.change_destination(&workspace(), "a", change, at(round)).await
            });
        }
        let mut won = Vec::new();
        for outcome in tasks.join_all().await {
            match outcome {
                Ok(changed) => won.push(changed),
                Err(error) => assert!(matches!(error, PlaceError::Changed { .. }), "{error}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(rig.places.destination(&workspace(), "a").await.unwrap(), won[0]);
        assert_eq!(rig.secrets("a").await, pairs(&[("s", &won[0].settings["region"])]));
        seen = won[0].seen();
    }
}

pub async fn another_of_the_same_name_is_not_what_was_seen(rig: &Rig) {
    let first = rig.place("a", &[]).await.seen();
    rig.places.delete_destination(&workspace(), "a", Some(&first)).await.unwrap();
    let second = rig.place("a", &[]).await.seen();
    assert_eq!(first.version, second.version);
    let change = terms("us", &[]);
    let late = rig.places.change_destination(&workspace(), "a", (&first, &change), at(3)).await;
    refused!(late, PlaceError::Changed { .. });
    let late = rig.places.delete_destination(&workspace(), "a", Some(&first)).await;
    refused!(late, PlaceError::Changed { .. });
    let both = Seen { version: 2, ..second.clone() };
    refused!(
        rig.places.delete_destination(&workspace(), "a", Some(&both)).await,
        PlaceError::Changed { .. }
    );
    rig.places.delete_destination(&workspace(), "a", Some(&second)).await.unwrap();
}

pub async fn workspaces_know_nothing_of_each_other(rig: &Rig) {
    let other = WorkspaceId::mint();
    let nowhere = rig.places.create_destination(&other, &new("a", &[]), at(0)).await;
    refused!(nowhere, PlaceError::Database(_));
    let shop = model::access::Workspace {
        id: other.clone(),
        name: "shop".into(),
        organization: model::OrganizationId::default_organization(),
        created_at: at(0),
    };
    rig.access.create_workspace(&shop).await.unwrap();
    let ours = rig.place("a", &[("s", Some("ours"))]).await;
    assert!(rig.places.destinations(&other).await.unwrap().is_empty());
    let change = terms("us", &[("s", Some("theirs"))]);
    let missing: [Result<(), PlaceError>; 4] = [
        rig.places.destination(&other, "a").await.map(drop),
        rig.places.open_destination(&other, "a").await.map(drop),
        rig.places.change_destination(&other, "a", (&ours.seen(), &change), at(2)).await.map(drop),
        rig.places.delete_destination(&other, "a", None).await,
    ];
    for asked in missing {
        refused!(asked, PlaceError::NotFound { .. });
    }
    let theirs = new("a", &[("s", Some("theirs"))]);
    rig.places.create_destination(&other, &theirs, at(2)).await.unwrap();
    rig.places.delete_destination(&other, "a", None).await.unwrap();
    assert_eq!(rig.secrets("a").await, pairs(&[("s", "ours")]));
    assert_eq!(rig.places.destinations(&workspace()).await.unwrap(), [ours]);
}

pub async fn what_is_deleted_is_gone(rig: &Rig) {
    rig.place("a", &[("s", Some("1")), ("t", Some("2"))]).await;
    rig.places.delete_destination(&workspace(), "a", None).await.unwrap();
    let again = rig.places.delete_destination(&workspace(), "a", None).await;
    refused!(again, PlaceError::NotFound { name } if name == "a");
    refused!(rig.places.open_destination(&workspace(), "a").await, PlaceError::NotFound { .. });
    rig.place("a", &[("t", Some("3"))]).await;
    assert_eq!(rig.secrets("a").await, pairs(&[("t", "3")]));
}
