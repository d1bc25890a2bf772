//! `organization`, `workspace`, `principal` and `token`: who may do what.

use chrono::{DateTime, TimeDelta, Utc};
use model::access::{self, NewToken, TokenText};
use model::ports::{Access, Enrolments};
use model::{Code, Fault, OrganizationId, PortError, PrincipalId, TokenId, WorkspaceId, names};
use serde::Serialize;
use server::dialects::{self, Dialect, Example};

use super::demo::canonical::newest;
use super::serve::say_first_token;
use crate::app::App;
use crate::cli::{self, CreateToken};
use crate::failed::Failed;
use crate::output::table;

/// Does an `organization` command.
pub(crate) async fn organization(app: &App, command: cli::Organization) -> Result<(), Failed> {
    match command {
        cli::Organization::Create { name } => {
            names::check("an organization", &name)?;
            let (id, created_at) = (OrganizationId::mint(), app.clock.now());
            let new = access::Organization { id, name, created_at };
            // So that there is one to work in.
            let first = access::Workspace {
                id: WorkspaceId::mint(),
                name: access::DEFAULT.into(),
                organization: new.id.clone(),
                created_at,
            };
            app.store.create_organization(&new, &first).await?;
            let text = format!("made the organization `{}`, {}", new.name, new.id);
            Ok(app.output.value(&new, |out| writeln!(out, "{text}"))?)
        }
        cli::Organization::List => {
            let all = app.store.organizations().await?;
            let row = |one: &access::Organization| vec![one.name.clone(), one.id.to_string()];
            let rows: Vec<_> = all.iter().map(row).collect();
            Ok(app.output.value(&all, |out| table(out, &["organization", "id"], &rows))?)
        }
    }
}

/// Does a `workspace` command.
pub(crate) async fn workspace(app: &App, command: cli::Workspace) -> Result<(), Failed> {
    match command {
        cli::Workspace::Create { name } => {
            names::check("a workspace", &name)?;
            let (id, created_at) = (WorkspaceId::mint(), app.clock.now());
            let organization = app.organization.clone();
            let new = access::Workspace { id, name, organization, created_at };
            app.store.create_workspace(&new).await?;
            let text = format!("made the workspace `{}`, {}", new.name, new.id);
            Ok(app.output.value(&new, |out| writeln!(out, "{text}"))?)
        }
        cli::Workspace::List => {
            let all = app.store.workspaces(&app.organization).await?;
            let row = |one: &access::Workspace| vec![one.name.clone(), one.id.to_string()];
            let rows: Vec<_> = all.iter().map(row).collect();
            Ok(app.output.value(&all, |out| table(out, &["workspace", "id"], &rows))?)
        }
    }
}

/// Does a `principal` command.
pub(crate) async fn principal(app: &App, command: cli::Principal) -> Result<(), Failed> {
    match command {
        cli::Principal::Create { name } => {
            names::check("a principal", &name)?;
            let new = access::Principal {
                id: PrincipalId::mint(),
                name,
                organization: app.organization.clone(),
                created_at: app.clock.now(),
                disabled_at: None,
            };
            app.store.create_principal(&new).await?;
            let text = format!("made the principal `{}`, {}", new.name, new.id);
            Ok(app.output.value(&new, |out| writeln!(out, "{text}"))?)
        }
        cli::Principal::List => {
            let all = app.store.principals(&app.organization).await?;
            let row = |one: &access::Principal| {
                vec![one.name.clone(), one.id.to_string(), time(one.disabled_at)]
            };
            let rows: Vec<_> = all.iter().map(row).collect();
            let header = ["principal", "id", "disabled"];
            Ok(app.output.value(&all, |out| table(out, &header, &rows))?)
        }
        cli::Principal::Disable { name } => {
            let now = app.clock.now();
            let one = app.store.disable_principal(&app.organization, &name, now).await?;
            let text = format!("disabled the principal `{}`", one.name);
            Ok(app.output.value(&one, |out| writeln!(out, "{text}"))?)
        }
    }
}

/// Does a `token` command.
pub(crate) async fn token(app: &App, command: cli::Token) -> Result<(), Failed> {
    match command {
        cli::Token::Create(args) => create_token(app, args).await,
        cli::Token::List => list_tokens(app).await,
        cli::Token::Revoke { id } => {
            let (id, now) = (TokenId::new(id), app.clock.now());
            let one = app.store.revoke_token(&app.organization, &id, now).await?;
            Ok(app.output.value(&one, |out| writeln!(out, "revoked the token {id}"))?)
        }
    }
}

