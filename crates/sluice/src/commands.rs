//! What each command does.

mod access;
mod audit;
mod commits;
mod config;
mod dataset;
mod demo;
mod destination;
mod dialects;
mod doctor;
mod export;
mod get;
mod import;
mod link;
mod run;
mod secrets;
mod serve;
mod sql;
mod upkeep;
mod verify;
mod view;

use std::io::Write;

use clap::CommandFactory;
use model::ports::Scrub;

use crate::app::App;
use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::failed::Failed;
use crate::output::Output;
use serve::Busy;

/// Does what was asked.
pub(crate) async fn dispatch(cli: Cli, config: Result<Config, Failed>) -> Result<(), Failed> {
    let output = if cli.json { Output::Json } else { Output::Text };
    match &cli.command {
        // These need no data folder and make none.
        Command::Verify(args) => return verify::verify(args, output),
        Command::Completions { shell } => return completions(*shell),
        Command::Config(command) => return config::config(&cli, command, output),
        Command::Get(args) if args.what.first().is_some_and(|what| get::is_address(what)) => {
            return get::links(args, output).await;
        }
        // It says what is wrong with a folder that cannot be opened.
        Command::Doctor { scrub } => {
            let how = if *scrub { Scrub::Sums } else { Scrub::Sizes };
            return doctor::doctor(&cli, config, (output, how)).await;
        }
        _ => {}
    }
    let app = App::open(&cli, config?, output).await?;
    let entry = audit::begin(&app, &cli.command).await?;
    let outcome = work(&app, cli.command).await;
    audit::end(&app, entry, &outcome).await;
    outcome
}

async fn work(app: &App, command: Command) -> Result<(), Failed> {
    match command {
        Command::Demo { serve: false, .. } => demo::demo(app).await,
        Command::Demo { serve: true, listen } => {
            let prepared = demo::demo_to_serve(app).await?;
            let requests = |app: &App, at: &str| demo::requests(app, at, &prepared);
            serve::serve(app, (listen, Busy::Next), requests).await
        }
        Command::Dataset(command) => dataset::dataset(app, command).await,
        Command::Import(args) => import::import(app, args).await,
        Command::Export(command) => export::export(app, *command).await,
        Command::Run(command) => run::run(app, command).await,
        Command::Group(command) => export::group(app, command).await,
        Command::View(command) => view::view(app, command).await,
        Command::Destination(command) => destination::destination(app, command).await,
        Command::Get(args) => get::runs(app, &args).await,
        Command::Link(command) => link::link(app, command).await,
        Command::Secrets(command) => secrets::secrets(app, command).await,
        Command::Sql(args) => sql::sql(app, args).await,
        Command::Revert { batch } => upkeep::revert(app, &batch).await,
        Command::Expire { dataset, before } => upkeep::expire(app, &dataset, before).await,
        Command::Compact { dataset } => upkeep::compact(app, &dataset).await,
        Command::Mark => commits::mark(app).await,
        Command::Organization(command) => access::organization(app, command).await,
        Command::Workspace(command) => access::workspace(app, command).await,
        Command::Principal(command) => access::principal(app, command).await,
        Command::Token(command) => access::token(app, command).await,
        Command::Audit(args) => audit::audit(app, &args).await,
        Command::Serve { listen } => {
            serve::serve(app, (listen, Busy::Refused), |_, _| Vec::new()).await
        }
        Command::Dialect(command) => dialects::dialect(app, command).await,
        Command::Upkeep => upkeep::upkeep(app).await,
        Command::Commits { dataset } => commits::commits(app, &dataset).await,
        Command::Verify(_)
        | Command::Completions { .. }
        | Command::Config(_)
        | Command::Doctor { .. } => Ok(()),
    }
}

fn completions(shell: clap_complete::Shell) -> Result<(), Failed> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sluice", &mut text);
    Ok(std::io::stdout().write_all(&text)?)
}
