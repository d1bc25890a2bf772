//! What each route is, read from the description of the API: so a route that is not described does not open, but for
//! those that are added by hand.

use std::collections::HashMap;

use axum::http::Method;
use model::access::Scope;
use serde_json::Value;

use crate::dialects::Door;

/// The name of the security scheme in the description.
pub(crate) const SCHEME: &str = "token";

/// The tag of what belongs to an organization.
const OF_ORGANIZATION: &str = "access";

/// A method at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// Its id, which is what the log of changes calls it.
    pub(crate) id: String,
    /// What a token must allow.
    pub(crate) scope: Scope,
    /// Whether what it changes is in a workspace, and not the organization's.
    pub(crate) in_workspace: bool,
}

/// Every operation of the native API and of the dialects.
#[derive(Debug)]
pub(crate) struct Operations(HashMap<(String, String), Operation>);

impl Operations {
    /// Reads a description.
    ///
    /// # Panics
    ///
    /// If an operation has no id or not exactly one scope, which is a bug that every start would show.
    pub(crate) fn of(description: &Value) -> Self {
        let mut all = HashMap::new();
        for (path, methods) in description["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let id = operation["operationId"].as_str().expect("every operation has an id");
                let scopes = operation["security"][0][SCHEME].as_array();
                let scope = match scopes.map(Vec::as_slice) {
                    Some([scope]) => scope.as_str().and_then(Scope::parse),
                    _ => None,
                };
                let scope = scope.unwrap_or_else(|| panic!("`{id}` needs one scope"));
                let in_workspace = operation["tags"][0] != OF_ORGANIZATION;
                let one = Operation { id: id.into(), scope, in_workspace };
                all.insert((method.clone(), path.clone()), one);
            }
        }
        Self(all)
    }

    /// Adds what is not described, because it is not for clients.
    pub(crate) fn and(mut self, (path, id, scope): (&str, &str, Scope)) -> Self {
        let one = Operation { id: id.into(), scope, in_workspace: false };
        self.0.insert(("get".into(), path.into()), one);
        self
    }

    /// Adds what a dialect has, whose description is its vendor's.
    pub(crate) fn and_door(mut self, door: &Door) -> Self {
        let one = Operation { id: door.id.into(), scope: door.scope, in_workspace: true };
        self.0.insert((door.method.as_str().to_lowercase(), door.path.into()), one);
        self
    }

    /// Returns what a request to a route is; `HEAD` is asked like `GET`.
    pub(crate) fn find(&self, method: &Method, path: &str) -> Option<&Operation> {
        let method =
            if method == Method::HEAD { "get".into() } else { method.as_str().to_lowercase() };
        self.0.get(&(method, path.to_owned()))
    }
}
