//! Documents: versioned JSON of a workspace, for whatever a door has to keep that no other word is for.

use chrono::{DateTime, Utc};

/// A document.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What sort of thing it is; part of its name.
    pub kind: String,
    /// Its name among those of the kind, in the client's words.
    pub id: String,
    /// What it says.
    pub body: serde_json::Value,
    /// Another one after each write, also of another document under the same name.
    pub etag: String,
    /// Who wrote it last.
    pub author: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was written last.
    pub updated_at: DateTime<Utc>,
}

/// A document to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDocument {
    /// See [`Document::kind`].
    pub kind: String,
    /// See [`Document::id`].
    pub id: String,
    /// See [`Document::body`].
    pub body: serde_json::Value,
    /// See [`Document::etag`]; minted by whoever writes.
    pub etag: String,
    /// See [`Document::author`].
    pub author: String,
}

/// What a write is built on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Basis {
    /// There is no such document.
    Nothing,
    /// It has this tag.
    Etag(String),
    /// It is there, whatever it says.
    Anything,
}
