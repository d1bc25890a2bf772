//! Cases of [`model::ports::Access`].

use std::collections::BTreeSet;

use chrono::TimeDelta;
use model::access::{
    Actor, DEFAULT, Grant, NewAudit, NewToken, Organization, Principal, Scope, TokenText, Workspace,
};
use model::limits::TOKEN_DAYS;
use model::ports::AccessError;
use model::{AuditId, OrganizationId, PrincipalId, TokenId, WorkspaceId};
use tokio::task::JoinSet;

use super::{Rig, at, refused};

fn default() -> OrganizationId {
    OrganizationId::default_organization()
}

fn principal(organization: &OrganizationId, name: &str) -> Principal {
    Principal {
        id: PrincipalId::mint(),
        name: name.into(),
        organization: organization.clone(),
        created_at: at(0),
        disabled_at: None,
    }
}

fn workspace(organization: &OrganizationId, name: &str) -> Workspace {
    let organization = organization.clone();
    Workspace { id: WorkspaceId::mint(), name: name.into(), organization, created_at: at(1) }
}

fn token(principal: &str, secret: u8) -> NewToken {
    NewToken {
        id: TokenId::mint(),
        principal: principal.into(),
        workspace: None,
        scopes: vec![Scope::DataRead, Scope::ExportRun],
        expires_at: None,
        sha256: TokenText::from_random([secret; 32]).sha256(),
    }
}

async fn other(rig: &Rig) -> OrganizationId {
    let new = Organization { id: OrganizationId::mint(), name: "other".into(), created_at: at(0) };
    let first = workspace(&new.id, DEFAULT);
    rig.access.create_organization(&new, &first).await.unwrap();
    assert_eq!(rig.access.workspaces(&new.id).await.unwrap(), [first]);
    assert_eq!(rig.access.organization("other").await.unwrap(), new);
    assert_eq!(rig.access.organizations().await.unwrap().len(), 2);
    new.id
}

pub async fn a_new_database_has_one_workspace(rig: &Rig) {
    let all = rig.access.workspaces(&default()).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].id.as_str(), all[0].name.as_str()), (DEFAULT, DEFAULT));
    assert_eq!(rig.access.workspace(&default(), DEFAULT).await.unwrap(), all[0]);
    assert!(rig.access.principals(&default()).await.unwrap().is_empty());
    assert!(rig.access.tokens(&default()).await.unwrap().is_empty());
}

pub async fn workspaces_are_of_their_organization(rig: &Rig) {
    let other = other(rig).await;
    let ours = workspace(&default(), "shop");
    rig.access.create_workspace(&ours).await.unwrap();
    // The same name elsewhere tells nothing about ours.
    let theirs = workspace(&other, "shop");
    rig.access.create_workspace(&theirs).await.unwrap();
    for name in ["shop", ours.id.as_str()] {
        assert_eq!(rig.access.workspace(&default(), name).await.unwrap(), ours);
    }
    assert_eq!(rig.access.workspace(&other, "shop").await.unwrap(), theirs);
    for name in [ours.id.as_str(), "none"] {
        let asked = rig.access.workspace(&other, name).await;
        refused!(asked, AccessError::NotFound { what: "workspace", name: told } if told == name);
    }
    assert_eq!(rig.access.workspaces(&other).await.unwrap().len(), 2);
    assert_ne!(rig.access.workspace(&other, DEFAULT).await.unwrap().id.as_str(), DEFAULT);
    let nowhere = workspace(&OrganizationId::mint(), "x");
    let refused = rig.access.create_workspace(&nowhere).await;
    refused!(refused, AccessError::NotFound { what: "organization", .. });
    // What was made can be written to.
    assert_eq!(rig.catalog.head(&ours.id).await.unwrap(), None);
}

pub async fn names_are_unique(rig: &Rig) {
    rig.access.create_workspace(&workspace(&default(), "shop")).await.unwrap();
    let again = rig.access.create_workspace(&workspace(&default(), "shop")).await;
    refused!(again, AccessError::Exists { what: "workspace", .. });
    rig.access.create_principal(&principal(&default(), "ada")).await.unwrap();
    let again = rig.access.create_principal(&principal(&default(), "ada")).await;
    refused!(again, AccessError::Exists { what: "principal", .. });
    let new = Organization { id: OrganizationId::mint(), name: DEFAULT.into(), created_at: at(0) };
    let again = rig.access.create_organization(&new, &workspace(&new.id, "x")).await;
    refused!(again, AccessError::Exists { what: "organization", .. });
}

