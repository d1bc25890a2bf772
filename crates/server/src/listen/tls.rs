//! TLS: a certificate and its key from two PEM files, read again when they change.
//!
//! Contract: files that do not go together are refused, at start by an error and later by a line in the log; then what was
//! there before stays in use. The key is shown nowhere. Clients show no certificates.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum_server::tls_rustls::RustlsConfig;
use model::{Code, Failure, Fault};

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not readable.
    #[error("cannot read `{path}`: {source}; name a PEM file", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The files are not a certificate and its key.
    #[error(
        "cannot serve TLS by the certificate `{certificate}` and the key `{key}`: {source}; name a PEM file of \
         certificates, the server's own first, and one of its key, not encrypted",
        certificate = certificate.display(), key = key.display()
    )]
    Pair {
        /// The certificates.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Failure for Error {
    fn code(&self) -> Code {
        Code::Invalid
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

/// A certificate and its key, in use.
pub struct Tls {
    config: RustlsConfig,
    certificate: PathBuf,
    key: PathBuf,
    /// What was in the files.
    seen: AtomicU64,
}

/// Only where it comes from.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Tls");
        shown.field("certificate", &self.certificate).field("key", &self.key);
        shown.finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a file of certificates, the server's own first, and one of its key.
    pub async fn load(certificate: PathBuf, key: PathBuf) -> Result<Self, Error> {
        let files = Files::read(&certificate, &key).await?;
        let seen = AtomicU64::new(files.mark());
        let config = files.config().await.map_err(|source| {
            let (certificate, key) = (certificate.clone(), key.clone());
            Error::Pair { certificate, key, source }
        })?;
        Ok(Self { config, certificate, key, seen })
    }

    /// Returns what connections are made by.
    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Takes up what is in the files now; says so in the log if there is something new, or it is wrong.
    pub(crate) async fn reload(&self, anyway: bool) {
        match self.again(anyway).await {
            Ok(true) => tracing::info!(tls = ?self, "the certificate was read again"),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "the certificate before stays in use"),
        }
    }

    async fn again(&self, anyway: bool) -> Result<bool, Error> {
        let files = Files::read(&self.certificate, &self.key).await?;
        let mark = files.mark();
        if !anyway && mark == self.seen.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let config = files.config().await.map_err(|source| {
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            Error::Pair { certificate, key, source }
        })?;
        self.config.reload_from_config(config.get_inner());
        self.seen.store(mark, Ordering::Relaxed);
        Ok(true)
    }
}

/// What is in both files.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    async fn read(certificate: &Path, key: &Path) -> Result<Self, Error> {
        Ok(Self { certificate: read(certificate).await?, key: read(key).await? })
    }

    /// Tells one content from another.
    fn mark(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key).hash(&mut hasher);
        hasher.finish()
    }

    async fn config(self) -> io::Result<RustlsConfig> {
        let made = RustlsConfig::from_pem(self.certificate, self.key).await?;
        let mut config = (*made.get_inner()).clone();
        // It offers HTTP/2 as well, which is not served.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(RustlsConfig::from_config(Arc::new(config)))
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    tokio::fs::read(path).await.map_err(|source| Error::File { path: path.to_owned(), source })
}
