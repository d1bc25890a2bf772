//! `destination` and `secrets` as they are typed. No secret is an argument: others on the machine see those.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::key_value;

#[derive(Debug, Subcommand)]
pub(crate) enum Destination {
    /// Make a destination.
    #[command(
        after_help = "Example: sluice destination create partner --url s3://bucket/in --set region=eu-central-1 --secret access_key_id --secret secret_access_key < keys"
    )]
    Create(CreateDestination),
    /// List destinations.
    #[command(after_help = "Example: sluice destination list --json")]
    List,
    /// Show a destination: its settings, and which secrets are set.
    #[command(after_help = "Example: sluice destination show partner")]
    Show {
        /// The destination.
        name: String,
    },
    /// Change a destination; what is not named stays as it is.
    #[command(
        after_help = "Example: sluice destination update partner --secret-file secret_access_key=new.txt"
    )]
    Update(UpdateDestination),
    /// Try out whether a destination can be delivered to, step by step; what it writes there is deleted.
    #[command(after_help = "Example: sluice destination test partner")]
    Test {
        /// The destination.
        name: String,
    },
    /// Remove a destination and its secrets.
    #[command(after_help = "Example: sluice destination delete partner")]
    Delete {
        /// The destination.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateDestination {
    /// The name.
    pub(crate) name: String,
    /// Where it is: a folder, or a URL.
    #[arg(long, value_name = "URL_OR_PATH")]
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) fields: Fields,
}

#[derive(Debug, Args)]
pub(crate) struct UpdateDestination {
    /// The destination.
    pub(crate) name: String,
    /// Where it is from now on.
    #[arg(long, value_name = "URL_OR_PATH")]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) fields: Fields,
    /// Remove a setting or a secret; more than one if repeated.
    #[arg(long, value_name = "KEY")]
    pub(crate) unset: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Fields {
    /// A setting, which everybody may see; more than one if repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    pub(crate) set: Vec<(String, String)>,
    /// A secret, read from stdin: one line each, in the order in which they are named.
    #[arg(long, value_name = "KEY")]
    pub(crate) secret: Vec<String>,
    /// A secret, read from a file; a newline at its end is no part of it.
    #[arg(long, value_name = "KEY=PATH", value_parser = key_path)]
    pub(crate) secret_file: Vec<(String, PathBuf)>,
    /// A secret, read from an environment variable.
    #[arg(long, value_name = "KEY=VARIABLE", value_parser = key_value)]
    pub(crate) secret_env: Vec<(String, String)>,
}

impl Fields {
    /// Returns the names of the secrets that are given.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &String> {
        let files = self.secret_file.iter().map(|(name, _)| name);
        let variables = self.secret_env.iter().map(|(name, _)| name);
        self.secret.iter().chain(files).chain(variables)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Secrets {
    /// Seal every secret anew: under a new key, after which the old one goes, or under the first key that
    /// the configuration gives.
    #[command(after_help = "Example: sluice secrets rotate")]
    Rotate,
}

fn key_path(text: &str) -> Result<(String, PathBuf), String> {
    let (key, path) = text.split_once('=').ok_or("write it as KEY=PATH")?;
    Ok((key.to_owned(), path.into()))
}
