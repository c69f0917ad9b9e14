//! The command line: one file per command.
//!
//! Constraints: answers go to standard output, everything else to standard error; `--json` gives one JSON object a line; a failure says
//! what to do about it; exit codes are those of [`failure`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`] | what can be said |
//! | [`serve`], [`check`] | the broker, and everything it checks before it starts |
//! | [`tail`], [`publish`] | clients of a running broker |
//! | [`types`] | messages to JSON and back |

pub mod args;
pub mod check;
pub mod connection;
pub mod failure;
pub mod publish;
pub mod tail;
pub mod types;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;

/// Parses the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.code())
        }
    }
}

fn run(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Check(args) => check::run(&args),
        Command::Defaults => {
            print!("{}", crate::config::DEFAULTS);
            Ok(())
        }
        Command::Tail(args) => on_one_thread(tail::run(args)),
        Command::Publish(args) => on_one_thread(publish::run(args)),
    }
}

fn on_one_thread(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("the runtime could not be started: {error}")))?.block_on(command)
}
