//! What has to be known of a place besides its URL.

use std::collections::BTreeMap;

use model::SecretText;

use super::{Error, Kind, kind_of, listed};
use crate::options::nearest;

/// What may be shown, as people call it.
pub(super) const SETTINGS: &str = "settings";

/// What may not.
pub(super) const SECRETS: &str = "secrets";

/// One thing to know of the places of a kind, described as data.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What it is when it is not given; without it, it is left out or, if [`Field::needed`], asked for.
    pub default: Option<&'static str>,
    /// Whether a place is of no use without it.
    pub needed: bool,
    /// Whether it is never shown.
    pub secret: bool,
    /// The variables of the environment that the command line takes it from; the first that is set counts.
    pub environment: &'static [&'static str],
}

/// A place: a URL with what its kind wants to know besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The URL, as [`super::canonical`] writes it.
    pub url: String,
    /// What may be shown, by the names of fields.
    pub settings: BTreeMap<String, String>,
    /// What may not.
    pub secrets: BTreeMap<String, SecretText>,
}

impl Place {
    /// Makes a place of a URL and of the variables that the command line is told the rest by.
    ///
    /// # Errors
    ///
    /// [`Error`] if the URL is of no kind. Whether something misses shows as the place is opened.
    ///
    /// ```
    /// use export::destinations::Place;
    /// let variable = |name: &str| (name == "AWS_REGION").then(|| "eu-central-1".to_owned());
    /// let place = Place::from_environment("s3://exports", variable).expect("a place");
    /// assert_eq!(place.settings["region"], "eu-central-1");
    /// ```
    pub fn from_environment(
        url: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let mut place = Self { url: url.to_owned(), ..Self::default() };
        for field in kind_of(url)?.fields {
            let mut set = field.environment.iter().filter_map(|name| variable(name));
            let Some(value) = set.find(|value| !value.is_empty()) else { continue };
            if field.secret {
                place.secrets.insert(field.name.to_owned(), SecretText::new(value));
            } else {
                place.settings.insert(field.name.to_owned(), value);
            }
        }
        Ok(place)
    }

    /// Checks that each field is one of the kind's and where it belongs, and that none misses.
    pub(super) fn check(&self, kind: &'static Kind) -> Result<(), Error> {
        let settings = self.settings.keys().map(|name| (name, false));
        let secrets = self.secrets.keys().map(|name| (name, true));
        for (name, secret) in settings.chain(secrets) {
            let among = home(secret);
            let Some(field) = kind.fields.iter().find(|field| field.name == name) else {
                return Err(unknown(kind, name, among));
            };
            if field.secret != secret {
                let (kind, field, belongs) = (kind.name, name.clone(), home(field.secret));
                return Err(Error::Misfiled { kind, field, among, belongs });
            }
        }
        let misses = |field: &&Field| {
            field.needed
                && !self.settings.contains_key(field.name)
                && !self.secrets.contains_key(field.name)
        };
        kind.fields.iter().find(misses).map_or(Ok(()), |field| {
            let named = |name: &&str| format!(", at the command line by `{name}`");
            let environment = field.environment.first().map(named).unwrap_or_default();
            let belongs = home(field.secret);
            Err(Error::MissingField { kind: kind.name, field: field.name, belongs, environment })
        })
    }

    /// Returns what is given for a field, or what it is otherwise.
    pub(super) fn setting<'a>(&'a self, field: &Field) -> Option<&'a str> {
        self.settings.get(field.name).map(String::as_str).or(field.default)
    }

    /// Returns what is given for a secret field.
    pub(super) fn secret(&self, field: &Field) -> Option<SecretText> {
        self.secrets.get(field.name).cloned()
    }
}

fn home(secret: bool) -> &'static str {
    if secret { SECRETS } else { SETTINGS }
}

fn unknown(kind: &'static Kind, name: &str, among: &'static str) -> Error {
    let names = kind.fields.iter().map(|field| field.name);
    let near = nearest(name, names.clone());
    // Whoever swaps name and value must not find the value in an answer.
    let field = match near {
        None if among == SECRETS => "such field among their secrets".to_owned(),
        _ => format!("field `{name}`"),
    };
    let known = match near {
        _ if kind.fields.is_empty() => "they have none".to_owned(),
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("they have {}", listed(names)),
    };
    Error::UnknownField { kind: kind.name, field, among, known }
}