pub async fn tokens_open_what_they_say(rig: &Rig) {
    let other = other(rig).await;
    let ada = principal(&default(), "ada");
    rig.access.create_principal(&ada).await.unwrap();
    let shop = workspace(&default(), "shop");
    rig.access.create_workspace(&shop).await.unwrap();
    let new = NewToken { workspace: Some("shop".into()), ..token("ada", 1) };
    let made = rig.access.create_token(&default(), &new, at(3)).await.unwrap();
    assert_eq!((&made.workspace, &made.principal), (&Some(shop.id.clone()), &ada.id));
    assert_eq!((made.created_at, made.used_at), (at(3), None));
    let grant = rig.access.grant(&new.sha256, at(4)).await.unwrap().unwrap();
    let want = Grant {
        token: new.id.clone(),
        principal: ada.id.clone(),
        organization: default(),
        workspace: Some(shop.id),
        scopes: new.scopes.clone(),
    };
    assert_eq!(grant, want);
    assert!(grant.allows(Scope::DataRead) && !grant.allows(Scope::DataWrite));
    assert_eq!(rig.access.grant(&token("ada", 2).sha256, at(4)).await.unwrap(), None);
    // A token names only what is of its organization.
    let foreign = rig.access.create_token(&other, &token("ada", 3), at(3)).await;
    refused!(foreign, AccessError::NotFound { what: "principal", .. });
    rig.access.create_principal(&principal(&other, "bob")).await.unwrap();
    let new = NewToken { workspace: Some("shop".into()), ..token("bob", 4) };
    let foreign = rig.access.create_token(&other, &new, at(3)).await;
    refused!(foreign, AccessError::NotFound { what: "workspace", .. });
    assert!(rig.access.tokens(&other).await.unwrap().is_empty());
    let foreign = rig.access.revoke_token(&other, &made.id, at(5)).await;
    refused!(foreign, AccessError::NotFound { what: "token", .. });
}

pub async fn a_token_that_is_over_opens_nothing(rig: &Rig) {
    rig.access.create_principal(&principal(&default(), "ada")).await.unwrap();
    let open = async |secret: u8, time: i64| {
        let sha256 = token("ada", secret).sha256;
        rig.access.grant(&sha256, at(time)).await.unwrap().is_some()
    };
    let new = NewToken { expires_at: Some(at(10)), ..token("ada", 1) };
    rig.access.create_token(&default(), &new, at(3)).await.unwrap();
    assert!(open(1, 9).await && !open(1, 10).await);
    let new = token("ada", 2);
    rig.access.create_token(&default(), &new, at(3)).await.unwrap();
    assert!(open(2, 1000).await);
    let first = rig.access.revoke_token(&default(), &new.id, at(20)).await.unwrap();
    let again = rig.access.revoke_token(&default(), &new.id, at(30)).await.unwrap();
    assert_eq!((first.revoked_at, again.revoked_at), (Some(at(20)), Some(at(20))));
    assert!(!open(2, 1000).await);
    rig.access.create_token(&default(), &token("ada", 3), at(3)).await.unwrap();
    assert!(open(3, 40).await);
    let shut = rig.access.disable_principal(&default(), "ada", at(50)).await.unwrap();
    let again = rig.access.disable_principal(&default(), "ada", at(60)).await.unwrap();
    assert_eq!((shut.disabled_at, again.disabled_at), (Some(at(50)), Some(at(50))));
    assert!(!open(3, 61).await);
    let refused = rig.access.create_token(&default(), &token("ada", 4), at(70)).await;
    refused!(refused, AccessError::Disabled { .. });
}

pub async fn a_renewed_token_is_the_only_one(rig: &Rig) {
    for name in ["ada", "bob"] {
        rig.access.create_principal(&principal(&default(), name)).await.unwrap();
    }
    let shop = workspace(&default(), "shop");
    rig.access.create_workspace(&shop).await.unwrap();
    let in_shop = |new| NewToken { workspace: Some("shop".into()), ..new };
    let all = [token("ada", 1), in_shop(token("ada", 2)), in_shop(token("bob", 3))];
    for new in &all {
        rig.access.create_token(&default(), new, at(3)).await.unwrap();
    }
    // By a clock that is behind.
    let made = rig.access.renew_token(&default(), &in_shop(token("ada", 4)), at(1)).await.unwrap();
    assert_eq!(made.workspace, Some(shop.id));
    let open = async |secret: u8| {
        let sha256 = token("ada", secret).sha256;
        rig.access.grant(&sha256, at(9)).await.unwrap().is_some()
    };
    let opens = [open(1).await, open(2).await, open(3).await, open(4).await];
    assert_eq!(opens, [true, false, true, true]);
    let mut tasks = JoinSet::new();
    for secret in 5..13 {
        let (access, new) = (rig.access.clone(), in_shop(token("ada", secret)));
        tasks.spawn(async move { access.renew_token(&default(), &new, at(5)).await.unwrap() });
    }
    tasks.join_all().await;
    let mut valid = 0;
    for secret in 4..13 {
        valid += u32::from(open(secret).await);
    }
    assert_eq!(valid, 1);
}

