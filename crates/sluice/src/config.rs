//! The configuration: what can be set, with a field for each key of the shipped file.
//!
//! TOML, given by `--config` or found as `DIR/sluice.toml`, and variables of the environment. No default stands here: those
//! are in `config/default.toml`, which a key needs as it needs a field.

mod keys;
mod settings;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use model::SecretText;
use serde::Deserialize;
use server::dialects;

use crate::failed::Failed;

pub(crate) use keys::defaults;
pub(crate) use settings::Settings;

/// The settings. None of it is written to a log: some are secret.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// What may be called for tenants.
    pub(crate) egress: EgressRules,
    /// What is said of what happens.
    pub(crate) log: Log,
    /// How dialects are served: a section for each, which is theirs to read.
    pub(crate) dialects: serde_json::Map<String, serde_json::Value>,
}

/// `[database]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Database {
    /// `postgres://…`; empty for a SQLite file in the data folder.
    pub(crate) url: String,
}

/// `[work]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Work {
    /// Threads that encode; 0 for as many as there are processors.
    pub(crate) threads: usize,
}

/// `[lake]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lake {
    /// Bytes of rows up to which a commit is kept in the metadata database until it is sealed.
    pub(crate) tail_bytes: usize,
    /// Days for which the files of a commit are not merged with others.
    pub(crate) batch_days: u32,
    /// Where data files lie, as `s3://bucket/folder`; empty for the data folder.
    pub(crate) store: String,
    /// How that bucket is reached.
    pub(crate) s3: LakeS3,
}

/// `[server]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    /// Address and port.
    pub(crate) listen: String,
    /// Address and port for operators; empty for none.
    pub(crate) admin_listen: String,
    /// Where clients find it; empty for what it listens on.
    pub(crate) public_url: String,
    /// PEM file of certificates; empty for plain text.
    pub(crate) tls_cert: String,
    /// PEM file of the certificate's key.
    pub(crate) tls_key: String,
    /// Requests that are worked on at once; 0 for no limit.
    pub(crate) requests_at_once: usize,
    /// Requests of one token in a second; 0 for no limit.
    pub(crate) requests_per_second: u32,
    /// Requests of one token at once; 0 for as many as in a second.
    pub(crate) burst: u32,
    /// Seconds that requests under way have to end when the server stops.
    pub(crate) drain_seconds: u64,
    /// Seconds for the first request's head on a connection.
    pub(crate) head_seconds: u64,
    /// Seconds until the next request's head on a connection.
    pub(crate) idle_seconds: u64,
    /// Seconds without progress after which an answer that nobody reads is cut off.
    pub(crate) stall_seconds: u64,
}

/// `[log]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Log {
    /// How it is written.
    pub(crate) format: LogFormat,
    /// The least that is in it; empty for what the command asks for.
    pub(crate) level: String,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// `[lake.s3]`; what is empty is taken from the environment as for a destination.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LakeS3 {
    /// The bucket's region.
    region: String,
    /// The URL of the service.
    endpoint: String,
    /// Whether the bucket stands in the path of a URL.
    path_style: String,
    /// The name of the key.
    access_key_id: String,
    /// The key.
    secret_access_key: String,
    /// What comes with a key that lasts for a while only.
    session_token: String,
}

impl LakeS3 {
    /// Returns what may be shown, by name.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (String, String)> {
        let all = [
            ("region", &self.region),
            ("endpoint", &self.endpoint),
            ("path_style", &self.path_style),
        ];
        let given = all.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| (name.to_owned(), value.clone()))
    }

    /// Returns what may not, by name.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = (String, SecretText)> {
        let all = [
            ("access_key_id", &self.access_key_id),
            ("secret_access_key", &self.secret_access_key),
            ("session_token", &self.session_token),
        ];
        let given = all.into_iter().filter(|(_, value)| !value.is_empty());
        given.map(|(name, value)| (name.to_owned(), SecretText::new(value)))
    }
}

/// `[secrets]`
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Secrets {
    /// The keys themselves, newest first.
    pub(crate) key: String,
    /// The file with them.
    pub(crate) key_file: PathBuf,
}

/// `[export]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Export {
    /// Folders below which destinations of tenants may be.
    pub(crate) roots: Vec<PathBuf>,
    /// Days for which a sealed run can be run again.
    pub(crate) rerun_days: u32,
}

/// `[egress]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EgressRules {
    /// Networks, addresses and names of hosts that may be called besides public addresses.
    pub(crate) allow: Vec<String>,
}

impl Config {
    /// Reads the file that was named, or the folder's own if it is there, and the environment.
    pub(crate) fn read(named: Option<&Path>, folder: &Path) -> Result<Self, Failed> {
        Self::of(&settings(named, folder)?)
    }

    /// Takes settings over, and checks what concerns more than one.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Failed> {
        let config: Self = settings.fill()?;
        if config.server.tls_cert.is_empty() != config.server.tls_key.is_empty() {
            let both =
                "`server.tls_cert` and `server.tls_key` go together; name both files or none";
            return Err(Failed::request(both));
        }
        Ok(config)
    }

    /// Checks what only servers of some dialects need.
    pub(crate) fn check_dialects(&self) -> Result<(), Failed> {
        let dialects = dialects::Settings::new(self.dialects.clone());
        dialects::check(&dialects, &self.server.public_url).map_err(Failed::request)
    }
}

/// Reads the settings in force.
pub(crate) fn settings(named: Option<&Path>, folder: &Path) -> Result<Settings, Failed> {
    Settings::read(file(named, folder)?.as_deref(), std::env::vars_os())
}

/// Returns the file that settings are read from, if there is one.
pub(crate) fn file(named: Option<&Path>, folder: &Path) -> Result<Option<PathBuf>, Failed> {
    let own = folder.join("sluice.toml");
    match named {
        Some(path) if path.is_file() => Ok(Some(path.to_owned())),
        Some(path) => {
            let path = path.display();
            Err(Failed::request(format!("there is no configuration file `{path}`")))
        }
        None => Ok(own.is_file().then_some(own)),
    }
}
