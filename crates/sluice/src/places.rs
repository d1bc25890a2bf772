//! Where runs deliver: the operator's URLs, named destinations, and the managed destination of each workspace.
//!
//! Contract: a command may deliver wherever the operator may write, and what a URL does not say is taken from the
//! environment. Over HTTP a workspace delivers to its managed destination or to one that it has a name for, by the rules
//! for tenants, which are looked at again each time. A managed destination is a folder of its own beside the lake's
//! data files, in the data folder or in the bucket. A dataset of the workspace is a destination for both.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use export::destinations::{self, Place};
use model::into::IntoDataset;
use model::ports::{Objects, Places as Named};
use model::{Code, Fault, PortError, WorkspaceId};
use objects::{Egress, Local, Veiled};
use run::Destinations;

use crate::rules::TenantRules;

/// The URL of a managed destination; whose it is says the run.
const MANAGED: &str = "managed:///";

/// What a request calls it.
const MANAGED_NAME: &str = "managed";

/// What the name of a destination stands behind.
const NAMED: &str = "destination:";

/// Opens destinations.
#[derive(Clone)]
pub(crate) struct Places {
    /// Destinations by name.
    pub(crate) named: Arc<dyn Named>,
    /// What those have to keep to.
    pub(crate) rules: TenantRules,
    /// Where files lie that the server keeps.
    pub(crate) files: Files,
    /// Who asks.
    pub(crate) who: Who,
}

/// Where files lie that the server keeps: the lake's, and those of managed destinations, a folder for each workspace.
#[derive(Clone, Debug)]
pub(crate) enum Files {
    /// On this machine.
    Folders {
        /// All managed destinations.
        managed: PathBuf,
        /// The lake.
        lake: PathBuf,
    },
    /// In the place of the lake.
    Bucket(Place),
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
    /// Returns the folder of a destination; `None` for one that is not on this machine, or only by its name.
    pub(crate) fn local_path(
        &self,
        workspace: &WorkspaceId,
        url: &str,
    ) -> Result<Option<PathBuf>, PortError> {
        match (&self.files, url) {
            (Files::Folders { managed, .. }, MANAGED) => Ok(Some(managed.join(folder(workspace)?))),
            (_, url) if is_within(url) => Ok(None),
            _ => match destinations::local_path(url) {
                Ok(path) => Ok(Some(path)),
                Err(destinations::Error::NotLocal { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Refuses a URL of a tenant's: places are named there.
    fn check(&self, url: &str) -> Result<(), PortError> {
        if self.who == Who::Operator || is_within(url) {
            return Ok(());
        }
        let message = "a run delivers to `managed`, to `destination:` and the name of a destination, or to `dataset:` and the name of a dataset; make a destination with the URL";
        Err(PortError::new(Code::Invalid, Fault::Request, message))
    }

    /// Veiled, because whoever reads why a run failed need not know where the server keeps its files.
    fn open_managed(&self, workspace: &WorkspaceId) -> Result<Arc<dyn Objects>, PortError> {
        let folder = folder(workspace)?;
        let objects: Arc<dyn Objects> = match &self.files {
            Files::Folders { managed, .. } => Arc::new(Local::new(managed.join(folder))),
            Files::Bucket(lake) => below(lake, &format!("managed/{folder}"))?,
        };
        Ok(Arc::new(Veiled::new(objects)))
    }

    /// Where the lake takes what runs deliver into datasets; as little of it is told.
    fn open_lake(&self, workspace: &WorkspaceId) -> Result<Arc<dyn Objects>, PortError> {
        folder(workspace)?;
        let folder = IntoDataset::folder(workspace);
        let objects: Arc<dyn Objects> = match &self.files {
            Files::Folders { lake, .. } => Arc::new(Local::new(lake.join(folder))),
            Files::Bucket(lake) => below(lake, &folder)?,
        };
        Ok(Arc::new(Veiled::new(objects)))
    }

    async fn open_named(
        &self,
        workspace: &WorkspaceId,
        name: &str,
    ) -> Result<Arc<dyn Objects>, PortError> {
        let open = self.named.open_destination(workspace, name).await?;
        let url = self.rules.check_again(&open.destination.url).await?;
        let (settings, secrets) = (open.destination.settings, open.secrets);
        Ok(destinations::open(&Place { url, settings, secrets }, self.rules.egress())?)
    }
}

/// Returns whether a URL names a place of the workspace's own.
fn is_within(url: &str) -> bool {
    url == MANAGED || url.starts_with(NAMED) || IntoDataset::of(url).is_some()
}

/// Opens a folder of the bucket in which the lake is.
fn below(lake: &Place, folder: &str) -> Result<Arc<dyn Objects>, PortError> {
    let url = format!("{}/{folder}", lake.url.trim_end_matches('/'));
    Ok(destinations::open(&Place { url, ..lake.clone() }, &Egress::everywhere())?)
}

/// Returns the folder of a workspace: minted by us, but a path is made of it.
fn folder(workspace: &WorkspaceId) -> Result<&str, PortError> {
    let name = workspace.as_str();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(is_plain) {
        return Ok(name);
    }
    let message = format!("the workspace `{name}` cannot have a folder");
    Err(PortError::new(Code::Internal, Fault::Own, message))
}

#[async_trait]
impl Destinations for Places {
    async fn resolve(&self, workspace: &WorkspaceId, named: &str) -> Result<String, PortError> {
        if let Some(into) = IntoDataset::parse(named) {
            return Ok(into?.to_string());
        }
        let url = if named == MANAGED_NAME { MANAGED } else { named };
        self.check(url)?;
        if let Some(name) = url.strip_prefix(NAMED) {
            // What is not there is told at once.
            self.named.destination(workspace, name).await?;
        }
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
        if url == MANAGED {
            return self.open_managed(workspace);
        }
        if let Some(name) = url.strip_prefix(NAMED) {
            return self.open_named(workspace, name).await;
        }
        if IntoDataset::of(url).is_some() {
            return self.open_lake(workspace);
        }
        let place = Place::from_environment(url, |name| std::env::var(name).ok())?;
        Ok(destinations::open(&place, &Egress::everywhere())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_of_a_plain_id_alone() {
        assert_eq!(folder(&WorkspaceId::new("ws_1")).expect("plain"), "ws_1");
        for bad in ["", "..", "a/b", "a\0"] {
            folder(&WorkspaceId::new(bad)).expect_err(bad);
        }
    }
}
