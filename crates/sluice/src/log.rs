//! The log on stderr.
//!
//! Contract: `SLUICE_LOG` says what is in it, else `log.level`, else the command: a server says what it does, others only what
//! went wrong. It is started once, after the settings were read, since they say its form.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::failed::Failed;

/// The variable that has precedence.
const VARIABLE: &str = "SLUICE_LOG";

/// Starts it. Without settings, because they are wrong or the command has none, it is text.
pub(crate) fn start(settings: Option<&Log>, serves: bool) -> Result<(), Failed> {
    let level = settings.map(|log| &*log.level).filter(|level| !level.is_empty());
    let level = level.unwrap_or(if serves { "info" } else { "error" });
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => EnvFilter::try_new(&text).map_err(|e| {
            Failed::request(format!(
                "the variable `{VARIABLE}` cannot be `{text}`: {e}; write it as `info,server=debug`"
            ))
        })?,
        Err(_) => EnvFilter::new(level),
    };
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.map(|log| log.format) {
        Some(LogFormat::Json) => log.json().flatten_event(true).with_span_list(false).init(),
        Some(LogFormat::Text) | None => log.init(),
    }
    Ok(())
}
