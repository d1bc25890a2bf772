//! The commands of dialects.

use clap::Subcommand;

/// What only one dialect needs.
#[derive(Debug, Subcommand)]
pub(crate) enum DialectCommand {
    /// Enable workspaces for GrowingIO's raw data export, or build hours of imported history for it.
    #[command(subcommand)]
    Growingio(Growingio),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Growingio {
    /// Enable a workspace: from now on a server exports its rows hour by hour. Prints what scripts need; the secret this once.
    #[command(after_help = "Example: sluice growingio enable default")]
    Enable {
        /// The workspace, by name or id; that of --workspace without it.
        #[arg(value_name = "WORKSPACE")]
        name: Option<String>,
    },
    /// Put another secret in the place of a workspace's, and print it. Codes and tokens stay valid, links do not.
    #[command(after_help = "Example: sluice growingio secret default")]
    Secret {
        /// The workspace, by name or id; that of --workspace without it.
        #[arg(value_name = "WORKSPACE")]
        name: Option<String>,
    },
    /// Have hours of imported history built by a server, by the times at which rows were received elsewhere.
    #[command(after_help = "Example: sluice growingio rebuild 2010120100 2010120123")]
    Rebuild {
        /// The first hour, as yyyyMMddHH in Beijing time.
        from: String,
        /// The last hour, itself included.
        to: Option<String>,
    },
}

impl DialectCommand {
    /// Returns what it changes, and of what, for the log.
    pub(crate) fn change(&self) -> (&'static str, String) {
        match self {
            Self::Growingio(Growingio::Enable { name }) => {
                ("growingio.enable", name.clone().unwrap_or_default())
            }
            Self::Growingio(Growingio::Secret { name }) => {
                ("growingio.secret", name.clone().unwrap_or_default())
            }
            Self::Growingio(Growingio::Rebuild { from, to }) => {
                ("growingio.rebuild", format!("{from}-{}", to.as_ref().unwrap_or(from)))
            }
        }
    }
}
