//! Secrets at rest: sealed by AES-256-GCM under keys that the database does not hold.
//!
//! Contract: what is sealed opens only for the same workspace, destination and field, under the same key, and only if
//! no bit of it was changed. Keys and secrets appear in no message and no `Debug`. Nonces are random, which is safe
//! for some billion secrets a key; a rotation starts anew. The length of a secret is not hidden from whoever has the database.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use model::ports::PlaceError;
use model::{Code, DestinationId, Failure, Fault, SecretText, WorkspaceId, digest};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Hex digits of a key's id: it tells some keys apart, and is not what keeps them secret.
const ID_DIGITS: usize = 16;

/// Goes into a key's id before the key, so that no other use of SHA-256 gives the same.
const ID_CONTEXT: &[u8] = b"sluice key\0";

/// Goes first into what a secret is bound to; another layout gets another one.
const SEAL_CONTEXT: &str = "sluice secret 1";

/// Where keys come from.
///
/// They are asked for at each use, so that a server notices a key that was added or taken away.
pub trait Keys: Send + Sync + fmt::Debug {
    /// Returns the keys that are there now, which may be none.
    fn read(&self) -> Result<KeyRing, KeysError>;

    /// Returns the keys; makes the first one where there is none and that is for the program to do.
    fn make(&self) -> Result<KeyRing, KeysError>;
}

/// Keys that never change; without one, secrets are refused.
#[derive(Clone, Debug, Default)]
pub struct FixedKeys(pub KeyRing);

impl Keys for FixedKeys {
    fn read(&self) -> Result<KeyRing, KeysError> {
        Ok(self.0.clone())
    }

    fn make(&self) -> Result<KeyRing, KeysError> {
        self.read()
    }
}

/// A key that seals secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: String,
    bytes: [u8; KEY_BYTES],
}

impl Key {
    /// Makes a key of random bits of the system's.
    pub fn random() -> Result<Self, KeysError> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeysError::Random)?;
        Ok(Self::from_random(bytes))
    }

    /// Makes a key of 256 bits that are random.
    pub fn from_random(bytes: [u8; KEY_BYTES]) -> Self {
        let mut id = digest::sha256_hex(&[ID_CONTEXT, &bytes].concat());
        id.truncate(ID_DIGITS);
        Self { id, bytes }
    }

    /// Returns what the database calls it; no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the key as it stands in a file.
    pub fn reveal(&self) -> String {
        digest::hex(&self.bytes)
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&AES_256_GCM, &self.bytes);
        LessSafeKey::new(key.expect("a key has the length that the cipher takes"))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

/// Keys, of which the first is the newest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRing(Vec<Key>);

impl KeyRing {
    /// Makes a ring of keys; the first is the newest.
    pub fn new(keys: impl IntoIterator<Item = Key>) -> Self {
        let mut ring = Self::default();
        for key in keys {
            if ring.get(key.id()).is_none() {
                ring.0.push(key);
            }
        }
        ring
    }

    /// Reads keys from a text.
    ///
    /// Shape: 32 bytes each, as 64 hex digits or as base64, with white space or commas between; a line that begins with
    /// `#` is not read.
    ///
    /// # Errors
    ///
    /// The number of the key, from 1, that is none.
    ///
    /// ```
    /// use store::KeyRing;
    /// let ring = KeyRing::parse(&format!("# newest first\n{}\n", "0f".repeat(32))).expect("a key");
    /// assert_eq!(ring.keys().len(), 1);
    /// assert_eq!(KeyRing::parse("secret"), Err(1));
    /// ```
    pub fn parse(text: &str) -> Result<Self, usize> {
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == ','));
        let words = words.filter(|word| !word.is_empty()).enumerate();
        let keys: Result<Vec<_>, _> =
            words.map(|(at, word)| key(word).map(Key::from_random).ok_or(at + 1)).collect();
        Ok(Self::new(keys?))
    }

    /// Returns every key, newest first.
    pub fn keys(&self) -> &[Key] {
        &self.0
    }

    /// Returns the key of an id.
    pub fn get(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }
}

