//! `growingio`: workspaces that are exported hour by hour.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use model::access::{NewToken, TokenText, Workspace};
use model::enrolment::Enrolment;
use model::ports::{Access, Tickets};
use model::ticket::TicketState;
use model::{SecretText, TokenId};
use run::{Pauses, TokioPauses};
use serde::Serialize;
use server::dialects::growingio::{Hour, Ports, Span, change_secret, enable, rebuild};
use server::dialects::{self, Dialect};

use crate::app::App;
use crate::cli::dialects::Growingio;
use crate::commands::access::{mint, principal_for, secret, url};
use crate::commands::demo::say;
use crate::commands::serve;
use crate::failed::Failed;
use crate::places::Who;

/// What the dialect is called.
const NAME: &str = "growingio";

/// Time between two looks at what is built.
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// What scripts need.
#[derive(Serialize)]
struct Shown<'a> {
    workspace: &'a str,
    ai: &'a str,
    project: &'a str,
    client_id: &'a str,
    enabled_at: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

/// Does a `growingio` command.
pub(crate) async fn growingio(app: &App, command: Growingio) -> Result<(), Failed> {
    match command {
        Growingio::Enable { name } => tell_enabled(app, &workspace(app, name).await?).await,
        Growingio::Secret { name } => {
            let workspace = workspace(app, name).await?;
            let new = change_secret(&*app.store, &workspace, secret).await?;
            let told = serde_json::json!({ "workspace": workspace.name, "secret": new.reveal() });
            Ok(app.output.value(&told, |out| writeln!(out, "{}", new.reveal()))?)
        }
        Growingio::Rebuild { from, to } => {
            let done = rebuild(&ports(app), &app.workspace, &Span { from, to }).await?;
            Ok(app.output.value(&done, |out| {
                writeln!(
                    out,
                    "asked for {} data types of {} hours, {} to {}; a server builds them",
                    done.asked, done.hours, done.from, done.to
                )
            })?)
        }
    }
}

async fn workspace(app: &App, name: Option<String>) -> Result<Workspace, Failed> {
    let name = name.unwrap_or_else(|| app.workspace.to_string());
    Ok(app.store.workspace(&app.organization, &name).await?)
}

fn kind() -> &'static Dialect {
    dialects::named(NAME).expect("it is one")
}

fn ports(app: &App) -> Ports {
    Ports {
        catalog: app.store.clone(),
        enrolments: app.store.clone(),
        tickets: app.store.clone(),
        destinations: Arc::new(app.places(Who::Tenant)),
        clock: app.clock.clone(),
        settings: app.dialects.clone(),
    }
}

async fn tell_enabled(app: &App, workspace: &Workspace) -> Result<(), Failed> {
    // Links would be cut wrongly from the first one on.
    (kind().check)(&app.dialects, &app.server.public_url).map_err(Failed::request)?;
    serve::say_first_token(app).await?;
    let ports = (&*app.store as _, &*app.store as _);
    let enabled = enable(ports, workspace, (secret, &*app.clock)).await?;
    let (enrolment, secret) = (&enabled.enrolment, enabled.secret.as_ref());
    if let Some(misfit) = &enabled.misfit {
        crate::output::say(&format!(
            "warning: {misfit}; until then only views of your own are exported"
        ));
    }
    // A token that never ends, once: others are made by `token create --for`.
    let token = match secret {
        Some(_) => Some(token(app, workspace).await?),
        None => None,
    };
    let lines = match (secret, &token) {
        (Some(secret), Some(token)) => lines(app, enrolment, (secret, token)),
        _ => Vec::new(),
    };
    let shown = Shown {
        workspace: &workspace.name,
        ai: enrolment.name("ai"),
        project: enrolment.name("project"),
        client_id: enrolment.name("client"),
        enabled_at: enrolment.since,
        secret: secret.map(SecretText::reveal),
        token: token.as_ref().map(TokenText::reveal),
        lines,
    };
    Ok(app.output.value(&shown, |out| {
        writeln!(out, "the workspace `{}` is enabled since {}", shown.workspace, shown.enabled_at)?;
        writeln!(out, "  ai         {}", shown.ai)?;
        writeln!(out, "  project    {}", shown.project)?;
        writeln!(out, "  client id  {}", shown.client_id)?;
        match (shown.secret, shown.token) {
            (Some(secret), Some(token)) => {
                writeln!(out, "  secret     {secret}")?;
                writeln!(out, "  token      {token}")?;
                writeln!(out, "Secret and token are shown this once. To sign in, and to ask for this hour, which is there half an hour after it has ended:")?;
                shown.lines.iter().try_for_each(|line| writeln!(out, "  {line}"))
            }
            _ => writeln!(out, "It was before; `sluice growingio secret` makes another secret, `sluice token create --for growingio` another token."),
        }
    })?)
}

