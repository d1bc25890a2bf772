//! `serve`: the server, until it is asked to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fs, io};

use model::access::{FIRST_PRINCIPAL, NewToken, Scope, TokenText};
use model::ports::Access;
use model::{OrganizationId, PrincipalId, TokenId};
use run::TokioPauses;
use server::{Core, Executor, Gates, Keeper};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::access::{mint, secret};
use crate::app::{App, owner};
use crate::durable;
use crate::failed::Failed;
use crate::places::Who;

/// Serves until asked to stop; `requests` are lines that somebody may paste, made when the address is known.
pub(crate) async fn serve(
    app: &App,
    listen: Option<String>,
    requests: impl FnOnce(&App, &str) -> Vec<String>,
) -> Result<(), Failed> {
    let address = listen.unwrap_or_else(|| app.server.listen.clone());
    let listener = TcpListener::bind(&address).await.map_err(|e| {
        Failed::request(format!("cannot listen on `{address}`: {e}; choose another"))
    })?;
    if let Some(path) = first_token(app).await? {
        let path = path.display().to_string();
        let told = serde_json::json!({ "admin_token": path });
        app.output.value(&told, |out| {
            writeln!(out, "the token of the first administrator is in {path}")
        })?;
    }
    let address = listener.local_addr()?.to_string();
    let requests = requests(app, &address);
    if !requests.is_empty() {
        let told = serde_json::json!({ "requests": requests });
        app.output.value(&told, |out| {
            writeln!(out, "\nWhat to ask the server from another terminal; Ctrl-C stops it")?;
            requests.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
            writeln!(out)
        })?;
    }
    // The last line: who starts a server waits for it.
    let told = serde_json::json!({ "listening": address });
    app.output.value(&told, |out| writeln!(out, "listening on http://{address}"))?;
    let stop = stop()?;
    Ok(server::serve(listener, core(app), stop).await?)
}

fn core(app: &App) -> Core {
    let executor = Executor {
        coordinator: app.coordinator(Who::Tenant),
        runs: app.store.clone(),
        ledger: app.store.clone(),
        liveness: Arc::new(app.locks.clone()),
        pauses: Arc::new(TokioPauses),
        clock: app.clock.clone(),
        wake: Arc::default(),
        ended: Arc::default(),
    };
    let keeper = Keeper {
        duties: app.store.clone(),
        upkeep: app.lake.clone(),
        pauses: Arc::new(TokioPauses),
        clock: app.clock.clone(),
        owner: format!("{}, {}", owner(), uuid::Uuid::new_v4().simple()),
    };
    Core {
        executor,
        keeper,
        destinations: Arc::new(app.places(Who::Tenant)),
        access: app.store.clone(),
        catalog: app.store.clone(),
        places: app.store.clone(),
        rules: Arc::new(app.rules.clone()),
        ingest: app.lake.clone(),
        query: app.lake.clone(),
        upkeep: app.lake.clone(),
        encoder: app.formats.clone(),
        secret,
        clock: app.clock.clone(),
        gates: Gates::default(),
    }
}

/// Returns what is ready when the process is asked to stop.
fn stop() -> Result<impl Future<Output = ()> + Send + 'static, Failed> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: requests that came before are answered");
    })
}

/// Makes the first administrator's token where nobody may do anything yet; returns the file that it is in, to
/// whoever made it.
///
/// The file comes first, so that no token is known whose text nobody has: a start that dies in between
/// leaves a file which the next start takes up.
async fn first_token(app: &App) -> Result<Option<PathBuf>, Failed> {
    let organization = OrganizationId::default_organization();
    if !app.store.principals(&organization).await?.is_empty() {
        return Ok(None);
    }
    let path = app.folder.admin_token();
    let text = durable::kept(&path, mint()?.reveal())
        .map_err(|e| Failed::internal(format!("cannot write `{}`: {e}", path.display())))?;
    let text = TokenText::parse(text.trim()).ok_or_else(|| {
        Failed::request(format!("`{}` holds no token; remove it and start again", path.display()))
    })?;
    let new = NewToken {
        id: TokenId::mint(),
        principal: FIRST_PRINCIPAL.into(),
        workspace: None,
        scopes: vec![Scope::Admin],
        expires_at: None,
        sha256: text.sha256(),
    };
    let now = app.clock.now();
    if app.store.create_first_token(&PrincipalId::mint(), &new, now).await? {
        return Ok(Some(path));
    }
    if app.store.grant(&new.sha256, now).await?.is_none() {
        // Another folder's process was faster: what is in this one opens nothing.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(None)
}
