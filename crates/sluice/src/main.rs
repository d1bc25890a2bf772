//! The command line of Sluice.
//!
//! Results go to stdout, progress and errors to stderr. Exit codes: 0 done; 1 internal; 2 the command,
//! configuration or SQL text; 3 reading or content of an input; 4 destination; 5 `verify` found a
//! difference.

mod app;
mod cli;
mod clock;
mod commands;
mod config;
mod download;
mod durable;
mod failed;
mod folder;
mod keys;
mod liveness;
mod log;
mod memory;
mod output;
mod places;
mod progress;
mod rules;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::config::Config;
use crate::failed::Failed;

/// Bytes of stack of a thread that works: SQL with thousands of operators is read by as many calls inside
/// each other. Only what is used is taken from the system.
const STACK_BYTES: usize = 256 << 20;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(asked) if !asked.use_stderr() => asked.exit(),
        Err(wrong) => {
            return failed::usage(&wrong).report(std::env::args_os().any(|arg| arg == "--json"));
        }
    };
    memory::set_up(cli.command.serves());
    let json = cli.json;
    match work(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(json),
    }
}

fn work(cli: Cli) -> Result<(), Failed> {
    // Before the log, since it says how that is written; who needs it says what is wrong with it.
    let config = Config::read(cli.config.as_deref(), &cli.dir);
    log::start(config.as_ref().ok().map(|config| &config.log), cli.command.serves())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|e| Failed::internal(format!("cannot start the runtime: {e}")))?;
    let outcome = runtime.block_on(async {
        // On a thread of the runtime, which has the larger stack.
        let work = tokio::spawn(commands::dispatch(cli, config));
        work.await.unwrap_or_else(|e| Err(Failed::internal(format!("the command broke off: {e}"))))
    });
    // What still runs in the background must not hold the exit up.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    outcome
}
