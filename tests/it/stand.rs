//! A broker with one source, and what a test needs to reach it.

use std::{path::Path, time::Duration};

use agent_client::Client;
use tempfile::TempDir;
use waypost_tests::{
    process::Broker,
    webhook::{CARRIER, Sender},
};

pub(crate) const SECRET: &str = "correct horse battery staple";

/// Longer than anything here takes, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What follows the lines of a test.
const LINES: &str = "edge.body_timeout = '1s'\nstore.data_dir = 'data'";
pub(crate) const PATH: &str = "/agent/logistics-anomaly-webhook";

/// A broker and its folder.
pub(crate) struct Stand {
    pub(crate) broker: Broker,
    pub(crate) folder: TempDir,
    pub(crate) configuration: String,
}

impl Stand {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// With these lines of configuration, each of which names its section.
    pub(crate) fn with(lines: &str) -> Self {
        Self::prepared(lines, |_| {})
    }

    /// The same, with more in the folder before it starts.
    pub(crate) fn prepared(lines: &str, prepare: impl FnOnce(&Path)) -> Self {
        let configuration = format!("{lines}\n{LINES}\n{CARRIER}path = '{PATH}'\n");
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let broker = Broker::start(folder.path(), &configuration);
        Self { broker, folder, configuration }
    }

    /// kill -9, and another broker on what is left, at the same addresses.
    pub(crate) fn kill_and_restart(self) -> Self {
        let Self { broker, folder, configuration } = self;
        let broker = broker.kill_and_restart(folder.path(), &configuration);
        Self { broker, folder, configuration }
    }

    pub(crate) fn agent(&self) -> Client {
        Client::connect(self.broker.agents.clone()).unwrap()
    }

    pub(crate) fn carrier(&self, secret: &str) -> Sender {
        Sender::new(self.url(), secret)
    }

    pub(crate) fn url(&self) -> String {
        format!("{}{PATH}", self.broker.edge)
    }

    /// What the broker has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("waypost.log")).unwrap()
    }

    /// Host and port of the edge.
    pub(crate) fn edge(&self) -> String {
        self.broker.edge.trim_start_matches("http://").to_owned()
    }
}

/// A webhook of the carrier: each number is another delay.
pub(crate) fn delay(number: u32) -> Vec<u8> {
    let sample = include_str!("../payloads/shipping_delay.json");
    sample.replace("SHIP-XYZ-789", &format!("SHIP-{number}")).into_bytes()
}

/// What comes before patience ends.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}
