//! SQL over HTTP.
//!
//! Contract: one `SELECT` over the workspace's datasets and views; rows are streamed. What goes wrong before the first
//! bytes is a problem; after that the answer breaks off, so that no client takes a part for the whole.

mod ipc;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, TryStreamExt};
use model::format::FormatSpec;
use model::ports::SqlStream;
use model::schema::Schema;
use model::{Code, PortError};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::Core;
use crate::answer::{self, Answer};
use crate::http::body::JsonBody;
use crate::http::caller::Caller;
use crate::http::problem::{Problem, Problems};

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// One `SELECT`.
    sql: String,
    /// How the rows are written; `jsonl` without it.
    #[serde(default)]
    format: Form,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Form {
    /// A JSON object a line.
    #[default]
    Jsonl,
    /// CSV with a header.
    Csv,
    /// Parquet.
    Parquet,
    /// An Arrow IPC stream.
    Arrow,
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// Returns the format of exports that this is, with the settings that a reader of an answer expects; Arrow is none.
    fn spec(self) -> Option<FormatSpec> {
        let (format, option) = match self {
            Self::Jsonl => ("jsonl", Some(("jsonl.nulls", "keep"))),
            Self::Csv => ("csv", None),
            Self::Parquet => ("parquet", None),
            Self::Arrow => return None,
        };
        let options = option.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Some(FormatSpec {
            format: format.into(),
            compression: None,
            options: options.collect::<BTreeMap<_, _>>(),
            file_rows: None,
            file_bytes: None,
            name: None,
            folder: None,
            md5: false,
        })
    }

    /// Writes rows.
    fn write(self, core: &Core, schema: &Schema, rows: SqlStream) -> Result<Answer, PortError> {
        let Some(spec) = self.spec() else { return Ok(ipc::stream(schema, rows)?.boxed()) };
        answer::encoded(core, &spec, schema, rows)
    }
}

/// Answers one `SELECT` over datasets and views of the workspace.
#[utoipa::path(post, path = "/v1/sql", operation_id = "sql.query", tag = "sql",
    request_body(content = Question, example = json!({ "sql": "SELECT count(*) AS n FROM orders" })),
    security(("token" = ["data:read"])),
    responses(
        (status = 200, content((String = "application/x-ndjson"), (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.parquet"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"))), Problems))]
pub(super) async fn query(
    State(core): State<Core>,
    caller: Caller,
    version: Version,
    JsonBody(question): JsonBody<Question>,
) -> Result<Response, Problem> {
    if version == Version::HTTP_10 {
        let detail = "an answer that breaks off looks whole over HTTP/1.0; use HTTP/1.1";
        let status = StatusCode::HTTP_VERSION_NOT_SUPPORTED;
        return Err(Problem::with_status(status, Code::Invalid, detail));
    }
    let permit = core.question()?;
    let now = core.clock.now();
    let asked = core.query.sql(&caller.workspace, &question.sql, now).await;
    let (schema, rows) = asked.map_err(Problem::in_sql)?;
    let mut bytes = question.format.write(&core, &schema, rows)?;
    let first = bytes.try_next().await?;
    let rest = bytes.map_err(|error| {
        tracing::warn!(%error, "an answer broke off");
        std::io::Error::other(error.to_string())
    });
    // Given back when the answer is sent, or nobody reads it any more.
    let all = futures::stream::iter(first.map(Ok)).chain(rest).inspect(move |_| {
        let _held = &permit;
    });
    let media_type = question.format.media_type();
    Ok(([(header::CONTENT_TYPE, media_type)], Body::from_stream(all)).into_response())
}
