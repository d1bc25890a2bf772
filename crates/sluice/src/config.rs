//! The configuration file.
//!
//! TOML, given by `--config` or found as `DIR/sluice.toml`. Every setting has a default; an unknown one
//! is refused, so that a typing error cannot be taken for a setting.

use std::path::{Path, PathBuf};

use model::SecretText;
use model::limits::{BATCH_DAYS_MAX, TAIL_COMMIT_BYTES, TAIL_COMMIT_BYTES_MAX};
use serde::{Deserialize, Deserializer};

use crate::failed::Failed;

/// Threads that may be asked for; more than any machine has.
const THREADS_MAX: usize = 1024;

/// The settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where datasets, commits and runs are kept.
    pub(crate) database: Database,
    /// How much of the machine is used.
    pub(crate) work: Work,
    /// How rows are kept.
    pub(crate) lake: Lake,
    /// How the API is served.
    pub(crate) server: Server,
    /// How secrets are kept.
    pub(crate) secrets: Secrets,
    /// Where tenants may export to.
    pub(crate) export: Export,
}

/// `[secrets]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Secrets {
    /// The file with the keys of secrets, newest first; `secrets.key` in the data folder without it, unless the database is
    /// elsewhere.
    pub(crate) key_file: Option<PathBuf>,
}

/// `[export]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Export {
    /// Folders below which destinations of tenants may be; none without it.
    pub(crate) roots: Vec<PathBuf>,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Server {
    /// Address and port. There is no TLS: put a proxy before it, or leave it on this host.
    pub(crate) listen: String,
}

impl Default for Server {
    fn default() -> Self {
        Self { listen: "127.0.0.1:8080".into() }
    }
}

/// `[database]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Database {
    /// `postgres://…`; a SQLite file in the data folder without it.
    pub(crate) url: Option<String>,
}

/// `[work]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Work {
    /// Threads that encode; as many as there are processors without it.
    pub(crate) threads: Option<usize>,
}

/// `[lake]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Lake {
    /// Bytes of rows up to which a commit is kept in the metadata database until it is sealed; with 0 each
    /// is written as data files at once.
    pub(crate) tail_bytes: usize,
    /// Days for which the files of a commit are not merged with others, because a client addresses them one by
    /// one. Its rows do not go to the tail then.
    pub(crate) batch_days: u32,
    /// Where data files lie, as `s3://bucket/folder`; in the data folder without it.
    pub(crate) store: Option<String>,
    /// How that bucket is reached.
    pub(crate) s3: LakeS3,
}

impl Default for Lake {
    fn default() -> Self {
        let s3 = LakeS3::default();
        Self { tail_bytes: TAIL_COMMIT_BYTES, batch_days: 0, store: None, s3 }
    }
}

/// `[lake.s3]`. What is not said is taken from the environment (`AWS_REGION`, `AWS_ENDPOINT_URL`,
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LakeS3 {
    /// The bucket's region.
    pub(crate) region: Option<String>,
    /// The URL of the service; Amazon's own of the region without it.
    pub(crate) endpoint: Option<String>,
    /// Whether the bucket stands in the path of a URL; so it does where there is an `endpoint`.
    pub(crate) path_style: Option<bool>,
    /// The name of the key.
    #[serde(deserialize_with = "secret")]
    pub(crate) access_key_id: Option<SecretText>,
    /// The key.
    #[serde(deserialize_with = "secret")]
    pub(crate) secret_access_key: Option<SecretText>,
    /// What comes with a key that lasts for a while only.
    #[serde(deserialize_with = "secret")]
    pub(crate) session_token: Option<SecretText>,
}

impl LakeS3 {
    /// Returns what may be shown, by name.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (String, String)> {
        let path_style = self.path_style.map(|yes| yes.to_string());
        let all = [
            ("region", self.region.clone()),
            ("endpoint", self.endpoint.clone()),
            ("path_style", path_style),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
    }

    /// Returns what may not, by name.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (String, SecretText)> {
        let all = [
            ("access_key_id", self.access_key_id.clone()),
            ("secret_access_key", self.secret_access_key.clone()),
            ("session_token", self.session_token.clone()),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)))
    }
}

/// Reads a text that is never shown.
fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretText>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(SecretText::new))
}

impl Config {
    /// Reads the file that was named, or the folder's own if it is there.
    pub(crate) fn read(named: Option<&Path>, folder: &Path) -> Result<Self, Failed> {
        let own = folder.join("sluice.toml");
        let path = match named {
            Some(path) => path,
            None if own.is_file() => &own,
            None => return Ok(Self::default()),
        };
        let bad = |e: config::ConfigError| {
            Failed::request(format!("the configuration `{}` is not usable: {e}", path.display()))
        };
        if !path.is_file() {
            let path = path.display();
            return Err(Failed::request(format!("there is no configuration file `{path}`")));
        }
        let config = config::Config::builder()
            .add_source(config::File::from(path).format(config::FileFormat::Toml))
            .build()
            .and_then(config::Config::try_deserialize::<Self>)
            .map_err(bad)?;
        if config.work.threads.is_some_and(|threads| !(1..=THREADS_MAX).contains(&threads)) {
            let range = format!("`work.threads` must be from 1 to {THREADS_MAX}");
            return Err(Failed::request(range));
        }
        if config.lake.batch_days > BATCH_DAYS_MAX {
            let range = format!("`lake.batch_days` must be from 0 to {BATCH_DAYS_MAX}");
            return Err(Failed::request(range));
        }
        if config.lake.tail_bytes > TAIL_COMMIT_BYTES_MAX {
            let range = format!("`lake.tail_bytes` must be from 0 to {TAIL_COMMIT_BYTES_MAX}");
            return Err(Failed::request(range));
        }
        Ok(config)
    }
}
