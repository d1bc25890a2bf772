//! Which destinations a tenant may have.
//!
//! Contract: whatever kind is known, with the fields of that kind, except that a folder of this machine has to lie below one
//! of `export.roots`, as the system sees it: no symbolic link leads out; and that no address is named which may not be
//! called. The same is to be checked again when a destination is opened, because links can change, and what a name
//! stands for. The command line is the operator's and is not bound to this.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use export::destinations::{self, Error};
use model::ports::{BadPlace, PlaceRules};
use model::{Code, Fault, PortError};
use objects::Egress;

use crate::failed::Failed;

/// What destinations of tenants are checked by.
#[derive(Clone, Debug)]
pub(crate) struct TenantRules {
    /// Folders below which tenants may have files.
    roots: Vec<PathBuf>,
    /// The data folder, below which nobody may.
    data: PathBuf,
    /// What may be called besides public addresses.
    egress: Egress,
}

impl TenantRules {
    /// Takes the folders that the operator listed, and the data folder.
    pub(crate) fn new(roots: Vec<PathBuf>, data: PathBuf, egress: Egress) -> Result<Self, Failed> {
        match roots.iter().find(|root| root.is_relative()) {
            None => Ok(Self { roots, data, egress }),
            Some(root) => Err(Failed::request(format!(
                "`{}` under `export.roots` is no absolute path; write it from `/` on",
                root.display()
            ))),
        }
    }

    /// Returns what may be called besides public addresses.
    pub(crate) fn egress(&self) -> &Egress {
        &self.egress
    }

    /// Checks a place that was checked before: links may have changed, and so may the rules.
    pub(crate) async fn check_again(&self, url: &str) -> Result<String, PortError> {
        let (rules, url) = (self.clone(), url.to_owned());
        // Links are looked up on a disk.
        let checked = tokio::task::spawn_blocking(move || rules.check_url(&url));
        checked.await.expect("checking a path does not panic")
    }

    /// Returns the one text of a place that a tenant may use.
    pub(crate) fn check_url(&self, url: &str) -> Result<String, PortError> {
        // A tenant has no working folder: what is no URL is refused here.
        match destinations::local_path(url) {
            Err(Error::NotLocal { .. }) => {}
            Ok(path) => self.check_path(&path)?,
            Err(error) => return Err(error.into()),
        }
        Ok(destinations::canonical(url, Path::new("/"))?)
    }

    fn check_path(&self, path: &Path) -> Result<(), PortError> {
        let refused = || {
            let message = "folders of this machine are no destinations here; use one below a folder that the operator listed under `export.roots`, or an object store";
            PortError::new(Code::Forbidden, Fault::Request, message)
        };
        let real = real(path).map_err(|_| refused())?;
        let below =
            |root: &PathBuf| std::fs::canonicalize(root).is_ok_and(|root| real.starts_with(root));
        if !real.starts_with(&self.data) && self.roots.iter().any(below) {
            return Ok(());
        }
        Err(refused())
    }
}

/// Returns where a path leads: what of it is there without links, what is not there as it is written.
fn real(path: &Path) -> io::Result<PathBuf> {
    let mut missing: Vec<OsString> = Vec::new();
    let mut there = path;
    // A link that leads nowhere is there, and is refused when it is followed.
    while let Err(error) = there.symlink_metadata() {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(error);
        }
        let (Some(folder), Some(name)) = (there.parent(), there.file_name()) else {
            return Err(error);
        };
        missing.push(name.to_owned());
        there = folder;
    }
    let mut real = std::fs::canonicalize(there)?;
    real.extend(missing.iter().rev());
    Ok(real)
}

#[async_trait]
impl PlaceRules for TenantRules {
    async fn check(
        &self,
        url: &str,
        settings: &BTreeMap<String, String>,
        secrets: &BTreeSet<String>,
    ) -> Result<String, BadPlace> {
        let url = self.check_again(url).await;
        let url = url.map_err(|error| BadPlace { part: "url", error })?;
        match destinations::check(&url, settings, secrets, &self.egress) {
            Ok(()) => Ok(url),
            Err(error) => Err(BadPlace { part: error.part(), error: error.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_tenant_has_folders_below_the_roots_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| fs::canonicalize(dir.path()).expect("there").join(name);
        for folder in ["out/team", "outside", "data", "out/data"] {
            fs::create_dir_all(at(folder)).expect("made");
        }
        symlink(at("outside"), at("out/leads-out")).expect("linked");
        symlink(at("out/team"), at("out/leads-in")).expect("linked");
        symlink(at("nowhere"), at("out/leads-nowhere")).expect("linked");
        symlink(at("out"), at("root-link")).expect("linked");
        fs::write(at("out/file"), "").expect("written");
        let roots = vec![at("root-link"), at("gone")];
        let rules = TenantRules::new(roots, at("out/data"), Egress::default()).expect("absolute");
        let check = |name: &str| rules.check_url(&format!("file://{}", at(name).display()));
        for fine in
            ["out", "out/team", "out/new/er", "out/leads-in/new", "root-link/x", "out/a/../b"]
        {
            let checked = check(fine).unwrap_or_else(|e| panic!("{fine}: {e}"));
            assert!(checked.starts_with("file:///") && !checked.contains(".."), "{checked}");
        }
        for bad in [
            "outside",
            "outs",
            "out/leads-out",
            "out/leads-out/new",
            "out/leads-nowhere",
            "out/leads-nowhere/x",
            "out/../outside",
            "out/data",
            "out/data/lake/x",
            "gone/x",
            "out/file/x",
        ] {
            let error = check(bad).expect_err(bad);
            assert_eq!((error.code(), error.fault()), (Code::Forbidden, Fault::Request), "{bad}");
            assert!(!error.to_string().contains(dir.path().to_str().expect("text")), "{error}");
        }
        // Looked at again, after a link was put there.
        assert!(check("out/later").is_ok());
        symlink(at("outside"), at("out/later")).expect("linked");
        assert!(check("out/later").is_err());
    }

    #[test]
    fn without_roots_there_are_no_folders() {
        let rules = TenantRules::new(Vec::new(), "/data".into(), Egress::default()).expect("none");
        assert_eq!(rules.check_url("file:///tmp").expect_err("none").code(), Code::Forbidden);
        for bad in ["out", "/tmp", "gopher://x", "file://host/tmp", ""] {
            assert_eq!(rules.check_url(bad).expect_err(bad).code(), Code::Invalid, "{bad}");
        }
        assert!(TenantRules::new(vec!["out".into()], "/data".into(), Egress::default()).is_err());
    }
}
