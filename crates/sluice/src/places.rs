//! Where runs deliver: the operator's URLs, and the managed destination of each workspace.
//!
//! Contract: a command may deliver wherever the operator may write. Over HTTP a workspace delivers to its managed
//! destination alone, a folder of its own below `DIR/managed`.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use export::destinations;
use model::ports::Objects;
use model::{Code, Fault, PortError, WorkspaceId};
use objects::Local;
use run::Destinations;

/// The URL of a managed destination; whose it is says the run.
const MANAGED: &str = "managed:///";

/// What a request calls it.
const MANAGED_NAME: &str = "managed";

/// Opens destinations.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    managed: PathBuf,
    who: Who,
}

/// Who asks for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Whoever runs commands.
    Operator,
    /// Whoever holds a token.
    Tenant,
}

impl Places {
    /// Keeps managed destinations below a folder.
    pub(crate) fn new(managed: PathBuf, who: Who) -> Self {
        Self { managed, who }
    }

    /// Returns the folder of a destination.
    pub(crate) fn local_path(
        &self,
        workspace: &WorkspaceId,
        url: &str,
    ) -> Result<PathBuf, PortError> {
        if !self.is_managed(url) {
            return Ok(destinations::local_path(url)?);
        }
        let name = workspace.as_str();
        // Minted by us, but a path is made of it.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if name.is_empty() || !name.bytes().all(is_plain) {
            let message = format!("the workspace `{name}` cannot have a folder");
            return Err(PortError::new(Code::Internal, Fault::Own, message));
        }
        Ok(self.managed.join(name))
    }

    /// Refuses a place that is not for tenants.
    fn check(&self, url: &str) -> Result<(), PortError> {
        if self.who == Who::Operator || self.is_managed(url) {
            return Ok(());
        }
        let message =
            "runs of this workspace deliver to `managed` alone; leave the destination out";
        Err(PortError::new(Code::Invalid, Fault::Request, message))
    }
}

#[async_trait]
impl Destinations for Places {
    async fn resolve(&self, _: &WorkspaceId, named: &str) -> Result<String, PortError> {
        let url = if named == MANAGED_NAME { MANAGED } else { named };
        self.check(url)?;
        Ok(url.to_owned())
    }

    fn is_managed(&self, url: &str) -> bool {
        url == MANAGED
    }

    async fn open(
        &self,
        workspace: &WorkspaceId,
        url: &str,
    ) -> Result<Arc<dyn Objects>, PortError> {
        self.check(url)?;
        if self.is_managed(url) {
            return Ok(Arc::new(Local::new(self.local_path(workspace, url)?)));
        }
        Ok(destinations::open(url)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(who: Who) -> Places {
        Places::new("/data/managed".into(), who)
    }

    #[tokio::test]
    async fn a_tenant_delivers_to_the_managed_destination_alone() {
        let (places, workspace) = (places(Who::Tenant), WorkspaceId::new("ws_1"));
        let url = places.resolve(&workspace, "managed").await.expect("allowed");
        assert!(places.is_managed(&url));
        places.open(&workspace, &url).await.expect("opened");
        for other in ["file:///etc", "/etc", "managed:///../x", "managed:", "", "s3://b/c"] {
            let refused = places.resolve(&workspace, other).await.expect_err(other);
            assert_eq!(refused.code(), Code::Invalid);
            places.open(&workspace, other).await.expect_err(other);
        }
    }

    #[test]
    fn each_workspace_has_a_folder_of_its_own() {
        let path = |id| places(Who::Operator).local_path(&WorkspaceId::new(id), MANAGED);
        assert_eq!(path("ws_1").expect("plain"), PathBuf::from("/data/managed/ws_1"));
        for bad in ["", "..", "a/b", "a\0"] {
            path(bad).expect_err(bad);
        }
    }
}
