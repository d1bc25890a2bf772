//! Folders of this machine, as paths or `file://` URLs.
//!
//! Contract: a path and its URL are one to one, whatever bytes are in it. `..` means what the system
//! means by it: behind a symbolic link it leaves the folder that the link points to.

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use model::ports::Objects;
use objects::{Egress, Local};
use url::Url;

use super::{Destination, Error, Kind, Place, parse};

/// Local folders, described as data.
pub(super) static KIND: Kind = Kind {
    name: "local",
    summary: "a folder of this machine",
    schemes: &["file"],
    fields: &[],
    destination: &Folder,
};

#[derive(Debug)]
struct Folder;

impl Destination for Folder {
    fn canonical(&self, url: &str) -> Result<String, Error> {
        url_of(&path_of(&parse(url)?)?).map(String::from)
    }

    fn open(&self, place: &Place, _: &Egress) -> Result<Arc<dyn Objects>, Error> {
        Ok(Arc::new(Local::new(path_of(&parse(&place.url)?)?)))
    }
}

/// Returns the URL of an absolute path, made plain.
pub(super) fn url_of(path: &Path) -> Result<Url, Error> {
    let bad = || Error::Path { path: path.display().to_string() };
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(bad());
    }
    Url::from_file_path(plain(path)).map_err(|()| bad())
}

/// Returns the path of a `file://` URL.
pub(super) fn path_of(url: &Url) -> Result<PathBuf, Error> {
    if let Some(host) = url.host_str().filter(|host| *host != "localhost") {
        return Err(Error::Host { host: host.to_owned() });
    }
    let signs = [(url.query(), '?', "%3F"), (url.fragment(), '#', "%23")];
    if let Some((_, sign, written)) = signs.into_iter().find(|(part, ..)| part.is_some()) {
        return Err(Error::Sign { url: url.to_string(), sign, written });
    }
    let bad = || Error::Path { path: url.path().to_owned() };
    let path = url.to_file_path().map_err(|()| bad())?;
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(bad());
    }
    Ok(plain(&path))
}

/// Removes `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                if out.is_symlink() {
                    // What cannot be followed has no other meaning than its name.
                    out = out.canonicalize().unwrap_or(out);
                }
                out.pop();
            }
            Component::CurDir => {}
            other => out.push(other),
        }
    }
    out
}