fn key(word: &str) -> Option<[u8; KEY_BYTES]> {
    let is_hex = word.len() == 2 * KEY_BYTES && word.bytes().all(|c| c.is_ascii_hexdigit());
    let bytes = if is_hex {
        let pair = |at: usize| u8::from_str_radix(&word[at..at + 2], 16).ok();
        (0..word.len()).step_by(2).map(pair).collect::<Option<Vec<_>>>()?
    } else {
        STANDARD.decode(word).or_else(|_| URL_SAFE.decode(word)).ok()?
    };
    bytes.try_into().ok()
}

/// Why keys cannot be read or made. No message holds a part of one.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read or written.
    #[error("the keys of secrets in `{path}` cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// What should be a key is none.
    #[error(
        "number {number} of the keys in `{place}` is no key; write 32 random bytes as 64 hex digits or as base64"
    )]
    Text {
        /// The file or the variable.
        place: String,
        /// Which one, from 1.
        number: usize,
    },
    /// There is no key where one should be.
    #[error(
        "there is no key in `{place}`; write 32 random bytes into it, as `openssl rand -hex 32` makes them"
    )]
    Empty {
        /// The file or the variable.
        place: String,
    },
    /// The system gives no random bits.
    #[error("the system gives no random bits; try again")]
    Random,
}

impl Failure for KeysError {
    fn code(&self) -> Code {
        match self {
            Self::File { .. } | Self::Random => Code::Internal,
            Self::Text { .. } | Self::Empty { .. } => Code::Invalid,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Random => Fault::Own,
            Self::File { .. } | Self::Text { .. } | Self::Empty { .. } => Fault::Request,
        }
    }
}

impl From<KeysError> for PlaceError {
    fn from(error: KeysError) -> Self {
        Self::Keys { reason: error.to_string(), source: Box::new(error) }
    }
}

/// The keys of a store.
#[derive(Clone, Debug)]
pub(crate) struct Vault(Arc<dyn Keys>);

impl Vault {
    pub(crate) fn new(keys: Arc<dyn Keys>) -> Self {
        Self(keys)
    }

    /// Returns the keys as they are now; for sealing there has to be one.
    pub(crate) async fn ring(&self, seals: bool) -> Result<KeyRing, PlaceError> {
        let keys = Arc::clone(&self.0);
        let read = move || if seals { keys.make() } else { keys.read() };
        let ring = tokio::task::spawn_blocking(read).await.expect("reading keys does not panic")?;
        if seals && ring.keys().is_empty() {
            return Err(PlaceError::NoKey);
        }
        Ok(ring)
    }
}

/// What a secret belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    pub(crate) workspace: &'a WorkspaceId,
    pub(crate) destination: &'a DestinationId,
    pub(crate) field: &'a str,
}

impl Owner<'_> {
    /// Returns the bytes that a sealed secret is bound to: no two owners have the same.
    fn bytes(&self) -> Vec<u8> {
        let parts = [SEAL_CONTEXT, self.workspace.as_str(), self.destination.as_str(), self.field];
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes
    }
}

/// Why a sealed secret does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The key is not there.
    UnknownKey,
    /// It is not what was sealed for this owner.
    Damaged,
}

/// Seals a secret: nonce, then what the cipher made.
pub(crate) fn seal(key: &Key, owner: &Owner<'_>, secret: &SecretText) -> Result<Bytes, PlaceError> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| KeysError::Random)?;
    let mut body = secret.reveal().as_bytes().to_vec();
    let bound = Aad::from(owner.bytes());
    key.cipher()
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut body)
        .expect("a secret is shorter than what the cipher takes");
    Ok([&nonce[..], &body].concat().into())
}

/// Opens a sealed secret.
pub(crate) fn open(
    ring: &KeyRing,
    owner: &Owner<'_>,
    (key, sealed): (&str, &Bytes),
) -> Result<SecretText, Shut> {
    let key = ring.get(key).ok_or(Shut::UnknownKey)?;
    let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(Shut::Damaged)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Shut::Damaged)?;
    let mut body = body.to_vec();
    let opened = key.cipher().open_in_place(nonce, Aad::from(owner.bytes()), &mut body);
    let text = opened.map_err(|_| Shut::Damaged)?;
    std::str::from_utf8(text).map(SecretText::new).map_err(|_| Shut::Damaged)
}

#[cfg(test)]
mod tests;
