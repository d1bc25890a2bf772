//! Exports: what is asked for, and what it would come to.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use model::access::Scope;
use model::export::{Advance, Definition, RunKey};
use model::format::FormatSpec;
use model::into::IntoDataset;
use model::relation::{Relation, Selection, Source};
use model::{Code, CommitNumber, digest, names};
use run::{Amount, Forecast, Request};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Core;
use crate::http::body::JsonBody;
use crate::http::caller::Caller;
use crate::http::problem::{Problem, Problems};

/// Where a run delivers unless it is told otherwise.
const MANAGED: &str = "managed";

/// An export that is asked for: one of `dataset`, `view` and `sql`.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportBody {
    /// A dataset's name.
    dataset: Option<String>,
    /// A view's name.
    view: Option<String>,
    /// One `SELECT`.
    sql: Option<String>,
    /// The select list as SQL; all columns without it.
    columns: Option<String>,
    /// A condition as SQL.
    #[serde(rename = "where")]
    filter: Option<String>,
    /// Rows whose time is at or after this.
    since: Option<DateTime<Utc>>,
    /// Rows whose time is before this.
    until: Option<DateTime<Utc>>,
    /// `jsonl`, `csv` or `parquet`; `jsonl` without it, and `parquet` into a dataset.
    format: Option<String>,
    /// `none`, `gzip`, `zstd` or `snappy`; the format's default without it.
    compression: Option<String>,
    /// Options of the format, as in `{"csv.null": "\\N"}`.
    #[serde(default)]
    options: BTreeMap<String, String>,
    /// Rows of one file at most.
    file_rows: Option<u64>,
    /// Bytes of one file at most.
    file_bytes: Option<u64>,
    /// The template of file names; `part-{part}` without it.
    name: Option<String>,
    /// The template of the run's folder; `{export}/{run}` without it.
    folder: Option<String>,
    /// Where the files go; `managed`, the workspace's own, without it. `destination:NAME` for a destination, `dataset:NAME` for a dataset,
    /// which takes `?write=replace` (its rows come in the place of those that are there) and `&batch=file` (each file is a
    /// batch), and needs the scope `data:write`.
    destination: Option<String>,
    /// The name of an incremental export: its runs go on where the one before ended.
    export: Option<String>,
    /// Deliver a range once more that was delivered before.
    #[serde(default)]
    again: bool,
    /// The commit after which rows are taken.
    from_commit: Option<u64>,
    /// The commit up to which rows are taken; the newest without it.
    to_commit: Option<u64>,
}

impl ExportBody {
    /// Returns a digest of everything that is asked for.
    pub(super) fn fingerprint(&self) -> String {
        let text = serde_json::to_vec(self).expect("it has only string keys");
        digest::sha256_hex(&text)
    }