/// A token with its text, which is shown this once.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    token: &'a access::Token,
    text: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    lines: &'a [String],
}

async fn create_token(app: &App, args: CreateToken) -> Result<(), Failed> {
    let text = mint()?;
    let now = app.clock.now();
    let principal = match (args.principal, args.dialect) {
        (Some(principal), _) => principal,
        (None, Some(kind)) => principal_for(app, kind).await?,
        (None, None) => return Err(Failed::request("name who it is for with --principal")),
    };
    let new = NewToken {
        id: TokenId::mint(),
        principal,
        workspace: (!args.everywhere).then(|| app.workspace.to_string()),
        scopes: args.dialect.map_or(args.scopes, |kind| kind.scopes.to_vec()),
        expires_at: args.days.map(|days| now + TimeDelta::days(days.into())),
        sha256: text.sha256(),
    };
    // First what may fail: a token that is made and not shown is no use to anybody.
    let lines = match args.dialect {
        Some(kind) => lines(app, kind, &text).await?,
        None => Vec::new(),
    };
    let token = app.store.create_token(&app.organization, &new, now).await?;
    let shown = Shown { token: &token, text: text.reveal(), lines: &lines };
    app.output.value(&shown, |out| {
        if lines.is_empty() {
            return writeln!(out, "{}", text.reveal());
        }
        lines.iter().try_for_each(|line| writeln!(out, "{line}"))
    })?;
    Ok(())
}

/// Returns the name of whoever acts for scripts of a dialect, made if there is nobody.
pub(crate) async fn principal_for(app: &App, kind: &Dialect) -> Result<String, Failed> {
    say_first_token(app).await?;
    let name = (&app.organization, kind.name);
    Ok(dialects::principal(&*app.store, name, app.clock.now()).await?)
}

/// Returns lines to paste, each complete in itself.
async fn lines(app: &App, kind: &Dialect, token: &TokenText) -> Result<Vec<String>, Failed> {
    let newest = newest(app).await?;
    let enrolment = app.store.enrolment(&app.workspace, kind.name).await?;
    if kind.enrols && enrolment.is_none() {
        return Err(Failed::request(format!(
            "the workspace is not enabled for {name}; `sluice {name} enable` does it",
            name = kind.name
        )));
    }
    let example = Example {
        url: &url(app),
        token,
        day: newest.date_naive(),
        hour: newest,
        enrolment: enrolment.as_ref(),
    };
    Ok((kind.examples)(&example))
}

/// Returns where clients find a server with these settings, without a slash at its end.
pub(crate) fn url(app: &App) -> String {
    let server = &app.server;
    let scheme = if server.tls_cert.is_empty() { "http" } else { "https" };
    match &*server.public_url {
        "" => format!("{scheme}://{}", server.listen),
        url => url.trim_end_matches('/').to_owned(),
    }
}

/// Makes the text of a token.
pub(crate) fn mint() -> Result<TokenText, Failed> {
    Ok(TokenText::from_random(secret()?))
}

/// Returns random bits of the system's.
pub(crate) fn secret() -> Result<[u8; 32], PortError> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|e| {
        let message = "the system gives no random bits; try again";
        PortError::caused(Code::Unavailable, Fault::Own, message, e)
    })?;
    Ok(bits)
}

async fn list_tokens(app: &App) -> Result<(), Failed> {
    let all = app.store.tokens(&app.organization).await?;
    let principals = app.store.principals(&app.organization).await?;
    let row = |token: &access::Token| {
        let principal = principals.iter().find(|one| one.id == token.principal);
        let scopes: Vec<_> = token.scopes.iter().map(|scope| scope.as_str()).collect();
        vec![
            token.id.to_string(),
            principal.map_or_else(String::new, |one| one.name.clone()),
            token.workspace.as_ref().map_or_else(|| "all".into(), ToString::to_string),
            scopes.join(" "),
            time(token.expires_at),
            time(token.used_at),
            time(token.revoked_at),
        ]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let header = ["token", "principal", "workspace", "scopes", "expires", "used", "revoked"];
    Ok(app.output.value(&all, |out| table(out, &header, &rows))?)
}

fn time(at: Option<DateTime<Utc>>) -> String {
    at.map_or_else(String::new, |at| at.format("%Y-%m-%d %H:%M").to_string())
}
