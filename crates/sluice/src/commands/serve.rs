//! `serve`: the server, until it is asked to stop.
//!
//! SIGTERM and SIGINT stop it when what came before is answered, a second one at once; SIGHUP reads the files of TLS again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use model::access::{FIRST_PRINCIPAL, NewToken, Scope, TokenText};
use model::ports::{Access, Enrolments};
use model::{OrganizationId, PrincipalId, TokenId};
use objects::Local;
use run::{Pauses, TokioPauses};
use server::dialects::KINDS;
use server::links::Minting;
use server::tls::Tls;
use server::{
    Claims, Core, Executor, Gates, Keeper, Listeners, Metrics, Parts, Scheduler, Settings, Shelf,
    Signal, Times,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::access::{mint, secret};
use crate::app::App;
use crate::clock::Hasty;
use crate::failed::Failed;
use crate::output::say;
use crate::places::Who;
use crate::{config, durable};

/// Signals that may wait to be looked at; more say nothing new.
const SIGNALS: usize = 8;

/// What becomes of a port that somebody else has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// It is refused.
    Refused,
    /// One of the next is taken.
    Next,
}

/// Ports that are tried.
const PORTS_TRIED: u16 = 100;

/// Serves until asked to stop; `requests` are lines that somebody may paste, made when the address is known.
pub(crate) async fn serve(
    app: &App,
    (listen, busy): (Option<String>, Busy),
    requests: impl FnOnce(&App, &str) -> Vec<String>,
) -> Result<(), Failed> {
    let settings = settings(&app.server).await?;
    let main = bind_or_next(listen.as_ref().unwrap_or(&app.server.listen), busy).await?;
    let admin = match &*app.server.admin_listen {
        "" => None,
        address => Some(bind(address).await?),
    };
    let is_far = |one: &TcpListener| one.local_addr().is_ok_and(|at| !at.ip().is_loopback());
    if app.hasty && (is_far(&main) || admin.as_ref().is_some_and(is_far)) {
        let message = "a server with --test-clock listens to this machine only; use 127.0.0.1";
        return Err(Failed::request(message));
    }
    for kind in KINDS {
        // Only those that are in use.
        if !app.store.enrolments(kind.name).await?.is_empty() {
            (kind.check)(&app.dialects, &app.server.public_url).map_err(Failed::request)?;
        }
    }
    tell_first_token(app).await?;
    let shelf = shelf(app)?;
    let signals = signals()?;
    if let Some(admin) = &admin {
        let address = admin.local_addr()?.to_string();
        let told = serde_json::json!({ "admin_listening": address });
        app.output.value(&told, |out| writeln!(out, "health and metrics on http://{address}"))?;
    }
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    let address = main.local_addr()?.to_string();
    let requests = requests(app, &format!("{scheme}://{address}"));
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
    app.output.value(&told, |out| writeln!(out, "listening on {scheme}://{address}"))?;
    let listeners = Listeners { main, admin };
    let core = core(app, shelf, super::link::minting(app, &format!("{scheme}://{address}"))?);
    Ok(Box::pin(server::serve(listeners, core, settings, signals)).await?)
}

/// Listens at an address, or at one of the ports behind it.
async fn bind_or_next(address: &str, busy: Busy) -> Result<TcpListener, Failed> {
    let port = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (Busy::Next, Some((host, first))) = (busy, port) else { return bind(address).await };
    let first: u16 = first;
    for port in first..first.saturating_add(PORTS_TRIED) {
        match TcpListener::bind(format!("{host}:{port}")).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            Err(_) => break,
            Ok(bound) => return Ok(bound),
        }
    }
    bind(address).await
}

async fn bind(address: &str) -> Result<TcpListener, Failed> {
    TcpListener::bind(address)
        .await
        .map_err(|e| Failed::request(format!("cannot listen on `{address}`: {e}; choose another")))
}

/// Makes the first administrator's token where nobody may do anything yet, and says where it is.
pub(crate) async fn tell_first_token(app: &App) -> Result<(), Failed> {
    if let Some(path) = first_token(app).await? {
        let path = path.display().to_string();
        let told = serde_json::json!({ "admin_token": path });
        app.output.value(&told, |out| {
            writeln!(out, "the token of the first administrator is in {path}")
        })?;
    }
    Ok(())
}

