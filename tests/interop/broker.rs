//! The broker as a process that can be killed.
//!
//! Constraints: its data is in a folder of the test; it keeps its address over a restart; it dies with the test.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

pub(crate) struct Broker {
    folder: TempDir,
    agents: String,
    process: Child,
    /// Kept open: a broker that cannot print would fail.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Broker {
    /// Starts one on free ports, and returns when it is ready.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (process, output, agents) = serve(&folder, "127.0.0.1:0").await;
        Self { folder, agents, process, _output: output }
    }

    /// Where agents connect.
    pub(crate) fn agents(&self) -> String {
        format!("http://{}", self.agents)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts it again on the same folder and address.
    pub(crate) async fn restart(&mut self) {
        let (process, output, agents) = serve(&self.folder, &self.agents).await;
        assert_eq!(agents, self.agents);
        (self.process, self._output) = (process, output);
    }
}

async fn serve(folder: &TempDir, agents: &str) -> (Child, Lines<BufReader<ChildStdout>>, String) {
    let config: PathBuf = folder.path().join("waypost.toml");
    let text = format!("edge.listen = '127.0.0.1:0'\nagents.listen = '{agents}'\nadmin.listen = '127.0.0.1:0'\nstore.data_dir = 'data'\n");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost-under-test"));
    command.args(["serve", "--config"]).arg(&config).stdout(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut agents = None;
    loop {
        let line = timeout(Duration::from_secs(60), output.next_line()).await.expect("the broker does not get ready").unwrap();
        let line = line.unwrap_or_else(|| panic!("the broker ended before it was ready; see its messages above"));
        let mut words = line.split_whitespace();
        match words.next() {
            Some("agents") => agents = words.next().and_then(|address| address.strip_prefix("http://")).map(str::to_owned),
            // The last line.
            Some("store") => return (process, output, agents.expect("it says where agents connect")),
            _ => {}
        }
    }
}