pub async fn tokens_that_are_over_are_forgotten(rig: &Rig) {
    rig.access.create_principal(&principal(&default(), "ada")).await.unwrap();
    let expiring = NewToken { expires_at: Some(at(10)), ..token("ada", 1) };
    for new in [expiring, token("ada", 2), token("ada", 3)] {
        rig.access.create_token(&default(), &new, at(3)).await.unwrap();
        if new.sha256 == token("ada", 2).sha256 {
            rig.access.revoke_token(&default(), &new.id, at(20)).await.unwrap();
        }
    }
    let left = async |time| {
        rig.jobs.forget(at(time) + TimeDelta::days(TOKEN_DAYS), 100).await.unwrap();
        rig.access.tokens(&default()).await.unwrap().len()
    };
    assert_eq!([left(10).await, left(11).await, left(20).await, left(21).await], [3, 2, 2, 1]);
    assert_eq!(left(1_000_000).await, 1);
}

pub async fn uses_are_noted_to_a_minute(rig: &Rig) {
    rig.access.create_principal(&principal(&default(), "ada")).await.unwrap();
    let new = token("ada", 1);
    rig.access.create_token(&default(), &new, at(0)).await.unwrap();
    let mut noted = Vec::new();
    for time in [5, 6, 64, 65, 66] {
        rig.access.grant(&new.sha256, at(time)).await.unwrap().unwrap();
        noted.push(rig.access.tokens(&default()).await.unwrap()[0].used_at);
    }
    assert_eq!(noted, [5, 5, 5, 65, 65].map(|time| Some(at(time))));
}

/// Two that start at once make one; whoever asks again is told the same.
pub async fn the_first_token_is_made_once(rig: &Rig) {
    let news: Vec<NewToken> =
        (0..4).map(|secret| NewToken { scopes: vec![Scope::Admin], ..token("", secret) }).collect();
    let mut tasks = JoinSet::new();
    for (n, new) in news.iter().cloned().enumerate() {
        let access = rig.access.clone();
        tasks.spawn(async move {
            (n, access.create_first_token(&PrincipalId::mint(), &new, at(1)).await.unwrap())
        });
    }
    let answers = tasks.join_all().await;
    let winners: Vec<usize> = answers.iter().filter(|(_, made)| *made).map(|(n, _)| *n).collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    let all = rig.access.tokens(&default()).await.unwrap();
    assert_eq!((all.len(), rig.access.principals(&default()).await.unwrap().len()), (1, 1));
    for (n, new) in news.iter().enumerate() {
        let made = rig.access.create_first_token(&PrincipalId::mint(), new, at(2)).await.unwrap();
        assert_eq!(made, winners.contains(&n));
        // Another process with the same text did not make it.
        let other = NewToken { id: TokenId::mint(), ..new.clone() };
        let made =
            rig.access.create_first_token(&PrincipalId::mint(), &other, at(2)).await.unwrap();
        assert!(!made);
    }
    assert_eq!(rig.access.tokens(&default()).await.unwrap(), all);
}

pub async fn changes_are_paged(rig: &Rig) {
    let mut ids = Vec::new();
    for n in 0..5 {
        let workspace = (n > 0).then(WorkspaceId::default_workspace);
        let new = NewAudit {
            id: AuditId::mint(at(n)),
            actor: Actor::Shell("ada".into()),
            organization: default(),
            workspace,
            action: "dataset.create".into(),
            target: format!("d{n}"),
            request: None,
        };
        rig.access.begin_audit(&new, at(n)).await.unwrap();
        ids.push(new.id);
    }
    rig.access.end_audit(&ids[2], "done", Some("made")).await.unwrap();
    rig.access.end_audit(&ids[3], "conflict", None).await.unwrap();
    let here = WorkspaceId::default_workspace();
    let page = async |workspace: Option<&WorkspaceId>, after: Option<&AuditId>| {
        rig.access.audits(&default(), workspace, (after, 3)).await.unwrap()
    };
    let first = page(Some(&here), None).await;
    assert_eq!(
        first.iter().map(|entry| &entry.id).collect::<Vec<_>>(),
        [&ids[1], &ids[2], &ids[3]]
    );
    assert_eq!((first[1].outcome.as_deref(), &*first[1].target), (Some("done"), "made"));
    assert_eq!((first[2].outcome.as_deref(), &*first[2].target), (Some("conflict"), "d3"));
    assert_eq!((first[0].outcome.as_ref(), first[0].time), (None, at(1)));
    let rest = page(Some(&here), Some(&ids[3])).await;
    assert_eq!(rest.iter().map(|entry| &entry.target).collect::<Vec<_>>(), ["d4"]);
    assert_eq!(page(None, None).await.len(), 1);
    let ids: BTreeSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), 5);
}
