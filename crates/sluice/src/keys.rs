//! Where the keys of secrets come from.
//!
//! Contract: `secrets.key` of the configuration goes before `secrets.key_file`, and that before the data folder's
//! own `secrets.key`, which is there for the folder's own database alone: whoever shares a database shares keys, and
//! has to say where they are. The own file is made on first need; files are read at each use, because a rotation in
//! another process changes them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use store::{FixedKeys, Key, KeyRing, Keys, KeysError};

use crate::config::Secrets;
use crate::durable;
use crate::failed::Failed;

/// The setting that holds keys.
const SETTING: &str = "secrets.key";

/// The keys of this process.
#[derive(Clone, Debug)]
pub(crate) enum KeyPlace {
    /// The data folder's own, which this program makes and rotates.
    Own(OwnKeys),
    /// Somebody else's to make and to take away.
    Given(Arc<dyn Keys>),
}

impl KeyPlace {
    /// Finds the keys; `own` is the folder's own file, where that may be used. What is given is read once, so that a
    /// wrong path shows at the start.
    pub(crate) fn find(given: &Secrets, own: Option<OwnKeys>) -> Result<Self, Failed> {
        let keys: Arc<dyn Keys> = match (given, own) {
            (Secrets { key, .. }, _) if !key.is_empty() => {
                Arc::new(FixedKeys(parse(SETTING, key)?))
            }
            (Secrets { key_file, .. }, _) if !key_file.as_os_str().is_empty() => {
                Arc::new(KeyFile(key_file.clone()))
            }
            (_, Some(own)) => return Ok(Self::Own(own)),
            (_, None) => return Ok(Self::Given(Arc::new(FixedKeys::default()))),
        };
        keys.read()?;
        Ok(Self::Given(keys))
    }

    /// Returns the keys for the store.
    pub(crate) fn keys(&self) -> Arc<dyn Keys> {
        match self {
            Self::Own(own) => Arc::new(own.clone()),
            Self::Given(keys) => Arc::clone(keys),
        }
    }
}

/// Reads keys where there has to be one.
fn parse(place: &str, text: &str) -> Result<KeyRing, KeysError> {
    match KeyRing::parse(text) {
        Ok(ring) if ring.keys().is_empty() => Err(KeysError::Empty { place: place.into() }),
        Ok(ring) => Ok(ring),
        Err(number) => Err(KeysError::Text { place: place.into(), number }),
    }
}

/// A file that somebody else keeps.
#[derive(Debug)]
struct KeyFile(PathBuf);

impl Keys for KeyFile {
    fn read(&self) -> Result<KeyRing, KeysError> {
        let text = fs::read_to_string(&self.0).map_err(|source| failed(&self.0, source))?;
        parse(&self.0.display().to_string(), &text)
    }

    fn make(&self) -> Result<KeyRing, KeysError> {
        self.read()
    }
}

fn failed(path: &Path, source: io::Error) -> KeysError {
    KeysError::File { path: path.to_owned(), source }
}

/// The data folder's own keys.
#[derive(Clone, Debug)]
pub(crate) struct OwnKeys {
    /// Where they are.
    pub(crate) path: PathBuf,
    /// Locked by whoever rotates them.
    pub(crate) lock: PathBuf,
}

impl Keys for OwnKeys {
    fn read(&self) -> Result<KeyRing, KeysError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => parse(&self.path.display().to_string(), &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(KeyRing::default()),
            Err(error) => Err(failed(&self.path, error)),
        }
    }

    fn make(&self) -> Result<KeyRing, KeysError> {
        if self.path.exists() {
            return self.read();
        }
        let key = Key::random()?;
        let text = durable::kept(&self.path, &key.reveal());
        let text = text.map_err(|source| failed(&self.path, source))?;
        parse(&self.path.display().to_string(), &text)
    }
}

impl OwnKeys {
    /// Keeps other rotations away until what is returned is dropped, or the process ends.
    pub(crate) fn hold(&self) -> Result<File, KeysError> {
        let open = || {
            let file = File::options().create(true).truncate(false).write(true).open(&self.lock)?;
            file.lock()?;
            Ok(file)
        };
        open().map_err(|source| failed(&self.lock, source))
    }

    /// Returns the keys with a new one before them; those of a rotation that was broken off as they are.
    pub(crate) fn renew(&self) -> Result<KeyRing, KeysError> {
        let ring = self.make()?;
        if ring.keys().len() > 1 {
            return Ok(ring);
        }
        let ring = KeyRing::new([Key::random()?].into_iter().chain(ring.keys().iter().cloned()));
        self.write(ring.keys())?;
        Ok(ring)
    }

    /// Forgets every key but one.
    pub(crate) fn keep(&self, id: &str) -> Result<(), KeysError> {
        let ring = self.read()?;
        let kept: Vec<Key> = ring.get(id).into_iter().cloned().collect();
        self.write(&kept)
    }

    fn write(&self, keys: &[Key]) -> Result<(), KeysError> {
        let lines: Vec<String> = keys.iter().map(Key::reveal).collect();
        durable::replace(&self.path, &lines).map_err(|source| failed(&self.path, source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_keys_are_made_renewed_and_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = OwnKeys { path: dir.path().join("secrets.key"), lock: dir.path().join("lock") };
        assert_eq!(own.read().expect("none"), KeyRing::default());
        assert!(!own.path.exists(), "reading makes none");
        let first = own.make().expect("made");
        assert_eq!((first.keys().len(), own.make().expect("there")), (1, first.clone()));
        let _held = own.hold().expect("held");
        let both = own.renew().expect("renewed");
        assert_eq!((both.keys().len(), &both.keys()[1]), (2, &first.keys()[0]));
        assert_eq!(own.renew().expect("broken off"), both, "it is taken up");
        own.keep(both.keys()[0].id()).expect("kept");
        assert_eq!(own.read().expect("there").keys(), &both.keys()[..1]);
    }

    #[test]
    fn a_key_that_is_given_is_looked_at_and_not_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("keys");
        let given = Secrets { key_file: path.clone(), ..Secrets::default() };
        let find = || KeyPlace::find(&given, None).map(|place| place.keys().read());
        let refused = |word: &str| {
            let text = find().expect_err("refused").message().to_owned();
            assert!(
                text.contains(word) && text.contains("keys") && !text.contains("canary"),
                "{text}"
            );
        };
        refused("cannot be used");
        fs::write(&path, "# none\n").expect("written");
        refused("no key in");
        fs::write(&path, "canary").expect("written");
        refused("number 1");
        fs::write(&path, "ab".repeat(32)).expect("written");
        let ring = find().expect("found").expect("read");
        assert_eq!(ring.keys().len(), 1);
    }
}
