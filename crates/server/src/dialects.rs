//! The dialects: APIs of vendors, over the same core.
//!
//! A dialect is one folder beside this module and one line in the registry below. It parses its vendor's request into the words of the core, calls
//! the core, and renders the answer and the error as the vendor does. It describes itself as data ([`Dialect`]): settings, what tokens
//! for it may do, its views, its routes; the configuration, the command line and the server follow from that. Its rules and their sources are in
//! `docs/dialects`.

use std::fmt;
use std::sync::LazyLock;

use axum::Router;
use axum::http::Method;
use axum::http::request::Parts;
use axum::response::Response;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use model::access::{Principal, Scope, TokenText};
use model::dataset::View;
use model::enrolment::Enrolment;
use model::ports::{Access, AccessError};
use model::{OrganizationId, PrincipalId};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use utoipa_axum::router::OpenApiRouter;

use crate::Core;
use crate::http::{Client, Doors};

macro_rules! registry {
    ($($module:ident),+ $(,)?) => {
        $(pub mod $module;)+
        /// Every dialect.
        pub static KINDS: &[&Dialect] = &[$(&$module::KIND),+];
    };
}

registry! {
    growingio,
    liferay,
}

/// A dialect, described as data.
pub struct Dialect {
    /// What it is called: in the configuration, at the command line, in the log.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Its section of the shipped configuration, with comments.
    pub settings: &'static str,
    /// What its settings may be, beyond their type; by their names in the section.
    pub rules: &'static [(&'static str, Rule)],
    /// What must be true of several settings: its own, and where clients find the server. Returns what is wrong, and the remedy.
    pub check: fn(&Settings, &str) -> Result<(), String>,
    /// What a token for it may do.
    pub scopes: &'static [Scope],
    /// Whether a workspace has to be enrolled before it is served.
    pub enrols: bool,
    /// Views that every workspace has, unless it has something of that name itself.
    pub views: fn() -> Vec<View>,
    /// Lines for a shell that ask for something; each works as it stands.
    pub examples: fn(&Example<'_>) -> Vec<String>,
    /// Its routes that need a token.
    operations: &'static [Door],
    /// What answers them.
    routes: fn(&Doors) -> Router<Doors>,
    /// What looks at tokens itself, because it may do without.
    open_routes: fn(&Doors) -> Router<Doors>,
    /// Its operations under `/v1`, which are described and look as those of the core.
    own: fn(OpenApiRouter<Core>) -> OpenApiRouter<Core>,
    /// How its errors look.
    dress: fn(Router) -> Router,
    /// What it serves at addresses that no route takes.
    files: Option<Files>,
    /// What it does besides requests, for as long as the server works.
    works: Option<fn(Core) -> BoxFuture<'static, ()>>,
    /// Requests of a workspace in a second; 0 for no limit.
    calls_per_second: fn(&Settings) -> u32,
}

/// What a dialect serves at addresses of its own making.
pub(crate) struct Files {
    /// Whether a path is one of them.
    pub(crate) takes: fn(&str) -> bool,
    /// What answers.
    pub(crate) answer: fn(AskedFile) -> BoxFuture<'static, Response>,
}

/// A request for such an address.
pub(crate) struct AskedFile {
    pub(crate) doors: Doors,
    pub(crate) client: Client,
    pub(crate) parts: Parts,
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialect").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a setting may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A whole number from the one to the other.
    Whole(usize, usize),
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// For whom and of what an example is.
#[derive(Debug)]
pub struct Example<'a> {
    /// Where the server is, without a slash at its end.
    pub url: &'a str,
    /// What opens it.
    pub token: &'a TokenText,
    /// A day of which there are events.
    pub day: chrono::NaiveDate,
    /// An instant in an hour of which there are events.
    pub hour: DateTime<Utc>,
    /// What the dialect calls the workspace, if it enrols any.
    pub enrolment: Option<&'a Enrolment>,
}

/// A route that needs a token.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    /// What the log calls it.
    pub(crate) id: &'static str,
    /// What a token must allow.
    pub(crate) scope: Scope,
}

/// The settings of all dialects: a section for each, of which the binary has checked names, types and rules.
#[derive(Clone, Debug)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// Takes sections by name.
    pub fn new(sections: Map<String, Value>) -> Self {
        Self(sections)
    }

    /// Returns the section of a dialect.
    ///
    /// # Panics
    ///
    /// If the section does not fit what the dialect makes of it, which a test of each rules out.
    pub(crate) fn of<T: DeserializeOwned>(&self, dialect: &Dialect) -> T {
        let section = self.0.get(dialect.name).cloned().unwrap_or_default();
        serde_json::from_value(section).expect("a dialect's settings are what it says they are")
    }
}

