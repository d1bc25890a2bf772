//! The commands of dialects, and what the demo prepares for them.

mod growingio;

use chrono::{DateTime, Utc};

use crate::app::App;
use crate::cli::dialects::DialectCommand;
use crate::failed::Failed;

/// Does a command of a dialect.
pub(crate) async fn dialect(app: &App, command: DialectCommand) -> Result<(), Failed> {
    match command {
        DialectCommand::Growingio(command) => growingio::growingio(app, command).await,
    }
}

/// Prepares a workspace for the lines that the demo prints, of which some ask for the hour of that instant.
pub(crate) async fn prepare(app: &App, hour: DateTime<Utc>) -> Result<(), Failed> {
    growingio::prepare(app, hour).await
}
