//! Why something failed, in words that a caller can act on.
//!
//! Every module has its own error enum; each variant chooses a [`Code`] (what to do about it) and a
//! [`Fault`] (whose side it is on). Ports return [`PortError`], a box that can only be made from an
//! error that chose both.

use std::error::Error as StdError;
use std::fmt;

/// The closed list of reasons a caller can act on. Add one only with a decision record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// What was asked is wrong and stays wrong.
    Invalid,
    /// Nobody is known to be asking.
    Unauthenticated,
    /// Who is asking may not.
    Forbidden,
    /// The named thing does not exist.
    NotFound,
    /// It was there, and is no more.
    Gone,
    /// The state of the thing does not allow it now.
    Conflict,
    /// A named limit was passed.
    TooLarge,
    /// Too often; wait.
    RateLimited,
    /// It took longer than its limit.
    Timeout,
    /// Something needed did not answer; asking again may work.
    Unavailable,
    /// A bug or a broken machine.
    Internal,
}

impl Code {
    /// Returns whether asking the same again may succeed.
    ///
    /// ```
    /// use model::Code;
    /// assert!(Code::Unavailable.can_retry());
    /// assert!(!Code::Invalid.can_retry());
    /// ```
    pub fn can_retry(self) -> bool {
        matches!(self, Self::RateLimited | Self::Timeout | Self::Unavailable)
    }
}

/// The side on which the reason lies; the command line makes its exit codes from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The command, the configuration or the SQL text.
    Request,
    /// Reading or content of the input, or SQL that fails while it runs.
    Source,
    /// The place where files should go.
    Destination,
    /// A proof did not hold: `verify` found a difference.
    Proof,
    /// This program or its own data folder.
    Own,
}

/// An error that knows its reason. Whether to retry follows from the code, in one place.
pub trait Failure: StdError + Send + Sync + 'static {
    /// Returns what a caller can do about it.
    fn code(&self) -> Code;
    /// Returns on whose side the reason lies.
    fn fault(&self) -> Fault;
}

/// What a port returns when it fails: any [`Failure`], boxed.
///
/// `Display` is safe to show to the caller; the chain of causes goes to the log.
pub struct PortError(Box<dyn Failure>);

impl PortError {
    /// Returns what a caller can do about it.
    pub fn code(&self) -> Code {
        self.0.code()
    }

    /// Returns on whose side the reason lies.
    pub fn fault(&self) -> Fault {
        self.0.fault()
    }

    /// Returns the error as one with a source chain.
    pub fn as_error(&self) -> &(dyn StdError + 'static) {
        &*self.0
    }

    /// Returns the error inside if it is an `E`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.as_error().downcast_ref::<E>()
    }

    /// Makes an error from its three answers, for places too small for an enum of their own.
    ///
    /// ```
    /// use model::{Code, Fault, PortError};
    /// let error = PortError::new(Code::NotFound, Fault::Request, "no dataset `a`");
    /// assert_eq!(error.to_string(), "no dataset `a`");
    /// ```
    pub fn new(code: Code, fault: Fault, message: impl Into<String>) -> Self {
        Self(Box::new(Plain { code, fault, message: message.into(), source: None }))
    }

    /// Makes an error like [`PortError::new`] that keeps its cause for the log.
    pub fn caused(
        code: Code,
        fault: Fault,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Box::new(Plain { code, fault, message: message.into(), source: Some(source.into()) }))
    }
}

impl<F: Failure> From<F> for PortError {
    fn from(failure: F) -> Self {
        Self(Box::new(failure))
    }
}

impl fmt::Debug for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[derive(Debug)]
struct Plain {
    code: Code,
    fault: Fault,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Plain {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

impl Failure for Plain {
    fn code(&self) -> Code {
        self.code
    }

    fn fault(&self) -> Fault {
        self.fault
    }
}
