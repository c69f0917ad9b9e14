//! The command line: the whole example, or one agent of it.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use agent_client::{Client, RunError};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::agents::{fulfilment, inventory, notification, ops, outside, routing};
use crate::ledger::{Fact, Ledger};
use crate::run::run;

/// Agents that work together by events: shipments, stock, orders and the people who wait for them
///
/// Starts a broker, the agents as processes of their own and a simulator of the outside systems, shows what happens, and ends with
/// a summary. Without --once it goes on until Ctrl-C.
#[derive(Debug, Parser)]
#[command(name = "logistics", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: RunOptions,
}

/// How the example is to run.
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    /// One day, then the summary; exit code 0 only if it is as it must be
    #[arg(long)]
    pub(crate) once: bool,
    /// Have the notification agent in Python
    #[arg(long)]
    pub(crate) with_python: bool,
    /// Have the fulfilment agent in TypeScript
    #[arg(long)]
    pub(crate) with_typescript: bool,
    /// Kill the broker in the middle of each day, too
    #[arg(long)]
    pub(crate) kill_broker: bool,
    /// The program of the broker [default: `waypost` beside this program]
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) broker: Option<PathBuf>,
    /// Keep the broker's data, the ledgers and the logs in this folder, which must be empty [default: a temporary one]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one agent, until Ctrl-C or SIGTERM
    ///
    /// It connects to WAYPOST_AGENTS (default http://127.0.0.1:8481) and keeps its ledger in LOGISTICS_LEDGERS (default: here).
    Agent {
        /// Which
        name: Name,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    Routing,
    Inventory,
    Fulfilment,
    Notification,
    Ops,
    Outside,
}

/// Runs what the command line asks for.
#[must_use]
#[tokio::main]
pub async fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Some(Command::Agent { name }) => agent(name).await.map(|()| true),
        None => run(&cli.options).await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("logistics: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn agent(name: Name) -> Result<(), Box<dyn Error>> {
    let environment = |key: &str, default: &str| std::env::var(key).unwrap_or_else(|_| default.to_owned());
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let who = name.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let client = Client::builder().agent(format!("logistics-{who}/1.0")).connect(environment("WAYPOST_AGENTS", "http://127.0.0.1:8481"))?;
    let ledger = Ledger::open(environment("LOGISTICS_LEDGERS", ".").as_ref(), &who)?.hang_at(std::env::var("LOGISTICS_HANG_AT").ok());
    ledger.note(Fact::Started).await?;
    Ok(serve(name, client, ledger).await?)
}

async fn serve(name: Name, client: Client, ledger: Ledger) -> Result<(), RunError> {
    match name {
        Name::Routing => routing::run(client, ledger).await,
        Name::Inventory => inventory::run(client, ledger).await,
        Name::Fulfilment => fulfilment::run(client, ledger).await,
        Name::Notification => notification::run(client, ledger).await,
        Name::Ops => ops::run(client, ledger).await,
        Name::Outside => outside::run(client, ledger).await,
    }
}