async fn token(app: &App, workspace: &Workspace) -> Result<TokenText, Failed> {
    let text = mint()?;
    let new = NewToken {
        id: TokenId::mint(),
        principal: principal_for(app, kind()).await?,
        workspace: Some(workspace.id.to_string()),
        scopes: kind().scopes.to_vec(),
        expires_at: None,
        sha256: text.sha256(),
    };
    app.store.create_token(&app.organization, &new, app.clock.now()).await?;
    Ok(text)
}

/// Returns lines to paste: one that signs in, with the time at which it is pasted, and those that ask.
fn lines(
    app: &App,
    enrolment: &Enrolment,
    (secret, token): (&SecretText, &TokenText),
) -> Vec<String> {
    let url = url(app);
    let name = |kind: &str| enrolment.name(kind).to_owned();
    let (ai, project, client) = (name("ai"), name("project"), name("client"));
    let secret = secret.reveal();
    let sign_in = format!(
        "tm=$(date +%s)000; curl -sS -H 'X-Client-Id: {client}' --data \"project={project}&ai={ai}&tm=$tm&auth=$(printf 'POST\\n/auth/token\\nproject={project}&ai={ai}&tm=%s' $tm | openssl dgst -sha256 -hmac {secret} | sed 's/.* //')\" {url}/auth/token"
    );
    let now = app.clock.now();
    let example = dialects::Example {
        url: &url,
        token,
        day: now.date_naive(),
        hour: now,
        enrolment: Some(enrolment),
    };
    [vec![sign_in], (kind().examples)(&example)].concat()
}

/// Enables the workspace, and builds the hour of an instant.
pub(super) async fn prepare(app: &App, hour: DateTime<Utc>) -> Result<(), Failed> {
    let workspace = workspace(app, None).await?;
    let ports_of = (&*app.store as _, &*app.store as _);
    enable(ports_of, &workspace, (secret, &*app.clock)).await?;
    let hour = Hour::of(hour);
    let span = Span { from: hour.name(), to: None };
    rebuild(&ports(app), &app.workspace, &span).await?;
    let pauses: Arc<dyn Pauses> = Arc::new(TokioPauses);
    let executor = serve::executor(app, pauses.clone());
    let built = async {
        let keys = hour.keys();
        while is_building(app, &keys).await {
            pauses.pause(LOOK).await;
        }
    };
    executor.work(built).await;
    let all = app.store.tickets(&app.workspace, NAME, &hour.keys()).await?;
    if all.iter().any(|ticket| !matches!(ticket.state, TicketState::Ready { .. })) {
        return Err(Failed::internal(format!("the hour {} could not be built", hour.name())));
    }
    say(app, &format!("7. built the hour {} (Beijing time) for raw data export", hour.name()))
}

async fn is_building(app: &App, keys: &[String]) -> bool {
    match app.store.tickets(&app.workspace, NAME, keys).await {
        Ok(all) => all.iter().any(|ticket| {
            matches!(ticket.state, TicketState::Waiting | TicketState::Running { .. })
        }),
        Err(error) => {
            tracing::warn!(%error, "what is built could not be looked at");
            false
        }
    }
}
