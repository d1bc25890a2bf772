//! Cases of documents: what a write is built on, races, tenants.

use model::WorkspaceId;
use model::document::{Basis, NewDocument};
use model::ports::DocumentError;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Rig, at, refused, workspace};

/// Writers at once.
const WRITERS: usize = 6;

fn document(id: &str, etag: &str, body: serde_json::Value) -> NewDocument {
    NewDocument {
        kind: "policy".into(),
        id: id.into(),
        body,
        etag: etag.into(),
        author: "somebody".into(),
    }
}

pub async fn a_write_says_what_it_is_built_on(rig: &Rig) {
    let write = async |etag: &str, basis: Basis| {
        let new = document("a", etag, json!({ "tag": etag }));
        rig.documents.write_document(&workspace(), &new, &basis, at(1)).await
    };
    let seen = |etag: &str| Basis::Etag(etag.into());
    refused!(write("1", seen("0")).await, DocumentError::NotFound { .. });
    refused!(write("1", Basis::Anything).await, DocumentError::NotFound { .. });
    let first = write("1", Basis::Nothing).await.unwrap();
    assert_eq!((first.body, first.created_at), (json!({ "tag": "1" }), at(1)));
    refused!(write("2", Basis::Nothing).await, DocumentError::Exists { .. });
    refused!(write("2", seen("0")).await, DocumentError::Changed { .. });
    assert_eq!(write("2", seen("1")).await.unwrap().etag, "2");
    assert_eq!(write("3", Basis::Anything).await.unwrap().etag, "3");
    let remove = async |basis: Basis| {
        rig.documents.remove_document(&workspace(), ("policy", "a"), &basis).await
    };
    refused!(remove(seen("2")).await, DocumentError::Changed { .. });
    remove(seen("3")).await.unwrap();
    refused!(remove(seen("3")).await, DocumentError::NotFound { .. });
    refused!(
        rig.documents.document(&workspace(), "policy", "a").await,
        DocumentError::NotFound { .. }
    );
}

pub async fn of_two_writes_on_one_basis_one_is_made(rig: &Rig) {
    for basis in [Basis::Nothing, Basis::Etag("0".into())] {
        if basis != Basis::Nothing {
            let new = document("a", "0", json!(0));
            let anything = Basis::Anything;
            rig.documents.write_document(&workspace(), &new, &anything, at(1)).await.unwrap();
        }
        let mut tasks = JoinSet::new();
        for writer in 1..=WRITERS {
            let (documents, basis) = (rig.documents.clone(), basis.clone());
            let new = document("a", &writer.to_string(), json!(writer));
            tasks.spawn(async move {
                documents.write_document(&workspace(), &new, &basis, at(2)).await
            });
        }
        let mut won = Vec::new();
        while let Some(outcome) = tasks.join_next().await {
            match outcome.unwrap() {
                Ok(document) => won.push(document),
                Err(DocumentError::Exists { .. } | DocumentError::Changed { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(won.len(), 1);
        let is = rig.documents.document(&workspace(), "policy", "a").await.unwrap();
        assert_eq!(is, won[0]);
    }
}

pub async fn documents_are_paged_and_of_their_workspace(rig: &Rig) {
    for id in ["b", "a", "c"] {
        let new = document(id, id, json!([id, "ä\u{1}"]));
        rig.documents.write_document(&workspace(), &new, &Basis::Nothing, at(1)).await.unwrap();
    }
    let page = async |space: &WorkspaceId, kind: &str, after: Option<&str>| {
        let page = rig.documents.documents(space, kind, after, 2).await.unwrap();
        page.into_iter().map(|document| document.id).collect::<Vec<_>>()
    };
    assert_eq!(page(&workspace(), "policy", None).await, ["a", "b"]);
    assert_eq!(page(&workspace(), "policy", Some("b")).await, ["c"]);
    assert!(page(&workspace(), "schema", None).await.is_empty());
    assert!(page(&WorkspaceId::new("elsewhere"), "policy", None).await.is_empty());
    let elsewhere = WorkspaceId::new("elsewhere");
    refused!(
        rig.documents.document(&elsewhere, "policy", "a").await,
        DocumentError::NotFound { .. }
    );
}
