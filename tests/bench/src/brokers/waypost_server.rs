//! `waypost serve` as users run it: the release binary, embedded store, fsync before every answer.
//!
//! Constraint: the defaults hold; only the ports, the directory, one webhook source and the cap on subscriptions are set.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    Error,
    process::{Process, free_port},
    webhook,
};

/// Where a Waypost listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) edge: u16,
    pub(crate) agents: u16,
    pub(crate) admin: u16,
}

/// Builds the release binary of this repository. Gives its path.
///
/// # Errors
///
/// When cargo fails.
pub(crate) fn build(repository: &Path) -> Result<PathBuf, Error> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(repository).args(["build", "--release", "--package", "waypost-broker", "--bin", "waypost"]);
    let status = command.status()?;
    if !status.success() {
        return Err(format!("{command:?} failed ({status})").into());
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
    Ok(target.join("release/waypost"))
}

/// Starts a broker on a directory: empty, or as an earlier one left it.
pub(super) async fn start(binary: &Path, directory: TempDir) -> Result<(Process, Ports), Error> {
    let ports = Ports { edge: free_port()?, agents: free_port()?, admin: free_port()? };
    let config = directory.path().join("waypost.toml");
    let store = directory.path().join("store");
    std::fs::write(&config, configuration(ports, &store))?;

    let mut command = Command::new(binary);
    command.arg("serve").arg("--config").arg(&config).env(webhook::SECRET_VARIABLE, webhook::SECRET);
    let mut process = Process::start("waypost", command, directory)?;
    process.ready(ports.admin).await?;
    // A broker that forgets would be fast.
    if !std::fs::read_dir(&store).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("waypost is ready, but keeps nothing in {}", store.display()).into());
    }
    Ok((process, ports))
}

fn configuration(ports: Ports, store: &Path) -> String {
    let Ports { edge, agents, admin } = ports;
    let source = webhook::source_configuration();
    format!(
        r#"
[edge]
listen = "127.0.0.1:{edge}"
[agents]
listen = "127.0.0.1:{agents}"
[admin]
listen = "127.0.0.1:{admin}"
[store]
data_dir = {store:?}
[limits]
max_subscriptions = 20_000
{source}"#
    )
}