/// The same, apart from the result of a command: before it makes a principal, after which nobody would be the first.
pub(crate) async fn say_first_token(app: &App) -> Result<(), Failed> {
    if let Some(path) = first_token(app).await? {
        say(&format!("the token of the first administrator is in {}", path.display()));
    }
    Ok(())
}

async fn settings(config: &config::Server) -> Result<Settings, Failed> {
    let tls = match &*config.tls_cert {
        "" => None,
        certificate => Some(Tls::load(certificate.into(), (&config.tls_key).into()).await?),
    };
    Ok(Settings {
        tls,
        requests_at_once: config.requests_at_once,
        requests_per_second: config.requests_per_second,
        burst: config.burst,
        drain: Duration::from_secs(config.drain_seconds),
        times: Times {
            head: Duration::from_secs(config.head_seconds),
            idle: Duration::from_secs(config.idle_seconds),
            stall: Duration::from_secs(config.stall_seconds),
        },
    })
}

/// Returns where files of open batches lie.
fn shelf(app: &App) -> Result<Shelf, Failed> {
    let path = app.folder.node_id();
    let node = durable::kept(&path, &uuid::Uuid::new_v4().simple().to_string())
        .map_err(|e| Failed::internal(format!("cannot write `{}`: {e}", path.display())))?;
    let root = app.folder.uploads();
    Ok(Shelf {
        node: node.trim().to_owned(),
        objects: Arc::new(Local::new(root.clone())),
        root,
        uploads: app.store.clone(),
        clock: app.clock.clone(),
    })
}

fn claims(app: &App, pauses: Arc<dyn Pauses>) -> Claims {
    Claims { jobs: app.store.clone(), liveness: Arc::new(app.locks.clone()), pauses }
}

/// Returns what works on runs.
pub(crate) fn executor(app: &App, pauses: Arc<dyn Pauses>) -> Executor {
    Executor {
        coordinator: app.coordinator(Who::Tenant),
        claims: claims(app, pauses),
        exports: app.store.clone(),
        runs: app.store.clone(),
        ledger: app.store.clone(),
        clock: app.clock.clone(),
        wake: Arc::default(),
        ended: Arc::default(),
        left: Arc::default(),
    }
}

fn core(app: &App, shelf: Shelf, minting: Minting) -> Core {
    let pauses: Arc<dyn Pauses> = if app.hasty { Arc::new(Hasty) } else { Arc::new(TokioPauses) };
    let executor = executor(app, pauses.clone());
    let scheduler = Scheduler {
        exports: app.store.clone(),
        pauses: pauses.clone(),
        clock: app.clock.clone(),
        wake: executor.wake.clone(),
    };
    let keeper = Keeper {
        claims: claims(app, pauses),
        ledger: app.store.clone(),
        coordinator: executor.coordinator.clone(),
        catalog: app.store.clone(),
        links: app.store.clone(),
        tickets: app.store.clone(),
        upkeep: app.lake.clone(),
        shelf: shelf.clone(),
        clock: app.clock.clone(),
        held: Arc::default(),
    };
    Core::new(Parts {
        executor,
        tickets: app.store.clone(),
        enrolments: app.store.clone(),
        dialects: app.dialects.clone(),
        opener: app.opener(Who::Tenant),
        groups: app.store.clone(),
        scheduler,
        keeper,
        destinations: Arc::new(app.places(Who::Tenant)),
        access: app.store.clone(),
        catalog: app.store.clone(),
        places: app.store.clone(),
        documents: app.store.clone(),
        shelf,
        rules: Arc::new(app.rules.clone()),
        ingest: app.lake.clone(),
        query: app.lake.clone(),
        upkeep: app.lake.clone(),
        encoder: app.formats.clone(),
        minting,
        secret,
        clock: app.clock.clone(),
        gates: Gates::default(),
        metrics: Arc::new(Metrics::new(app.clock.now())),
    })
}

/// Returns what the system tells the process from now on.
fn signals() -> Result<mpsc::Receiver<Signal>, Failed> {
    let (told, telling) = mpsc::channel(SIGNALS);
    let meanings = [
        (SignalKind::terminate(), Signal::Stop),
        (SignalKind::interrupt(), Signal::Stop),
        (SignalKind::hangup(), Signal::Reload),
    ];
    for (kind, meaning) in meanings {
        let (mut listening, told) = (signal(kind)?, told.clone());
        tokio::spawn(async move {
            while listening.recv().await.is_some() && told.send(meaning).await.is_ok() {}
        });
    }
    Ok(telling)
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
