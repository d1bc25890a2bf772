//! The demo's rows as canonical data: what the dialects' reports read.
//!
//! Each line of an invoice with goods in it stands for a view of the product's page, by the customer, in the visit that the invoice was; a line that
//! takes goods back is an event of its own. No row is made up. `docs/guides/map-your-data.md` tells the same step by step.

use std::collections::BTreeMap;

use chrono::{DateTime, Days, TimeDelta, Utc};
use futures::TryStreamExt;
use model::TokenId;
use model::access::{NewToken, TokenText};
use model::enrolment::Enrolment;
use model::export::Advance;
use model::format::FormatSpec;
use model::ports::{Access, Catalog, Enrolments, Query};
use model::relation::{Relation, Selection, Source};
use server::canonical;
use server::dialects::{Dialect, KINDS};

use super::say;
use crate::app::App;
use crate::commands::access::{mint, principal_for};
use crate::commands::dialects;
use crate::commands::export::{Asked, deliver};
use crate::commands::serve::tell_first_token;
use crate::failed::Failed;
use crate::output::counted;

/// What each dataset is filled with.
const FILLED: [(&str, &str); 6] = [
    ("event", include_str!("event.sql")),
    ("individual", include_str!("individual.sql")),
    ("account", include_str!("account.sql")),
    ("identity", include_str!("identity.sql")),
    ("membership", include_str!("membership.sql")),
    ("segment", include_str!("segment.sql")),
];

/// Days for which a token of the demo opens something.
const TOKEN_DAYS: u64 = 30;

/// What the lines to paste are made of.
pub(crate) struct Prepared {
    /// A token for each dialect.
    pub(crate) tokens: Vec<(&'static Dialect, TokenText)>,
    /// The newest instant of which there are events.
    pub(crate) newest: DateTime<Utc>,
    /// What dialects call the workspace, by dialect.
    pub(crate) enrolments: BTreeMap<&'static str, Enrolment>,
}

/// Fills what is empty, and makes a token for each dialect.
pub(crate) async fn prepare(app: &App) -> Result<Prepared, Failed> {
    // Before there is anybody else.
    tell_first_token(app).await?;
    canonical::ensure_all((&*app.store, &*app.clock), &app.workspace).await?;
    for (name, sql) in FILLED {
        let snapshot = app.store.snapshot(&app.workspace, name, None).await?;
        if snapshot.files.is_empty() {
            let done = deliver(app, asked(name, sql)).await?;
            let rows = done.last().map_or(0, |run| run.rows);
            let rows = counted(rows, "row");
            say(app, &format!("6. filled the canonical dataset `{name}` with {rows}"))?;
        }
    }
    let mut tokens = Vec::new();
    for kind in KINDS {
        tokens.push((*kind, token(app, kind).await?));
    }
    let newest = newest(app).await?;
    dialects::prepare(app, newest).await?;
    let mut enrolments = BTreeMap::new();
    for kind in KINDS {
        let enrolment = app.store.enrolment(&app.workspace, kind.name).await?;
        enrolments.extend(enrolment.map(|enrolment| (kind.name, enrolment)));
    }
    Ok(Prepared { tokens, newest, enrolments })
}

fn asked(dataset: &str, sql: &str) -> Asked {
    let source = Source::Sql(sql.trim_end().to_owned());
    Asked {
        relation: Relation { source, selection: Selection::default() },
        format: FormatSpec::new("parquet"),
        to: format!("dataset:{dataset}"),
        export: None,
        advance: Advance::None,
        from_commit: None,
        to_commit: None,
    }
}

async fn token(app: &App, kind: &Dialect) -> Result<TokenText, Failed> {
    let (text, now) = (mint()?, app.clock.now());
    let new = NewToken {
        id: TokenId::mint(),
        principal: principal_for(app, kind).await?,
        workspace: Some(app.workspace.to_string()),
        scopes: kind.scopes.to_vec(),
        expires_at: now.checked_add_days(Days::new(TOKEN_DAYS)),
        sha256: text.sha256(),
    };
    app.store.create_token(&app.organization, &new, now).await?;
    Ok(text)
}

/// Returns the newest instant of which there are events, to a second; a day ago without any, or where they are told by another column.
pub(crate) async fn newest(app: &App) -> Result<DateTime<Utc>, Failed> {
    let now = app.clock.now();
    let yesterday = now - TimeDelta::days(1);
    let Ok(event) = app.store.dataset(&app.workspace, "event").await else {
        return Ok(yesterday);
    };
    if event.time_column.as_deref() != Some("time") {
        return Ok(yesterday);
    }
    let sql = "SELECT to_unixtime(max(time)) AS newest FROM event";
    let (_, rows) = app.lake.sql(&app.workspace, sql, now).await?;
    let rows: Vec<_> = rows.try_collect().await?;
    let seconds = rows.iter().find_map(|batch| {
        let column = batch.column(0).as_any().downcast_ref::<arrow::array::Int64Array>()?;
        column.iter().flatten().next()
    });
    let newest = seconds.and_then(|at| DateTime::<Utc>::from_timestamp(at, 0));
    Ok(newest.unwrap_or(yesterday))
}
