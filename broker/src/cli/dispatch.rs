//! From the command line to the command.

use std::process::ExitCode;

use clap::Parser;

use super::{
    admin::{dead_letters, events, quarantine, sessions, sources, subscriptions, webhooks},
    args::{Args, Command, Group},
    check, completions, configured,
    failure::Failure,
    map, output, publish, send, serve, store, tail, token, verify,
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
        Command::Config { command } => configured::run(&command),
        Command::Defaults => {
            output::line(crate::config::DEFAULTS.trim_end());
            Ok(())
        }
        Command::Tail(args) => on_one_thread(tail::run(args)),
        Command::Publish(args) => on_one_thread(publish::run(args)),
        Command::Verify(args) => verify::run(&args),
        Command::Send(args) => on_one_thread(send::run(args)),
        Command::Map(command) => map::run(&command),
        Command::Token(command) => token::run(command),
        Command::Subscriptions(Group { args, command }) => on_one_thread(subscriptions::run(args, command)),
        Command::DeadLetters(Group { args, command }) => on_one_thread(dead_letters::run(args, command)),
        Command::Quarantine(Group { args, command }) => on_one_thread(quarantine::run(args, command)),
        Command::Webhooks(Group { args, command }) => on_one_thread(webhooks::run(args, command)),
        Command::Sources(Group { args, command }) => on_one_thread(sources::run(args, command)),
        Command::Sessions(Group { args, command }) => on_one_thread(sessions::run(args, command)),
        Command::Events(Group { args, command }) => on_one_thread(events::run(args, command)),
        Command::Store(Group { args, command }) => on_one_thread(store::command::run(args, command)),
        Command::Completions { shell } => completions::run(shell),
    }
}

fn on_one_thread(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Failed(format!("the runtime could not be started: {error}")))?.block_on(command)
}
