//! Destinations: named places for exports. Secrets go in and never come out.

use std::collections::BTreeMap;
use std::fmt;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use model::destination::{Destination, NewDestination, Terms};
use model::ports::BadPlace;
use model::{Code, DestinationId, SecretText, names};
use run::{Step, Trial};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::Core;
use crate::http::body::{Asked, SecretBody, Segment};
use crate::http::caller::Caller;
use crate::http::change::Target;
use crate::http::etag::{Etag, IfMatch};
use crate::http::page::{Page, Paging};
use crate::http::problem::{Problem, Problems};

/// A place for exports.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DestinationBody {
    /// Never changes.
    id: String,
    /// Unique within the workspace.
    name: String,
    /// Where it is.
    url: String,
    /// How to get there, as far as it may be seen.
    settings: BTreeMap<String, String>,
    /// The names of the secrets that are set.
    secrets: Vec<String>,
    /// Grows with each change.
    version: u64,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
}

impl From<Destination> for DestinationBody {
    fn from(one: Destination) -> Self {
        Self {
            id: one.id.to_string(),
            name: one.name,
            url: one.url,
            settings: one.settings,
            secrets: one.secrets,
            version: one.version,
            created_at: one.created_at,
            updated_at: one.updated_at,
        }
    }
}

/// A destination with its tag.
type Tagged = (Etag, Json<DestinationBody>);

fn tagged(one: Destination) -> Tagged {
    (tag(&one), Json(one.into()))
}

fn tag(one: &Destination) -> Etag {
    Etag::new(one.id.as_str(), one.version)
}

/// Secrets as they come in. What is no text is found later, so that no message repeats it.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Secrets(BTreeMap<String, serde_json::Value>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets(…)")
    }
}

impl Secrets {
    fn read(self) -> Result<BTreeMap<String, Option<SecretText>>, Problem> {
        let read = |(name, value)| match value {
            serde_json::Value::Null => Ok((name, None)),
            serde_json::Value::String(text) => Ok((name, Some(SecretText::new(text)))),
            _ => {
                let detail = "a secret is not a text; send a string, or null to remove it";
                Err(Problem::new(Code::Invalid, detail).at("secrets"))
            }
        };
        self.0.into_iter().map(read).collect()
    }
}

/// A destination to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewDestinationBody {
    /// Letters, digits, `_`, `-` and `.`.
    name: String,
    /// Where it is; nothing secret may be in it.
    url: String,
    /// How to get there, as far as it may be seen.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// What is secret; no answer ever holds it.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Option<String>>, write_only)]
    secrets: Secrets,
}

/// What a destination shall be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DestinationChange {
    /// Where it is; nothing secret may be in it.
    url: String,
    /// How to get there, as far as it may be seen; others than these go.
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// Secrets to be set, or with null to be removed; others stay as they are.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, Option<String>>, write_only)]
    secrets: Secrets,
}

/// Destinations of the workspace, by name.
#[utoipa::path(get, path = "/v1/destinations", operation_id = "destination.list", tag = "destinations",
    params(Paging), security(("token" = ["export:run"])),
    responses(
        (status = 200, body = Page<DestinationBody>), Problems))]
pub(super) async fn list(
    State(core): State<Core>,
    caller: Caller,
    Asked(paging): Asked<Paging>,
) -> Result<Json<Page<DestinationBody>>, Problem> {
    let all = core.places.destinations(&caller.workspace).await?;
    let all = all.into_iter().map(DestinationBody::from).collect();
    Ok(Json(paging.cut(all, |one| one.name.clone())))
}

/// Makes a destination.
#[utoipa::path(post, path = "/v1/destinations", operation_id = "destination.create", tag = "destinations",
    request_body(content = NewDestinationBody, example = json!({
        "name": "partner-bucket", "url": "s3://exports/partner", "settings": { "region": "eu-central-1" },
        "secrets": { "access_key_id": "AKIAEXAMPLE", "secret_access_key": "example" } })),
    security(("token" = ["admin"])),
    responses(
        (status = 201, body = DestinationBody, headers(("ETag" = String))), Problems))]
pub(super) async fn create(
    State(core): State<Core>,
    caller: Caller,
    SecretBody(body): SecretBody<NewDestinationBody>,
) -> Result<(StatusCode, Extension<Target>, Tagged), Problem> {
    names::check("a destination", &body.name)?;
    let secrets = body.secrets.read()?;
    let terms = Terms { url: body.url, settings: body.settings, secrets };
    let terms = checked(&core, terms, &[]).await?;
    let new = NewDestination { id: DestinationId::mint(), name: body.name, terms };
    let made = core.places.create_destination(&caller.workspace, &new, core.clock.now()).await?;
    Ok((StatusCode::CREATED, Extension(Target(made.name.clone())), tagged(made)))
}

