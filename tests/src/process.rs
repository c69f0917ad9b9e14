//! `waypost serve` as a process of its own, to be killed.
//!
//! Constraints: it listens on free ports of the loopback; it is ready when it says so, never after a time; it ends with its value.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tonic::transport::{Channel, Endpoint};

/// Any ports that are free.
const ANY_PORTS: [&str; 3] = ["127.0.0.1:0"; 3];

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    // Dropped, it would end the broker's output.
    _output: BufReader<ChildStdout>,
    /// What it printed when it was ready.
    pub printed: String,
    /// `http://…` of the edge, or `https://…` if it has TLS.
    pub edge: String,
    /// `http://…` of the agents' listener.
    pub agents: String,
    /// `http://…` of the administrators' listener.
    pub admin: String,
}

/// The program that cargo built for this test run.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("waypost-under-test");
    assert!(program.exists(), "{} is missing: cargo build -p waypost-tests --bins", program.display());
    program
}

impl Broker {
    /// Starts a broker in a folder, with `waypost.toml` made of this text and free ports, and waits until it is ready. Its log is
    /// appended to `waypost.log` there.
    ///
    /// # Panics
    /// When it ends instead, with the log.
    #[must_use]
    pub fn start(folder: &Path, configuration: &str) -> Self {
        Self::start_on(ANY_PORTS, folder, configuration)
    }

    /// Kills it and starts another in the same folder, which listens where it listened.
    ///
    /// # Panics
    /// As [`start`](Self::start) and [`kill`](Self::kill).
    #[must_use]
    pub fn kill_and_restart(self, folder: &Path, configuration: &str) -> Self {
        let urls = [self.edge.clone(), self.agents.clone(), self.admin.clone()];
        self.kill();
        Self::start_on(urls.each_ref().map(|url| url.trim_start_matches("http://")), folder, configuration)
    }

    fn start_on([edge, agents, admin]: [&str; 3], folder: &Path, configuration: &str) -> Self {
        let config = folder.join("waypost.toml");
        let listen = format!("edge.listen = '{edge}'\nagents.listen = '{agents}'\nadmin.listen = '{admin}'\n");
        std::fs::write(&config, listen + configuration).unwrap();
        let log_path = folder.join("waypost.log");
        let log = File::options().create(true).append(true).open(&log_path).unwrap();
        // In place of the operating system's authorities, where the folder has some.
        let trusted = folder.join("trusted.pem");
        let mut child = Command::new(program())
            .args(["serve", "--config"])
            .arg(&config)
            .env_remove("WAYPOST_LOG")
            .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
            .envs(trusted.exists().then_some(("SSL_CERT_FILE", &trusted)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        while !printed.contains("\n  store ") {
            if output.read_line(&mut printed).unwrap() == 0 {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                panic!("the broker ended ({:?}): {printed}\n{log}", child.wait());
            }
        }
        let mut urls =
            printed.split_whitespace().filter(|word| word.starts_with("http://") || word.starts_with("https://")).map(str::to_owned);
        let mut next = || urls.next().unwrap_or_else(|| panic!("no address in {printed}"));
        let (edge, agents, admin) = (next(), next(), next());
        Self { child, _output: output, printed, edge, agents, admin }
    }

    /// Ends it as a power cut does the process: SIGKILL.
    ///
    /// # Panics
    /// When it is gone already: it must not end by itself.
    pub fn kill(mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "the broker ended by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to end, as an operator or a supervisor does.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Tells it to read its configuration again.
    ///
    /// # Panics
    /// When it is gone already.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    /// The most memory that it had so far, in KiB.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn peak_memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// How it ended; waits for it.
    ///
    /// # Panics
    /// When the operating system does not tell.
    pub async fn ended(mut self) -> ExitStatus {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }

    /// A connection for agents.
    #[must_use]
    pub fn channel(&self) -> Channel {
        Endpoint::from_shared(self.agents.clone()).unwrap().tcp_nodelay(true).connect_lazy()
    }

    /// A connection for administrators.
    #[must_use]
    pub fn admin_channel(&self) -> Channel {
        Endpoint::from_shared(self.admin.clone()).unwrap().connect_lazy()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
