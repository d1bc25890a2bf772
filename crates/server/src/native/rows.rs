//! Rows over HTTP.
//!
//! Contract: a body is one commit or none, and the answer comes after the commit is durable. With an
//! `Idempotency-Key` a repeat within [`KEY_DAYS`] is answered like the first time and adds nothing.

use axum::Json;
use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use chrono::{DateTime, Utc};
use model::dataset::DatasetKind;
use model::limits::KEY_DAYS;
use model::ports::{Import, ImportContent, ImportFile, ImportReport, InputFormat};
use model::{Code, names};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::body::{Segment, key, media_type, unsupported, whole};
use crate::http::caller::Caller;
use crate::http::problem::{Problem, Problems};
use crate::{BODY_BYTES_MAX, Core};

/// Bytes that it may unpack to.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// Ways in which a body may be packed.
const CODINGS: [&str; 3] = ["gzip", "zstd", "identity"];

/// What became of the rows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Added {
    /// The dataset's name.
    dataset: String,
    /// Whether this made the dataset.
    created: bool,
    /// The commit that they are in.
    commit: u64,
    /// Its time.
    time: DateTime<Utc>,
    /// The batch that they are.
    batch: Option<String>,
    /// How many there are.
    rows: u64,
    /// Whether they were there already, by their key.
    repeated: bool,
}

impl From<ImportReport> for Added {
    fn from(report: ImportReport) -> Self {
        Self {
            dataset: report.dataset,
            created: report.created,
            commit: report.commit.0,
            time: report.time,
            batch: report.batch.map(|id| id.to_string()),
            rows: report.rows,
            repeated: report.repeated,
        }
    }
}

/// Adds rows; all of them in one commit, durable before the answer, or none.
///
/// A JSON object a line (`application/x-ndjson`) or an array of objects (`application/json`), as it is or packed with gzip or
/// zstd. The dataset is made by its first rows. Of canonical events (`event`) the commit says when they were received: `received_at` stays empty.
#[utoipa::path(post, path = "/v1/datasets/{dataset}/rows", operation_id = "rows.add", tag = "datasets",
    params(("dataset" = String, Path, description = "Its name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat within 7 days return the first answer")),
    request_body(content((String = "application/x-ndjson"), (Vec<Object> = "application/json"))),
    security(("token" = ["data:write"])),
    responses(
        (status = 200, body = Added), Problems))]
pub(super) async fn add(
    State(core): State<Core>,
    caller: Caller,
    Segment(dataset): Segment,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Added>), Problem> {
    names::check("a dataset", &dataset)?;
    let format = format(&headers)?;
    let key = key(&headers)?;
    // Before the body is read: those that wait hold nothing.
    let mut permit = core.room_for(weight(&headers, &body)).await;
    let bytes = whole(body, BODY_BYTES_MAX).await?;
    if is_packed(&bytes) && !headers.contains_key(header::CONTENT_ENCODING) {
        // It is more than it looked like. Nobody waits for others while they hold what others wait for.
        drop(permit);
        permit = core.room_for(u64::MAX).await;
    }
    let content = ImportContent::Text { bytes, text_bytes_max: TEXT_BYTES_MAX };
    let import = Import {
        workspace: caller.workspace.clone(),
        dataset,
        kind: DatasetKind::default(),
        time_column: None,
        schema: None,
        receive_time: None,
        live: true,
        files: vec![ImportFile { name: "body".into(), content }],
        format,
        replace: None,
        batch: None,
        key,
        key_days: Some(KEY_DAYS),
        rejects: None,
    };
    let report = core.take_in(import, permit).await?;
    Ok((StatusCode::OK, Json(report.into())))
}

fn format(headers: &HeaderMap) -> Result<InputFormat, Problem> {
    let packed = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
    if packed.is_some_and(|packed| !CODINGS.iter().any(|one| one.eq_ignore_ascii_case(packed))) {
        let detail = "the body is packed in a way that is not known; use gzip or zstd";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::with_status(status, Code::Invalid, detail).at("Content-Encoding"));
    }
    match &*media_type(headers) {
        "application/x-ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(InputFormat::Jsonl)
        }
        "application/json" => Ok(InputFormat::Json),
        _ => Err(unsupported("send `application/x-ndjson` or `application/json`")),
    }
}

/// Returns how many bytes a body counts for: as many as it has, or the most where nobody knows what it comes to.
fn weight(headers: &HeaderMap, body: &Body) -> u64 {
    let packed = headers.contains_key(header::CONTENT_ENCODING);
    body.size_hint().exact().filter(|_| !packed).unwrap_or(u64::MAX)
}

/// Returns whether a body is packed, by its first bytes.
fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x1f\x8b") || bytes.starts_with(b"\x28\xb5\x2f\xfd")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_counts_for_what_it_may_come_to() {
        let of = |body: &[u8], packed: bool| {
            let mut headers = HeaderMap::new();
            if packed {
                headers.insert(header::CONTENT_ENCODING, "gzip".parse().expect("a value"));
            }
            weight(&headers, &Body::from(body.to_vec()))
        };
        let of = |body: &[u8], packed| crate::mib(of(body, packed));
        assert_eq!([of(b"", false), of(b"{}", false), of(b"{}", true)], [1, 1, 32]);
        assert_eq!(of(&vec![b' '; (3 << 20) + 1], false), 4);
        let stream = futures::stream::empty::<Result<bytes::Bytes, std::io::Error>>();
        assert_eq!(crate::mib(weight(&HeaderMap::new(), &Body::from_stream(stream))), 32);
    }
}