/// Returns terms that a tenant may have, with the one text of the place.
async fn checked(core: &Core, terms: Terms, set: &[String]) -> Result<Terms, Problem> {
    terms.check(set)?;
    let secrets = terms.secrets_after(set);
    let url = core.rules.check(&terms.url, &terms.settings, &secrets).await;
    let url = url.map_err(|BadPlace { part, error }| Problem::from(error).at(part))?;
    Ok(Terms { url, ..terms })
}

/// A destination.
#[utoipa::path(get, path = "/v1/destinations/{destination}", operation_id = "destination.show",
    tag = "destinations", params(("destination" = String, Path, description = "Its name")),
    security(("token" = ["export:run"])),
    responses(
        (status = 200, body = DestinationBody, headers(("ETag" = String))), Problems))]
pub(super) async fn show(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Tagged, Problem> {
    Ok(tagged(core.places.destination(&caller.workspace, &name).await?))
}

/// Changes a destination, if it is as it was read.
#[utoipa::path(put, path = "/v1/destinations/{destination}", operation_id = "destination.update",
    tag = "destinations", request_body = DestinationChange,
    params(("destination" = String, Path, description = "Its name"),
        ("If-Match" = String, Header, description = "The `ETag` that was read")),
    security(("token" = ["admin"])),
    responses(
        (status = 200, body = DestinationBody, headers(("ETag" = String))), Problems))]
pub(super) async fn update(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    seen: IfMatch,
    SecretBody(body): SecretBody<DestinationChange>,
) -> Result<Tagged, Problem> {
    let found = core.places.destination(&caller.workspace, &name).await?;
    seen.demand(&tag(&found))?;
    let secrets = body.secrets.read()?;
    let terms = Terms { url: body.url, settings: body.settings, secrets };
    let terms = checked(&core, terms, &found.secrets).await?;
    let (seen, now) = (found.seen(), core.clock.now());
    let change = (&seen, &terms);
    Ok(tagged(core.places.change_destination(&caller.workspace, &name, change, now).await?))
}

/// A step of a test.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepBody {
    /// What was tried.
    step: &'static str,
    /// `passed`, `failed`, or `skipped` because another one failed.
    state: &'static str,
    /// What was seen, or what is wrong.
    detail: Option<String>,
    /// What to do about it.
    remedy: Option<String>,
}

/// What a test came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrialBody {
    /// Whether every step was fine.
    ok: bool,
    /// The steps, in order.
    steps: Vec<StepBody>,
}

/// Tries out whether a destination can be delivered to, step by step, for up to two minutes.
///
/// What it writes is below a folder of its own and deleted at the end. The answer is 200 also where a step failed.
#[utoipa::path(post, path = "/v1/destinations/{destination}/test", operation_id = "destination.test",
    tag = "destinations", params(("destination" = String, Path, description = "Its name")),
    security(("token" = ["admin"])),
    responses(
        (status = 200, body = TrialBody), Problems))]
pub(super) async fn test(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
) -> Result<Json<TrialBody>, Problem> {
    let found = core.places.destination(&caller.workspace, &name).await?;
    let named = format!("destination:{}", found.name);
    let url = core.destinations.resolve(&caller.workspace, &named).await?;
    let objects = core.destinations.open(&caller.workspace, &url).await?;
    let folder = format!("sluice-trial-{}", Uuid::new_v4().simple());
    let Trial { ok, steps } = run::trial(&*objects, &folder, core.clock.now()).await;
    let body = |step: Step| StepBody {
        step: step.step,
        state: step.state.as_str(),
        detail: step.detail,
        remedy: step.remedy,
    };
    Ok(Json(TrialBody { ok, steps: steps.into_iter().map(body).collect() }))
}

/// Removes a destination and its secrets.
#[utoipa::path(delete, path = "/v1/destinations/{destination}", operation_id = "destination.delete",
    tag = "destinations",
    params(("destination" = String, Path, description = "Its name"),
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read")),
    security(("token" = ["admin"])),
    responses(
        (status = 204), Problems))]
pub(super) async fn delete(
    State(core): State<Core>,
    caller: Caller,
    Segment(name): Segment,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    let found = core.places.destination(&caller.workspace, &name).await?;
    seen.allow(&tag(&found))?;
    let state = seen.is_given().then(|| found.seen());
    core.places.delete_destination(&caller.workspace, &name, state.as_ref()).await?;
    Ok(StatusCode::NO_CONTENT)
}
