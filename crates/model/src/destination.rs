//! Named destinations: where exports go, with settings that may be seen and secrets that may not.
//!
//! Contract: a [`Destination`] names the secrets that are set and never holds one; only [`OpenDestination`], which is
//! made for whoever delivers, does. Which settings a kind of destination takes is not known here.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::failure::{Code, Failure, Fault};
use crate::ids::{DestinationId, WorkspaceId};
use crate::limits::{
    DESTINATION_FIELDS_MAX, DESTINATION_URL_BYTES_MAX, FIELD_CHARS_MAX, SECRET_BYTES_MAX,
    SETTING_BYTES_MAX,
};
use crate::secret::SecretText;

/// A place for exports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Never changes.
    pub id: DestinationId,
    /// Whose it is.
    pub workspace: WorkspaceId,
    /// Unique within the workspace.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// How to get there, as far as it may be seen.
    pub settings: BTreeMap<String, String>,
    /// The names of the secrets that are set, in order.
    pub secrets: Vec<String>,
    /// Grows with each change.
    pub version: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What a destination shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Where it is.
    pub url: String,
    /// How to get there, as far as it may be seen; others than these go.
    pub settings: BTreeMap<String, String>,
    /// Secrets to be set, or with nothing to be removed; those that are not named stay as they are.
    pub secrets: BTreeMap<String, Option<SecretText>>,
}

/// A destination to be made.
#[derive(Clone, Debug)]
pub struct NewDestination {
    /// The id minted for it.
    pub id: DestinationId,
    /// Unique within the workspace.
    pub name: String,
    /// What it shall be.
    pub terms: Terms,
}

/// The state of a destination that somebody saw, on which a change is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Another of the same name is another destination.
    pub id: DestinationId,
    /// Its version.
    pub version: u64,
}

/// A destination with its secrets, for whoever delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDestination {
    /// The destination.
    pub destination: Destination,
    /// Its secrets.
    pub secrets: BTreeMap<String, SecretText>,
}

impl Destination {
    /// Returns the state as it is now.
    pub fn seen(&self) -> Seen {
        Seen { id: self.id.clone(), version: self.version }
    }
}

impl Terms {
    /// Returns the names of the secrets that are set after a change of a destination that has `set`.
    pub fn secrets_after(&self, set: &[String]) -> BTreeSet<String> {
        let mut after: BTreeSet<String> = set.iter().cloned().collect();
        for (name, secret) in &self.secrets {
            if secret.is_some() {
                after.insert(name.clone())
            } else {
                after.remove(name)
            };
        }
        after
    }

    /// Checks what holds for every kind of destination; `set` are the secrets that it has already.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use model::destination::Terms;
    /// let terms = |url: &str| Terms {
    ///     url: url.into(),
    ///     settings: BTreeMap::new(),
    ///     secrets: BTreeMap::new(),
    /// };
    /// assert!(terms("s3://bucket/folder").check(&[]).is_ok());
    /// let error = terms("s3://key:hunter2@bucket").check(&[]).expect_err("a password");
    /// assert!(!error.to_string().contains("hunter2"));
    /// ```
    pub fn check(&self, set: &[String]) -> Result<(), BadTerms> {
        check_url(&self.url)?;
        let secrets = self.secrets_after(set);
        if self.settings.len() + secrets.len() > DESTINATION_FIELDS_MAX {
            return Err(BadTerms::Fields);
        }
        for name in self.settings.keys().chain(self.secrets.keys()) {
            check_field(name)?;
        }
        let both = self.settings.keys().find(|name| secrets.contains(*name));
        if let Some(name) = both {
            return Err(BadTerms::Both { name: name.clone() });
        }
        let settings = self.settings.iter();
        let settings = settings.map(|(name, value)| (name, value.as_str(), SETTING_BYTES_MAX));
        let secrets = self.secrets.iter().filter_map(|(name, secret)| {
            secret.as_ref().map(|secret| (name, secret.reveal(), SECRET_BYTES_MAX))
        });
        for (name, value, max) in settings.chain(secrets) {
            if value.is_empty() {
                return Err(BadTerms::Empty { name: name.clone() });
            }
            if value.len() > max {
                return Err(BadTerms::Long { name: name.clone(), max });
            }
        }
        Ok(())
    }
}

/// Everybody who sees a destination sees its URL: nothing secret may be in it.
fn check_url(url: &str) -> Result<(), BadTerms> {
    if url.len() > DESTINATION_URL_BYTES_MAX {
        return Err(BadTerms::Url);
    }
    let Some((_, rest)) = url.split_once("://") else { return Ok(()) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') || rest.contains('?') {
        return Err(BadTerms::Credentials);
    }
    Ok(())
}

