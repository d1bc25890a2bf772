//! `link create | list | revoke`.

use std::sync::Arc;

use model::link::{Closed, Link};
use model::ports::Links;
use model::{LinkId, RunId};
use server::links::{Linked, Minted, Minting, PublicUrl, Wanted};

use super::access::secret;
use crate::app::{App, owner};
use crate::cli::{self, CreateLink};
use crate::failed::Failed;
use crate::output::table;
use crate::places::Who;

/// Links asked for at once.
const PAGE: u32 = 1000;

/// Does a `link` command.
pub(crate) async fn link(app: &App, command: cli::Link) -> Result<(), Failed> {
    match command {
        cli::Link::Create(args) => create(app, args).await,
        cli::Link::List => list(app).await,
        cli::Link::Revoke { id } => {
            let (id, now) = (LinkId::new(id), app.clock.now());
            let link = app.store.revoke_link(&app.workspace, &id, now).await?;
            Ok(app.output.value(&link, |out| writeln!(out, "revoked the link {}", link.id))?)
        }
    }
}

/// Returns what makes links; their addresses begin with the configured URL, or with `listening`.
pub(crate) fn minting(app: &App, listening: &str) -> Result<Minting, Failed> {
    let at = match &*app.server.public_url {
        "" => listening,
        at => at,
    };
    let at = PublicUrl::parse(at).ok_or_else(|| {
        Failed::request(format!("links cannot begin with `{at}`; set `server.public_url`"))
    })?;
    Ok(Minting {
        links: app.store.clone(),
        runs: app.store.clone(),
        destinations: Arc::new(app.places(Who::Tenant)),
        secret,
        clock: app.clock.clone(),
        at,
    })
}

async fn create(app: &App, args: CreateLink) -> Result<(), Failed> {
    let scheme = if app.server.tls_cert.is_empty() { "http" } else { "https" };
    let wanted = Wanted {
        workspace: app.workspace.clone(),
        run: RunId::new(args.run),
        files: (!args.file.is_empty()).then_some(args.file),
        seconds: args.expires_in,
        author: owner(),
    };
    let minting = minting(app, &format!("{scheme}://{}", app.server.listen))?;
    let Minted { link, manifest, files } = minting.mint(wanted).await?;
    let shown = |one: &Linked| {
        serde_json::json!({ "number": one.number, "name": one.name, "bytes": one.bytes,
            "sha256": one.sha256, "url": one.url })
    };
    let mut told = serde_json::to_value(&link).expect("a link has only string keys");
    told["manifest_url"] = manifest.clone().into();
    told["files"] = files.iter().map(shown).collect();
    app.output.value(&told, |out| {
        writeln!(out, "{manifest}")?;
        files.iter().try_for_each(|one| writeln!(out, "{}", one.url))
    })?;
    Ok(())
}

async fn list(app: &App) -> Result<(), Failed> {
    let mut all: Vec<Link> = Vec::new();
    loop {
        let before = all.last().map(|link| &link.id);
        let page = app.store.links(&app.workspace, before, PAGE).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let now = app.clock.now();
    let row = |link: &Link| {
        let state = match link.closed(now) {
            None => "open",
            Some(Closed::Expired) => "expired",
            Some(Closed::Revoked) => "revoked",
        };
        let until = link.expires_at.format("%Y-%m-%d %H:%M:%SZ").to_string();
        vec![link.id.to_string(), state.into(), link.run.to_string(), until, link.author.clone()]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let header = ["link", "state", "run", "until", "made by"];
    Ok(app.output.value(&all, |out| table(out, &header, &rows))?)
}
