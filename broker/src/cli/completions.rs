//! `waypost completions`: what a shell needs to complete the command line.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{args::Args, failure::Failure, output};

/// Prints the completions.
///
/// # Errors
/// None; the signature is that of every command.
pub fn run(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "waypost", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
