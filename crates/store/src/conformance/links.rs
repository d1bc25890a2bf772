//! Cases of links: whose they are, how they end, how they are forgotten.

use model::link::{Closed, Link, LinkKey, NewLink};
use model::ports::AccessError;
use model::run::RunState;
use model::{LinkId, RunId, WorkspaceId};

use super::{Rig, at, refused, workspace};

/// A link made at a second, for ten.
fn new(run: &RunId, second: i64) -> NewLink {
    let link = Link {
        id: LinkId::mint(at(second)),
        workspace: workspace(),
        run: run.clone(),
        author: "somebody".into(),
        created_at: at(second),
        expires_at: at(second + 10),
        revoked_at: None,
    };
    NewLink { link, key: LinkKey::new([u8::try_from(second).unwrap(); 32]) }
}

async fn sealed(rig: &Rig) -> RunId {
    rig.commits(1).await;
    rig.run_in("e", RunState::Sealed).await.run
}

pub async fn a_link_reads_back_and_ends(rig: &Rig) {
    let new = new(&sealed(rig).await, 1);
    let id = &new.link.id;
    rig.links.create_link(&new).await.unwrap();
    let open = rig.links.open_link(id).await.unwrap().unwrap();
    assert_eq!((&open.link, &open.key), (&new.link, &new.key));
    let organization = rig.access.workspace(&open.organization, workspace().as_str()).await;
    assert_eq!(organization.unwrap().id, workspace());
    assert_eq!(rig.links.link(&workspace(), id).await.unwrap(), new.link);
    assert_eq!((open.link.closed(at(10)), open.link.closed(at(11))), (None, Some(Closed::Expired)));
    let revoked = rig.links.revoke_link(&workspace(), id, at(3)).await.unwrap();
    assert_eq!((revoked.revoked_at, revoked.closed(at(1))), (Some(at(3)), Some(Closed::Revoked)));
    assert_eq!(rig.links.revoke_link(&workspace(), id, at(4)).await.unwrap(), revoked);
    assert_eq!(rig.links.open_link(id).await.unwrap().unwrap().link, revoked);
    assert!(rig.links.open_link(&LinkId::new("ln_none")).await.unwrap().is_none());
}

pub async fn a_link_is_of_a_run_of_its_workspace(rig: &Rig) {
    let run = sealed(rig).await;
    let lost = new(&RunId::new("none"), 1);
    refused!(rig.links.create_link(&lost).await, AccessError::NotFound { what: "run", .. });
    let elsewhere = WorkspaceId::new("elsewhere");
    let mut theirs = new(&run, 1);
    theirs.link.workspace = elsewhere.clone();
    refused!(rig.links.create_link(&theirs).await, AccessError::NotFound { what: "run", .. });
    let ours = new(&run, 1);
    rig.links.create_link(&ours).await.unwrap();
    let id = &ours.link.id;
    refused!(rig.links.link(&elsewhere, id).await, AccessError::NotFound { what: "link", .. });
    refused!(
        rig.links.revoke_link(&elsewhere, id, at(2)).await,
        AccessError::NotFound { what: "link", .. }
    );
    assert_eq!(rig.links.links(&elsewhere, None, 9).await.unwrap(), []);
    assert_eq!(rig.links.link(&workspace(), id).await.unwrap().revoked_at, None);
}

pub async fn links_are_paged_and_forgotten(rig: &Rig) {
    let run = sealed(rig).await;
    for second in 1..=5 {
        rig.links.create_link(&new(&run, second)).await.unwrap();
    }
    let page = async |before: Option<&LinkId>| {
        let found = rig.links.links(&workspace(), before, 2).await.unwrap();
        found.into_iter().map(|link| (link.created_at, link.id)).unzip()
    };
    let (times, ids): (Vec<_>, Vec<_>) = page(None).await;
    assert_eq!(times, [at(5), at(4)]);
    assert_eq!(page(ids.last()).await.0, [at(3), at(2)]);
    // Those that ended before: 11, 12 and 13.
    assert_eq!(rig.links.forget_links(at(14), 2).await.unwrap(), 2);
    assert_eq!(rig.links.forget_links(at(14), 2).await.unwrap(), 1);
    assert_eq!(rig.links.forget_links(at(14), 2).await.unwrap(), 0);
    assert_eq!(rig.links.links(&workspace(), None, 9).await.unwrap().len(), 2);
}
