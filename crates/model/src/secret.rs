//! A text that nobody may read by accident.
//!
//! Contract: it shows itself to whoever asks for it by name, and to no formatter and no serializer. It does not wipe
//! memory.

/// A secret text.
///
/// ```
/// use model::SecretText;
/// let secret = SecretText::new("hunter2");
/// assert_eq!(secret.reveal(), "hunter2");
/// assert_eq!(format!("{secret:?}"), "SecretText(…)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// Takes a text that is secret from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}