fn check_field(name: &str) -> Result<(), BadTerms> {
    let first = name.starts_with(|first: char| first.is_ascii_lowercase());
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if first && name.chars().all(rest) && name.len() <= FIELD_CHARS_MAX {
        return Ok(());
    }
    // Whoever swaps name and value must not find the value in an answer.
    Err(BadTerms::Field)
}

/// What is wrong with a destination. No message repeats a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTerms {
    /// Too long.
    #[error("the URL has more than {DESTINATION_URL_BYTES_MAX} bytes; name a shorter place")]
    Url,
    /// A name, a password or a signature in the URL.
    #[error("the URL may hold a password: it has an `@` or a `?`; give what is secret as secrets")]
    Credentials,
    /// Too many settings and secrets.
    #[error("it has more than {DESTINATION_FIELDS_MAX} settings and secrets; leave some out")]
    Fields,
    /// A name that no setting can have.
    #[error(
        "the name of a setting or secret is not usable; use 1 to {FIELD_CHARS_MAX} of a-z, 0-9 and `_`, beginning with a letter"
    )]
    Field,
    /// A setting and a secret of one name.
    #[error("`{name}` is a setting and a secret; give it once")]
    Both {
        /// The name.
        name: String,
    },
    /// Nothing in it.
    #[error("`{name}` is empty; leave it out")]
    Empty {
        /// The name.
        name: String,
    },
    /// Too long.
    #[error("`{name}` has more than {max} bytes; give a shorter one")]
    Long {
        /// The name.
        name: String,
        /// The most.
        max: usize,
    },
}

impl Failure for BadTerms {
    fn code(&self) -> Code {
        Code::Invalid
    }

    fn fault(&self) -> Fault {
        Fault::Request
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(settings: &[(&str, &str)], secrets: &[(&str, Option<&str>)]) -> Terms {
        let text = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let secret =
            |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(SecretText::new));
        Terms {
            url: "s3://bucket".into(),
            settings: settings.iter().map(text).collect(),
            secrets: secrets.iter().map(secret).collect(),
        }
    }

    #[test]
    fn a_url_holds_nothing_secret() {
        let check = |url: &str| Terms { url: url.into(), ..terms(&[], &[]) }.check(&[]);
        for fine in ["s3://bucket/a@b", "file:///data/out", "out/put", "sftp://host:22/in"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        for bad in ["s3://key@bucket", "sftp://ada:pw@host/in", "https://h/p?sig=abc", "x://h?s"] {
            assert_eq!(check(bad), Err(BadTerms::Credentials), "{bad}");
        }
        assert_eq!(check(&format!("s3://{}", "b".repeat(3000))), Err(BadTerms::Url));
    }

    #[test]
    fn fields_have_plain_names_and_one_meaning() {
        let fine = terms(&[("region", "eu")], &[("access_key_id", Some("k")), ("old", None)]);
        assert_eq!(fine.check(&["old".into()]), Ok(()));
        assert_eq!(fine.secrets_after(&["old".into()]), ["access_key_id".to_owned()].into());
        for bad in ["", "Region", "a b", "1a", "a=b", "é"] {
            assert_eq!(terms(&[(bad, "x")], &[]).check(&[]), Err(BadTerms::Field), "{bad}");
            assert_eq!(terms(&[], &[(bad, None)]).check(&[]), Err(BadTerms::Field), "{bad}");
        }
        let both = Err(BadTerms::Both { name: "token".into() });
        assert_eq!(terms(&[("token", "x")], &[("token", Some("x"))]).check(&[]), both);
        assert_eq!(terms(&[("token", "x")], &[]).check(&["token".into()]), both);
        assert_eq!(terms(&[("token", "x")], &[("token", None)]).check(&["token".into()]), Ok(()));
    }

    #[test]
    fn values_have_limits() {
        let long = "x".repeat(SECRET_BYTES_MAX + 1);
        let name = || "a".to_owned();
        let empty = Err(BadTerms::Empty { name: name() });
        assert_eq!(terms(&[], &[("a", Some(""))]).check(&[]), empty);
        assert_eq!(terms(&[("a", "")], &[]).check(&[]), empty);
        let refused = terms(&[], &[("a", Some(&long))]).check(&[]);
        assert_eq!(refused, Err(BadTerms::Long { name: name(), max: SECRET_BYTES_MAX }));
        let set: Vec<String> = (0..DESTINATION_FIELDS_MAX).map(|n| format!("s{n}")).collect();
        assert_eq!(terms(&[("a", "x")], &[]).check(&set), Err(BadTerms::Fields));
        assert!(!format!("{:?}", terms(&[], &[("a", Some("canary"))])).contains("canary"));
    }
}
