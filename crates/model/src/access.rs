//! Who may do what: organizations, workspaces, principals and tokens, and the log of what they changed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::digest;
use crate::ids::{AuditId, LinkId, OrganizationId, PrincipalId, TokenId, WorkspaceId};

/// The name of the organization and of the workspace that are there from the start.
pub const DEFAULT: &str = "default";

/// The name of the principal that the first start makes.
pub const FIRST_PRINCIPAL: &str = "admin";

/// What every token's text begins with, so that scanners of leaked secrets find it.
const TOKEN_PREFIX: &str = "slt_";

/// A tenant: its workspaces, and who acts in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organization {
    /// Never changes.
    pub id: OrganizationId,
    /// Unique.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// The isolated unit of an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// Never changes.
    pub id: WorkspaceId,
    /// Unique within the organization.
    pub name: String,
    /// Whose it is.
    pub organization: OrganizationId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A person or a program that acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Never changes.
    pub id: PrincipalId,
    /// Unique within the organization.
    pub name: String,
    /// Where it belongs.
    pub organization: OrganizationId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was shut out; none of its tokens opens anything since.
    pub disabled_at: Option<DateTime<Utc>>,
}

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Scope {
    /// Rows in, and changes to datasets, views and documents.
    #[serde(rename = "data:write")]
    DataWrite,
    /// Rows and descriptions out.
    #[serde(rename = "data:read")]
    DataRead,
    /// Exports and their runs.
    #[serde(rename = "export:run")]
    ExportRun,
    /// All of that, in every workspace of the organization, and workspaces, principals and tokens.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::DataWrite, Self::DataRead, Self::ExportRun, Self::Admin];

    /// Returns the scope as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DataWrite => "data:write",
            Self::DataRead => "data:read",
            Self::ExportRun => "export:run",
            Self::Admin => "admin",
        }
    }

    /// Returns the scope that is written so.
    ///
    /// ```
    /// use model::access::Scope;
    /// assert!(Scope::ALL.iter().all(|scope| Scope::parse(scope.as_str()) == Some(*scope)));
    /// assert_eq!(Scope::parse("root"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// A key to a workspace, or to all of an organization's; its text is nowhere kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Never changes; it is no secret.
    pub id: TokenId,
    /// Who acts with it.
    pub principal: PrincipalId,
    /// The only workspace that it opens; every one of the organization without it.
    pub workspace: Option<WorkspaceId>,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it opens nothing.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it is taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to a minute.
    pub used_at: Option<DateTime<Utc>>,
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The id minted for it.
    pub id: TokenId,
    /// Who will act with it, by id or name.
    pub principal: String,
    /// The only workspace that it shall open, by id or name.
    pub workspace: Option<String>,
    /// What it shall allow.
    pub scopes: Vec<Scope>,
    /// From when on it shall open nothing.
    pub expires_at: Option<DateTime<Utc>>,
    /// SHA-256 of its text.
    pub sha256: String,
}

/// The text of a token: whoever has it may do what the token allows.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText(String);

impl TokenText {
    /// Writes 256 random bits as the text of a token.
    pub fn from_random(bits: [u8; 32]) -> Self {
        Self(format!("{TOKEN_PREFIX}{}", digest::hex(&bits)))
    }

    /// Takes a text that may be a token's; `None` if it cannot be one.
    ///
    /// ```
    /// use model::access::TokenText;
    /// let text = TokenText::from_random([7; 32]);
    /// assert!(TokenText::parse(text.reveal()).is_some_and(|same| same == text));
    /// assert!(TokenText::parse("slt_short").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let bits = text.strip_prefix(TOKEN_PREFIX)?;
        let is_hex = bits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (bits.len() == 64 && is_hex).then(|| Self(text.to_owned()))
    }

    /// Takes the random part of a text alone, as [`TokenText::bare`] returns it.
    pub fn from_bare(bits: &str) -> Option<Self> {
        Self::parse(&format!("{TOKEN_PREFIX}{bits}"))
    }

    /// Returns the secret itself, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the random part alone, 64 hex digits, for clients that take letters and digits only.
    ///
    /// ```
    /// use model::access::TokenText;
    /// let text = TokenText::from_random([7; 32]);
    /// assert!(TokenText::from_bare(text.bare()).is_some_and(|same| same == text));
    /// ```
    pub fn bare(&self) -> &str {
        &self.0[TOKEN_PREFIX.len()..]
    }

    /// Returns what is kept of it.
    pub fn sha256(&self) -> String {
        digest::sha256_hex(self.0.as_bytes())
    }
}

impl std::fmt::Debug for TokenText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenText(…)")
    }
}

/// What a token that was shown opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The token.
    pub token: TokenId,
    /// Who acts.
    pub principal: PrincipalId,
    /// The organization.
    pub organization: OrganizationId,
    /// The only workspace; every one of the organization without it.
    pub workspace: Option<WorkspaceId>,
    /// What is allowed.
    pub scopes: Vec<Scope>,
}

impl Grant {
    /// Returns whether it allows what the scope names.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person at the command line, by the name that the system gives them.
    Shell(String),
    /// A principal, by a token.
    Token {
        /// Who.
        principal: PrincipalId,
        /// By what.
        token: TokenId,
    },
    /// Whoever has an address of a link.
    Link(LinkId),
}

/// A change that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAudit {
    /// The id minted for the entry.
    pub id: AuditId,
    /// Who asks.
    pub actor: Actor,
    /// The organization whose it is.
    pub organization: OrganizationId,
    /// The workspace, if it is in one.
    pub workspace: Option<WorkspaceId>,
    /// What is asked, as `dataset.create`.
    pub action: String,
    /// The name or id of what it is done to.
    pub target: String,
    /// The request, where it came over HTTP.
    pub request: Option<String>,
}

/// An entry of the log of changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// Entries sort by it as they were asked for.
    pub id: AuditId,
    /// When it was asked for.
    pub time: DateTime<Utc>,
    /// Who asked.
    pub actor: Actor,
    /// The workspace, if it was in one.
    pub workspace: Option<WorkspaceId>,
    /// What was asked, as `dataset.create`.
    pub action: String,
    /// The name or id of what it was done to.
    pub target: String,
    /// The request, where it came over HTTP.
    pub request: Option<String>,
    /// `done`, or the code of the reason why not; nothing if the process ended before it was known.
    pub outcome: Option<String>,
}
