//! Cases of enrolments: one a door and workspace, found by its names, with a secret of its own.

use std::collections::BTreeMap;

use model::enrolment::NewEnrolment;
use model::ports::PlaceError;
use model::{SecretText, WorkspaceId, access};

use super::{Rig, at, refused, workspace};

pub(super) fn new(workspace: WorkspaceId, name: &str) -> NewEnrolment {
    NewEnrolment {
        door: "door".into(),
        workspace,
        names: BTreeMap::from([("id".into(), name.into()), ("key".into(), format!("k{name}"))]),
        secret: SecretText::new(format!("s{name}")),
        since: at(10),
        covered: at(5),
    }
}

pub async fn a_workspace_is_enrolled_once(rig: &Rig) {
    let asked = new(workspace(), "a");
    assert!(rig.enrolments.enrolment(&workspace(), "door").await.unwrap().is_none());
    let (enrolled, is_new) = rig.enrolments.enrol(&asked).await.unwrap();
    assert!(is_new);
    assert_eq!((&enrolled.names, enrolled.since, enrolled.covered), (&asked.names, at(10), at(5)));
    assert_eq!((enrolled.name("id"), enrolled.name("none")), ("a", ""));
    let organization = rig.access.workspace(&enrolled.organization, workspace().as_str()).await;
    assert_eq!(organization.unwrap().id, workspace());
    // Again, whatever is asked for.
    let again = rig.enrolments.enrol(&new(workspace(), "b")).await.unwrap();
    assert_eq!(again, (enrolled.clone(), false));
    let secret = rig.enrolments.enrolment_secret(&workspace(), "door").await.unwrap();
    assert_eq!(secret.reveal(), "sa");
    assert_eq!(rig.enrolments.enrolment(&workspace(), "door").await.unwrap(), Some(enrolled));
    assert!(rig.enrolments.enrolment(&workspace(), "other").await.unwrap().is_none());
    let other = SecretText::new("other");
    rig.enrolments.change_enrolment_secret(&workspace(), "door", &other).await.unwrap();
    let secret = rig.enrolments.enrolment_secret(&workspace(), "door").await.unwrap();
    assert_eq!(secret.reveal(), "other");
    refused!(
        rig.enrolments.enrolment_secret(&workspace(), "other").await,
        PlaceError::NotFound { .. }
    );
    let unknown = rig.enrolments.change_enrolment_secret(&workspace(), "other", &other).await;
    refused!(unknown, PlaceError::NotFound { .. });
    let nowhere = rig.enrolments.enrol(&new(WorkspaceId::new("nowhere"), "c")).await;
    refused!(nowhere, PlaceError::NotFound { .. });
}

pub async fn names_belong_to_one_workspace(rig: &Rig) {
    let elsewhere = access::Workspace {
        id: WorkspaceId::mint(),
        name: "elsewhere".into(),
        organization: model::OrganizationId::default_organization(),
        created_at: at(0),
    };
    rig.access.create_workspace(&elsewhere).await.unwrap();
    let (here, _) = rig.enrolments.enrol(&new(workspace(), "a")).await.unwrap();
    refused!(
        rig.enrolments.enrol(&new(elsewhere.id.clone(), "a")).await,
        PlaceError::Exists { .. }
    );
    assert!(rig.enrolments.enrolment(&elsewhere.id, "door").await.unwrap().is_none());
    let (there, _) = rig.enrolments.enrol(&new(elsewhere.id, "b")).await.unwrap();
    let found = async |kind, name| rig.enrolments.enrolled("door", (kind, name)).await.unwrap();
    assert_eq!(found("id", "a").await, Some(here.clone()));
    assert_eq!(found("key", "kb").await, Some(there.clone()));
    assert_eq!((found("key", "a").await, found("id", "c").await), (None, None));
    let mut all = rig.enrolments.enrolments("door").await.unwrap();
    all.sort_by_key(|one| one.name("id").to_owned());
    assert_eq!(all, [here, there]);
    assert!(rig.enrolments.enrolments("other").await.unwrap().is_empty());
}

pub async fn what_was_asked_for_never_goes_back(rig: &Rig) {
    rig.enrolments.enrol(&new(workspace(), "a")).await.unwrap();
    for (second, covered) in [(7, 7), (6, 7), (9, 9)] {
        rig.enrolments.cover(&workspace(), "door", at(second)).await.unwrap();
        let now = rig.enrolments.enrolment(&workspace(), "door").await.unwrap().unwrap();
        assert_eq!((now.covered, now.since), (at(covered), at(10)));
    }
}
