//! Servers as processes of their own: started, watched, and killed.
//!
//! Constraints: a server lives in a directory of its own, on the disk where the repository is, and is gone with it when
//! the value is dropped, also on an error or Ctrl-C; it listens on loopback only.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::Error;

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(120);

/// A running server and its directory.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    directory: TempDir,
}

impl Process {
    /// Starts a command whose output goes to a log in the directory.
    pub(crate) fn start(name: &'static str, mut command: Command, directory: TempDir) -> Result<Self, Error> {
        let log = directory.path().join("server.log");
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{name} does not start: {:?}: {error}", command.get_program()))?;
        Ok(Self { name, child, log, directory })
    }

    /// Waits until something listens on the port.
    pub(crate) async fn listening(&mut self, port: u16) -> Result<(), Error> {
        self.wait("listen", async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()).await
    }

    /// Waits until `/readyz` is answered 200 on the port.
    pub(crate) async fn ready(&mut self, port: u16) -> Result<(), Error> {
        self.wait("get ready", async || is_ready(port).await.unwrap_or(false)).await
    }

    async fn wait(&mut self, what: &str, is_so: impl AsyncFn() -> bool) -> Result<(), Error> {
        let start = Instant::now();
        while !is_so().await {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended with {status}:\n{}", self.name, self.log_tail()).into());
            }
            if start.elapsed() > START {
                return Err(format!("{} did not {what} within {START:?}:\n{}", self.name, self.log_tail()).into());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Kills the server (SIGKILL) and hands its directory on.
    pub(crate) fn kill(mut self) -> Result<TempDir, Error> {
        self.end();
        Ok(std::mem::replace(&mut self.directory, tempfile::tempdir()?))
    }

    /// The last lines that the server wrote.
    pub(crate) fn log_tail(&self) -> String {
        let tail = || -> io::Result<String> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(2_000)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        tail().unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Resident memory now, in MB (10^6 bytes).
    pub(crate) fn rss(&self) -> Result<f64, Error> {
        self.status("VmRSS:")
    }

    /// The highest resident memory since the process started, in MB.
    pub(crate) fn peak_rss(&self) -> Result<f64, Error> {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> Result<f64, Error> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.trim().parse::<f64>().ok());
        kib.map(|kib| kib * 1024.0 / 1e6).ok_or_else(|| format!("no {field} in the status of {}", self.name).into())
    }

    /// User and system time so far, in microseconds.
    pub(crate) fn cpu_micros(&self) -> Result<f64, Error> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name of the command, in brackets, may contain anything: what follows the last bracket is countable.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: f64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        Ok(ticks * 1e6 / rustix::param::clock_ticks_per_second() as f64)
    }

    fn end(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

async fn is_ready(port: u16) -> io::Result<bool> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// A loopback port that nobody listens on. Somebody else may take it first; then the server says so.
pub(crate) fn free_port() -> Result<u16, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Lets this process and the servers it starts hold a few thousand connections.
pub(crate) fn raise_open_files() -> Result<(), Error> {
    const WANTED: u64 = 16_384;
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.current.is_some_and(|current| current < WANTED) {
        limit.current = Some(limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED)));
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit)?;
    }
    Ok(())
}
