//! How a command fails: one line on stderr and an exit code.

use std::error::Error as StdError;
use std::process::ExitCode;

use model::{Failure, Fault, PortError};

use crate::output::printable;

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    exit: u8,
    message: String,
}

impl Failed {
    /// The command, the configuration or the SQL text is wrong.
    pub(crate) fn request(message: impl Into<String>) -> Self {
        Self { exit: 2, message: message.into() }
    }

    /// An input file is wrong or cannot be read.
    pub(crate) fn source(message: impl Into<String>) -> Self {
        Self { exit: 3, message: message.into() }
    }

    /// A destination cannot be delivered to.
    pub(crate) fn destination(message: impl Into<String>) -> Self {
        Self { exit: 4, message: message.into() }
    }

    /// A proof did not hold. What differs was printed as the result.
    pub(crate) fn proof(message: impl Into<String>) -> Self {
        Self { exit: 5, message: message.into() }
    }

    /// A bug or a broken machine.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self { exit: 1, message: message.into() }
    }

    /// Whether the reader of stdout went away, which is how `… | head` ends.
    fn broken_pipe() -> Self {
        Self { exit: 0, message: String::new() }
    }

    /// Says what it is of.
    pub(crate) fn of_one(self, what: &str) -> Self {
        Self { message: format!("{what}: {}", self.message), ..self }
    }

    /// Returns the line.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Prints the line and returns the exit code.
    pub(crate) fn report(self, json: bool) -> ExitCode {
        if !self.message.is_empty() {
            if json {
                eprintln!("{}", serde_json::json!({ "error": self.message, "exit": self.exit }));
            } else {
                eprintln!("error: {}", one_line(&self.message));
            }
        }
        ExitCode::from(self.exit)
    }

    fn of(fault: Fault, error: &(dyn StdError + 'static)) -> Self {
        let exit = match fault {
            Fault::Own => 1,
            Fault::Request => 2,
            Fault::Source => 3,
            Fault::Destination => 4,
            Fault::Proof => 5,
        };
        log_causes(error);
        Self { exit, message: error.to_string() }
    }
}

/// Returns the text as one line that a terminal shows as it is: it may quote what others wrote.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    printable(&lines.collect::<Vec<_>>().join(" "))
}

/// Says in one line what is wrong with the arguments.
pub(crate) fn usage(error: &clap::Error) -> Failed {
    let text = error.to_string();
    // What is wrong, then hints, then usage: lines that say something come before the usage.
    let words = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let words: Vec<&str> = words.filter(|line| !line.is_empty()).collect();
    let words = words.join(" ");
    let words = words.strip_prefix("error: ").unwrap_or(&words);
    let words = words.split(" For more information").next().unwrap_or(words);
    Failed::request(format!("{words}; see `sluice help`"))
}

/// The chain of causes goes to the log; the line on stderr says what the caller can use.
fn log_causes(error: &(dyn StdError + 'static)) {
    let mut cause = error.source();
    while let Some(error) = cause {
        tracing::info!(cause = %error);
        cause = error.source();
    }
}

macro_rules! from_failures {
    ($($failure:ty),+ $(,)?) => {$(
        impl From<$failure> for Failed {
            fn from(failure: $failure) -> Self {
                Self::of(failure.fault(), &failure)
            }
        }
    )+};
}

from_failures! {
    export::destinations::Error,
    export::verify::Error,
    model::destination::BadTerms,
    objects::egress::Error,
    model::into::BadInto,
    model::names::BadName,
    model::ports::AccessError,
    model::ports::CatalogError,
    server::canonical::Error,
    model::ports::LedgerError,
    model::ports::ObjectError,
    model::ports::PlaceError,
    model::schedule::ScheduleError,
    model::schema::Error,
    model::schema::Given,
    run::Error,
    server::links::Error,
    server::tls::Error,
    store::KeysError,
    store::OpenError,
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        Self::of(error.fault(), error.as_error())
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self::broken_pipe();
        }
        Self::internal(error.to_string())
    }
}