/// Returns the sections of all dialects, as the shipped configuration has them.
pub fn settings() -> &'static str {
    static ALL: LazyLock<String> = LazyLock::new(|| {
        let sections = KINDS.iter().flat_map(|kind| ["\n", kind.settings]);
        sections.collect()
    });
    &ALL
}

/// Returns the dialect of that name.
///
/// ```
/// let first = server::dialects::KINDS[0];
/// assert_eq!(server::dialects::named(first.name).map(|kind| kind.name), Some(first.name));
/// assert!(server::dialects::named("esperanto").is_none());
/// ```
pub fn named(name: &str) -> Option<&'static Dialect> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

/// Returns the view of a dialect by its name.
pub fn view(name: &str) -> Option<View> {
    views().into_iter().find(|view| view.name == name)
}

/// Returns the views of all dialects.
pub fn views() -> Vec<View> {
    KINDS.iter().flat_map(|kind| (kind.views)()).collect()
}

/// Checks what must be true of several settings; `public_url` is where clients find the server, or empty.
///
/// # Errors
///
/// What is wrong, and the remedy.
pub fn check(settings: &Settings, public_url: &str) -> Result<(), String> {
    KINDS.iter().try_for_each(|kind| (kind.check)(settings, public_url))
}

/// Returns the name of whoever acts for scripts that have no principal of their own, made if there is nobody.
///
/// # Errors
///
/// Whatever the metadata database says.
pub async fn principal(
    access: &dyn Access,
    (organization, name): (&OrganizationId, &str),
    now: DateTime<Utc>,
) -> Result<String, AccessError> {
    let new = Principal {
        id: PrincipalId::mint(),
        name: name.into(),
        organization: organization.clone(),
        created_at: now,
        disabled_at: None,
    };
    match access.create_principal(&new).await {
        Ok(()) | Err(AccessError::Exists { .. }) => Ok(new.name),
        Err(error) => Err(error),
    }
}

/// Adds the operations that dialects have under `/v1`.
pub(crate) fn own(router: OpenApiRouter<Core>) -> OpenApiRouter<Core> {
    KINDS.iter().fold(router, |router, kind| (kind.own)(router))
}

/// Returns what serves a path that no route takes.
pub(crate) fn files(path: &str) -> Option<&'static Files> {
    KINDS.iter().filter_map(|kind| kind.files.as_ref()).find(|files| (files.takes)(path))
}

/// Returns how many requests of a workspace each dialect takes in a second.
pub(crate) fn rates(settings: &Settings) -> Vec<(&'static str, u32)> {
    KINDS.iter().map(|kind| (kind.name, (kind.calls_per_second)(settings))).collect()
}

/// Returns what dialects do besides requests.
pub(crate) fn works(core: &Core) -> Vec<(&'static str, BoxFuture<'static, ()>)> {
    let one = |kind: &&'static Dialect| Some((kind.name, kind.works?(core.clone())));
    KINDS.iter().filter_map(one).collect()
}

/// Returns the routes of all dialects that need a token.
pub(crate) fn doors() -> impl Iterator<Item = &'static Door> {
    KINDS.iter().flat_map(|kind| kind.operations)
}

/// Returns what answers the routes of all dialects; `guard` looks at tokens and logs changes.
pub(crate) fn routes(doors: &Doors, guard: impl Fn(Router<Doors>) -> Router) -> Router {
    let one = |all: Router, kind: &&Dialect| {
        let open = (kind.open_routes)(doors).with_state(doors.clone());
        all.merge((kind.dress)(guard((kind.routes)(doors)).merge(open)))
    };
    KINDS.iter().fold(Router::new(), one)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_dialect_keeps_to_names_of_its_own() {
        let mut paths = BTreeSet::new();
        for kind in KINDS {
            assert!(kind.settings.starts_with(&format!("[{}]\n", kind.name)), "{kind:?}");
            assert!(!kind.scopes.contains(&Scope::Admin), "{kind:?}: no script needs that");
            for view in (kind.views)() {
                assert!(view.name.starts_with(&format!("{}.", kind.name)), "{}", view.name);
                model::names::check("a view", &view.name).expect("a name");
            }
            for door in kind.operations {
                assert!(door.id.starts_with(&format!("{}.", kind.name)), "{}", door.id);
                let opens = kind.scopes.contains(&door.scope);
                assert!(opens || door.method != Method::GET, "{}: tokens for it open it", door.id);
                assert!(paths.insert((door.method.as_str(), door.path)), "{}", door.path);
            }
        }
    }
}
