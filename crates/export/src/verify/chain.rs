//! From a manifest to the one before it.

use std::collections::HashSet;
use std::io;
use std::path::{Component, Path, PathBuf};

use model::limits::CHAIN_MAX;
use model::manifest::{FILE_NAME, Previous};

use super::Error;
use super::manifest::Sealed;
use super::report::{Difference, Kind, Report};

/// The manifests met so far.
#[derive(Default)]
pub(super) struct Walk {
    seen: HashSet<PathBuf>,
}

impl Walk {
    /// Goes to the predecessor of a manifest; none at the beginning, or where it cannot go on.
    ///
    /// Shape: a predecessor that was changed is gone to, so that the rest of the chain is checked too.
    pub(super) fn back(&mut self, here: &Sealed, report: &mut Report) -> Option<Sealed> {
        self.seen.insert(here.real.clone());
        let alone = here.manifest.stands_alone();
        let Some(previous) = &here.manifest.previous else {
            let begins = here.manifest.begins_after.unwrap_or_default();
            if here.manifest.from_commit != begins && !alone {
                let found =
                    format!("`from_commit` {} and no `previous`", here.manifest.from_commit);
                let expected = format!("a first manifest from commit {begins}");
                report.differ(differs(here, Kind::ChainStart, &expected, found));
            }
            return None;
        };
        if alone {
            let found = format!("`{}`", previous.path.escape_debug());
            report.differ(differs(here, Kind::StandsAlone, "a `previous` of null", found));
        }
        match self.open(here, previous) {
            Ok(before) => {
                for difference in join(here, previous, &before) {
                    report.differ(difference);
                }
                Some(before)
            }
            Err(difference) => {
                report.differ(difference);
                None
            }
        }
    }

    fn open(&self, here: &Sealed, previous: &Previous) -> Result<Sealed, Difference> {
        let differ =
            |kind, expected: &str, found: String| Err(differs(here, kind, expected, found));
        let path = format!("`{}`", previous.path.escape_debug());
        if !is_manifest_path(&previous.path) {
            return differ(Kind::PredecessorPath, "a relative path to a `manifest.json`", path);
        }
        if self.seen.len() >= CHAIN_MAX {
            let most = format!("at most {CHAIN_MAX} manifests");
            return differ(Kind::ChainLength, &most, "one more".into());
        }
        let real = match here.folder().join(&previous.path).canonicalize() {
            Ok(real) => real,
            Err(error) => {
                let kind = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                        return differ(Kind::PredecessorMissing, &path, "nothing".into());
                    }
                    kind => kind.to_string(),
                };
                return differ(Kind::PredecessorUnreadable, &path, kind);
            }
        };
        if self.seen.contains(&real) {
            return differ(Kind::Loop, "a manifest not met before", path);
        }
        let shown = here.shown.parent().unwrap_or_else(|| Path::new("")).join(&previous.path);
        match Sealed::read_real(real, &plain(&shown)) {
            Ok(before) => Ok(before),
            Err(Error::Missing { .. }) => differ(Kind::PredecessorMissing, &path, "nothing".into()),
            Err(error) => differ(Kind::PredecessorUnreadable, "a manifest", error.to_string()),
        }
    }
}

/// Checks that two manifests belong one behind the other.
fn join(here: &Sealed, previous: &Previous, before: &Sealed) -> Vec<Difference> {
    let mut out = Vec::new();
    let mut differ = |kind, expected: String, found: String| {
        if expected != found {
            out.push(differs(here, kind, &expected, found));
        }
    };
    let quoted = |text: &str| format!("`{}`", text.escape_debug());
    let export =
        |sealed: &Sealed| sealed.manifest.export.as_deref().map_or_else(|| "none".into(), quoted);
    differ(Kind::PredecessorSha256, quoted(&previous.sha256), quoted(&before.sha256));
    let run = quoted(before.manifest.run.as_str());
    differ(Kind::PredecessorRun, quoted(previous.run.as_str()), run);
    differ(Kind::PredecessorExport, export(here), export(before));
    let begins = format!("a predecessor up to commit {}", here.manifest.from_commit);
    let ends = format!("a predecessor up to commit {}", before.manifest.to_commit);
    differ(Kind::NotAdjoining, begins, ends);
    if before.manifest.again {
        let link = "a predecessor that moved the export's cursor";
        let found = "one that delivers a range `again`".into();
        out.push(differs(here, Kind::StandsAlone, link, found));
    }
    out
}

fn differs(here: &Sealed, kind: Kind, expected: &str, found: String) -> Difference {
    let manifest = here.shown.clone();
    Difference { manifest, file: None, kind, expected: expected.to_owned(), found }
}

/// Returns whether a path may be a predecessor's: runs of one export lie side by side, so it may go up.
fn is_manifest_path(path: &str) -> bool {
    let path = Path::new(path);
    let relative = path.components().all(|part| {
        matches!(part, Component::Normal(_) | Component::ParentDir | Component::CurDir)
    });
    relative && path.file_name().is_some_and(|name| name == FILE_NAME)
}

/// Shortens `a/../b` to `b`, for people only.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        let above = matches!(out.components().next_back(), Some(Component::Normal(_)));
        if part == Component::ParentDir && above {
            out.pop();
        } else {
            out.push(part);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predecessor_is_a_manifest_somewhere_near() {
        for path in ["manifest.json", "../r1/manifest.json", "../../x/r1/manifest.json"] {
            assert!(is_manifest_path(path), "{path}");
        }
        for path in ["", "..", "/r1/manifest.json", "../r1/other.json", "manifest.json/.."] {
            assert!(!is_manifest_path(path), "{path}");
        }
    }

    #[test]
    fn paths_are_shown_short() {
        let short = |path: &str| plain(Path::new(path)).to_string_lossy().into_owned();
        assert_eq!(short("out/r2/../r1/manifest.json"), "out/r1/manifest.json");
        assert_eq!(short("../r1/../r0/manifest.json"), "../r0/manifest.json");
        assert_eq!(short("../../r1"), "../../r1");
        assert_eq!(short("/a/../b"), "/b");
    }
}
