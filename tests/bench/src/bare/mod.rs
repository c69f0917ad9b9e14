//! The limits of the parts: what a broker on them could reach at best.
//!
//! Constraint: a bare server is a process of its own (this binary, with a hidden command), as the brokers are.

pub(crate) mod edge;
pub(crate) mod streaming;
pub(crate) mod sync_write;

use std::{path::Path, process::Command};

use crate::{
    Error,
    process::{Process, free_port},
};

/// Starts this binary as a bare server. Gives the process and its port.
pub(crate) async fn start(runs: &Path, command: &str, arguments: &[String]) -> Result<(Process, u16), Error> {
    let directory = tempfile::tempdir_in(runs)?;
    let port = free_port()?;
    let mut server = Command::new(std::env::current_exe()?);
    server.arg(command).arg(port.to_string()).args(arguments);
    let mut process = Process::start("bare server", server, directory)?;
    process.listening(port).await?;
    Ok((process, port))
}