    /// Refuses what only a single run may say.
    pub(super) fn check_saved(&self) -> Result<(), Problem> {
        let given = [
            ("export", self.export.is_some()),
            ("again", self.again),
            ("from_commit", self.from_commit.is_some()),
            ("to_commit", self.to_commit.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((field, _)) => {
                let detail = format!(
                    "`{field}` is for a single run; a saved export has a cursor of its own"
                );
                Err(Problem::new(Code::Invalid, detail).at(field))
            }
        }
    }

    /// Turns it into what the exports of a group have in common, each of a dataset of its own.
    pub(super) async fn of_group(
        mut self,
        core: &Core,
        caller: &Caller,
    ) -> Result<(Selection, FormatSpec, String), Problem> {
        let given = [
            ("dataset", self.dataset.is_some()),
            ("view", self.view.is_some()),
            ("sql", self.sql.is_some()),
        ];
        if let Some((field, _)) = given.into_iter().find(|(_, given)| *given) {
            let detail = format!("`{field}` is for a single export; name `datasets` of the group");
            return Err(Problem::new(Code::Invalid, detail).at(field));
        }
        // Of any: what comes of it is the same for each.
        self.dataset = Some(String::new());
        let Definition { relation, format, destination, .. } =
            self.request(core, caller, None).await?.definition;
        Ok((relation.selection, format, destination))
    }

    /// Turns it into what the core takes.
    pub(super) async fn request(
        self,
        core: &Core,
        caller: &Caller,
        key: Option<RunKey>,
    ) -> Result<Request, Problem> {
        let source = match (self.dataset, self.view, self.sql) {
            (Some(name), None, None) => Source::Dataset(name),
            (None, Some(name), None) => Source::View(name),
            (None, None, Some(text)) => Source::Sql(text),
            _ => {
                let detail = "name one of `dataset`, `view` and `sql`";
                return Err(Problem::new(Code::Invalid, detail).at("body"));
            }
        };
        if let (Some(since), Some(until)) = (self.since, self.until)
            && since > until
        {
            let detail = "the window ends before it begins; swap `since` and `until`";
            return Err(Problem::new(Code::Invalid, detail).at("until"));
        }
        if let Some(name) = &self.export {
            names::check("an export", name).map_err(|e| Problem::from(e).at("export"))?;
        }
        let advance = match (&self.export, self.again) {
            (None, false) => Advance::None,
            (Some(_), false) => Advance::Cursor,
            (Some(_), true) => Advance::Again,
            (None, true) => {
                let detail = "only a named export can be delivered again; name it in `export`";
                return Err(Problem::new(Code::Invalid, detail).at("again"));
            }
        };
        let named = self.destination.as_deref().unwrap_or(MANAGED);
        let destination = core.destinations.resolve(&caller.workspace, named).await;
        let destination = destination.map_err(|e| Problem::from(e).at("destination").in_body())?;
        permit(caller, &destination).map_err(|problem| problem.at("destination"))?;
        let selection = Selection {
            columns: self.columns,
            filter: self.filter,
            since: self.since,
            until: self.until,
        };
        let format = FormatSpec {
            format: self.format.unwrap_or_else(|| IntoDataset::format(&destination).into()),
            compression: self.compression,
            options: self.options,
            file_rows: self.file_rows,
            file_bytes: self.file_bytes,
            name: self.name,
            folder: self.folder,
            md5: false,
        };
        let relation = Relation { source, selection };
        Ok(Request {
            workspace: caller.workspace.clone(),
            export: self.export,
            definition: Definition { relation, format, destination, meaning: None },
            advance,
            from: self.from_commit.map(CommitNumber),
            to: self.to_commit.map(CommitNumber),
            key,
            version: None,
            slot: None,
        })
    }
}

/// Refuses to deliver into a dataset for whoever may not write there.
pub(super) fn permit(caller: &Caller, destination: &str) -> Result<(), Problem> {
    match IntoDataset::of(destination) {
        Some(_) => caller.require(Scope::DataWrite),
        None => Ok(()),
    }
}

/// What an export would come to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanBody {
    /// The commit after which rows are taken.
    from_commit: u64,
    /// The commit up to which rows are taken.
    to_commit: u64,
    /// Rows that come out, if that can be said.
    rows: Option<u64>,
    /// Whether they were counted, not guessed from a sample.
    rows_exact: bool,
    /// Bytes of all files, guessed from a sample.
    bytes: Option<u64>,
    /// Whether the rows have to be computed first: then the files are not known yet.
    staged: bool,
    /// What decides the bytes besides the rows.
    encoder: String,
    /// The folder that a run now would have, relative to the destination's root.
    folder: String,
    /// How many files there would be.
    files: u64,
    /// The first of them.
    first_files: Vec<PlannedFile>,
}

/// A file to be.
#[derive(Debug, Serialize, ToSchema)]
struct PlannedFile {
    /// Its name, relative to the run's folder.
    name: String,
    /// Rows that are read for it.
    rows_read: u64,
}

/// Files that a plan names.
const PLANNED_FILES: usize = 100;

impl From<Forecast> for PlanBody {
    fn from(forecast: Forecast) -> Self {
        let number = |amount| match amount {
            Amount::Exact(value) | Amount::Estimate(value) => Some(value),
            Amount::Unknown => None,
        };
        let files = forecast.parts.len() as u64;
        let first = forecast.parts.into_iter().take(PLANNED_FILES);
        Self {
            from_commit: forecast.from.0,
            to_commit: forecast.to.0,
            rows: number(forecast.rows),
            rows_exact: matches!(forecast.rows, Amount::Exact(_)),
            bytes: number(forecast.bytes),
            staged: forecast.staged,
            encoder: forecast.encoding.encoder.to_string(),
            folder: forecast.folder,
            files,
            first_files: first
                .map(|part| PlannedFile { name: part.name, rows_read: part.rows })
                .collect(),
        }
    }
}

/// Says what an export would come to; nothing is written.
#[utoipa::path(post, path = "/v1/exports/plan", operation_id = "export.plan", tag = "exports",
    request_body(content = ExportBody, example = json!({
        "dataset": "orders", "format": "csv", "compression": "gzip" })),
    security(("token" = ["export:run"])),
    responses(
        (status = 200, body = PlanBody), Problems))]
pub(super) async fn plan(
    State(core): State<Core>,
    caller: Caller,
    JsonBody(body): JsonBody<ExportBody>,
) -> Result<Json<PlanBody>, Problem> {
    let _permit = core.question()?;
    let request = body.request(&core, &caller, None).await?;
    let forecast = Box::pin(core.opener.plan(&request)).await;
    Ok(Json(forecast.map_err(|error| Problem::from(error).in_body())?.into()))
}
