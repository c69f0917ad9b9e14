//! From the command line to the command.

use std::process::ExitCode;

use clap::Parser;

use super::{
    args::{Args, Command},
    check,
    failure::Failure,
    output, publish, send, serve, tail, token,
};

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
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Defaults => {
            output::line(crate::config::DEFAULTS.trim_end());
            Ok(())
        }
        Command::Tail(args) => on_one_thread(tail::run(args)),
        Command::Publish(args) => on_one_thread(publish::run(args)),
        Command::Send(args) => on_one_thread(send::run(args)),
        Command::Token(command) => token::run(command),
    }
}

fn on_one_thread(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("the runtime could not be started: {error}")))?.block_on(command)
}
