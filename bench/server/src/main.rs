//! Puts load on a running server and says how it answers.
//!
//! Contract: each command prints one JSON object. `rows` asks the server at the end how many rows it has, and fails if one that
//! was acknowledged is missing or one is there twice. All of it is one thread, so that most of a small machine is the server's;
//! it starts no server, and `bench/serve` does that.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

mod client;
mod events;
mod latency;
mod memory;
mod rows;
mod status;

use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use client::Target;
use events::Events;

/// What any of this may fail with.
type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Puts load on a running server.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends rows over several connections, each request after the answer to the one before.
    Rows {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        load: rows::Load,
    },
    /// Asks at a fixed rate, whether answers come or not.
    Status {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        load: status::Load,
    },
    /// Writes the rows that `rows` would send, for others to take in.
    Events {
        /// Events of `bench-generate`, as JSON Lines.
        #[arg(long)]
        lines: PathBuf,
        /// How many rows.
        #[arg(long)]
        rows: u64,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
    },
}

/// Where the server is.
#[derive(Debug, Args)]
struct Server {
    /// Its host and port.
    #[arg(long)]
    address: String,
    /// The file that its token is in.
    #[arg(long)]
    token_file: PathBuf,
}

impl Server {
    fn target(&self) -> Result<Arc<Target>, Failed> {
        let token = std::fs::read_to_string(&self.token_file)
            .map_err(|error| format!("`{}`: {error}", self.token_file.display()))?;
        Ok(Arc::new(Target { address: self.address.clone(), token: token.trim().to_owned() }))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Box::pin(run(Cli::parse().command)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Failed> {
    match command {
        Command::Rows { server, load } => {
            let (report, verdict) = rows::run(server.target()?, load).await?;
            println!("{report}");
            verdict
        }
        Command::Status { server, load } => {
            println!("{}", status::run(server.target()?, load).await?);
            Ok(())
        }
        Command::Events { lines, rows, out } => {
            let events = Events::read(&lines)?;
            let mut file = BufWriter::with_capacity(1 << 20, std::fs::File::create(&out)?);
            for first in (0..rows).step_by(1000) {
                file.write_all(&events.body(first, (rows - first).min(1000)))?;
            }
            file.flush()?;
            Ok(())
        }
    }
}
