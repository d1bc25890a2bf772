//! `audit`, and what the log says of the other commands.
//!
//! An entry is written before the change and its outcome after it, so that a change without an outcome is one whose
//! process ended in between. Imports and runs are not in it: commits and the ledger tell of those.

use model::access::{Actor, NewAudit};
use model::ports::Access;
use model::{AuditId, WorkspaceId};

use crate::app::App;
use crate::cli::{self, Command};
use crate::failed::Failed;
use crate::output::table;

/// Entries read at once.
const PAGE: u32 = 1000;

/// Shows the log.
pub(crate) async fn audit(app: &App, args: &cli::Audit) -> Result<(), Failed> {
    let workspace = (!args.of_organization).then_some(&app.workspace);
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|entry: &model::access::Audit| &entry.id);
        let page = app.store.audits(&app.organization, workspace, (after, PAGE)).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let row = |entry: &model::access::Audit| {
        let actor = match &entry.actor {
            Actor::Shell(name) => format!("{name} (shell)"),
            Actor::Token { principal, .. } => principal.to_string(),
            Actor::Link(link) => format!("{link} (link)"),
        };
        let outcome = entry.outcome.clone().unwrap_or_else(|| "unknown".into());
        let time = entry.time.format("%Y-%m-%d %H:%M:%S").to_string();
        vec![time, actor, entry.action.clone(), entry.target.clone(), outcome]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let header = ["time", "who", "what", "of", "outcome"];
    Ok(app.output.value(&all, |out| table(out, &header, &rows))?)
}

/// Writes down what a command is about to change, if it changes something of the kind.
pub(crate) async fn begin(app: &App, command: &Command) -> Result<Option<AuditId>, Failed> {
    let Some((action, target, workspace)) = change(app, command) else { return Ok(None) };
    let now = app.clock.now();
    let new = NewAudit {
        id: AuditId::mint(now),
        actor: Actor::Shell(person()),
        organization: app.organization.clone(),
        workspace,
        action: action.into(),
        target,
        request: None,
    };
    app.store.begin_audit(&new, now).await?;
    Ok(Some(new.id))
}

/// Writes down what came of it. The command's own result stands whatever becomes of that.
pub(crate) async fn end(app: &App, entry: Option<AuditId>, outcome: &Result<(), Failed>) {
    let Some(entry) = entry else { return };
    let outcome = if outcome.is_ok() { "done" } else { "failed" };
    if let Err(error) = app.store.end_audit(&entry, outcome, None).await {
        tracing::error!(%error, audit.id = %entry, "the outcome of a change was not logged");
    }
}

/// Returns what a command changes, of what, and in which workspace.
fn change(app: &App, command: &Command) -> Option<(&'static str, String, Option<WorkspaceId>)> {
    let here = |action, target: &str| Some((action, target.into(), Some(app.workspace.clone())));
    let outside = |action, target: &str| Some((action, target.into(), None));
    match command {
        Command::Dataset(cli::Dataset::Create(args)) => here("dataset.create", &args.name),
        Command::Dataset(cli::Dataset::Canonical) => here("dataset.create", "canonical"),
        Command::Dataset(cli::Dataset::Keep { name, .. }) => here("dataset.keep", name),
        Command::Dataset(cli::Dataset::Drop { name }) => here("dataset.drop", name),
        Command::Export(command) => match &**command {
            cli::Export::Save(args) => here("export.save", &args.export),
            cli::Export::Pause { name } => here("export.pause", name),
            cli::Export::Resume { name } => here("export.resume", name),
            cli::Export::Now { name } => here("export.run", name),
            cli::Export::Backfill { name, .. } => here("export.backfill", name),
            cli::Export::Delete { name } => here("export.delete", name),
            cli::Export::Plan(_)
            | cli::Export::Run(_)
            | cli::Export::List
            | cli::Export::Show { .. }
            | cli::Export::History { .. } => None,
        },
        Command::Group(command) => match command {
            cli::Group::Save(args) => here("group.save", &args.group),
            cli::Group::Pause { name } => here("group.pause", name),
            cli::Group::Resume { name } => here("group.resume", name),
            cli::Group::Now { name } => here("group.run", name),
            cli::Group::Delete { name } => here("group.delete", name),
            cli::Group::List | cli::Group::Show { .. } => None,
        },
        Command::View(cli::View::Create(args)) => here("view.create", &args.name),
        Command::View(cli::View::Drop { name }) => here("view.drop", name),
        Command::Destination(cli::Destination::Create(args)) => {
            here("destination.create", &args.name)
        }
        Command::Destination(cli::Destination::Update(args)) => {
            here("destination.update", &args.name)
        }
        Command::Destination(cli::Destination::Test { name }) => here("destination.test", name),
        Command::Destination(cli::Destination::Delete { name }) => here("destination.delete", name),
        Command::Secrets(cli::Secrets::Rotate) => outside("secrets.rotate", "secrets"),
        Command::Link(cli::Link::Create(args)) => here("link.create", &args.run),
        Command::Link(cli::Link::Revoke { id }) => here("link.revoke", id),
        Command::Revert { batch } => here("batch.revert", batch),
        Command::Expire { dataset, .. } => here("dataset.expire", dataset),
        Command::Organization(cli::Organization::Create { name }) => {
            outside("organization.create", name)
        }
        Command::Workspace(cli::Workspace::Create { name }) => outside("workspace.create", name),
        Command::Principal(cli::Principal::Create { name }) => outside("principal.create", name),
        Command::Principal(cli::Principal::Disable { name }) => outside("principal.disable", name),
        Command::Token(cli::Token::Create(args)) => {
            let of_dialect = args.dialect.map(|kind| kind.name);
            outside("token.create", args.principal.as_deref().or(of_dialect).unwrap_or_default())
        }
        Command::Dialect(command) => {
            let (action, target) = command.change();
            here(action, if target.is_empty() { app.workspace.as_str() } else { &target })
        }
        Command::Token(cli::Token::Revoke { id }) => outside("token.revoke", id),
        _ => None,
    }
}

/// Returns the name by which the system knows who types.
fn person() -> String {
    std::env::var("SUDO_USER")
        .or_else(|_| std::env::var("USER"))
        .unwrap_or_else(|_| "unknown".into())
}
