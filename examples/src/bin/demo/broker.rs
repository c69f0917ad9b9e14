//! A broker as a process of its own, in a temporary directory, on free ports.

use std::{env, error::Error, fs, io, net::TcpListener, path::PathBuf, process::Stdio};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::webhooks::SECRET;

/// The process and where it listens.
pub(crate) struct Broker {
    process: Child,
    program: PathBuf,
    dir: TempDir,
    /// Where webhooks go, as host and port.
    pub(crate) edge: String,
    /// Where agents connect, as a URL.
    pub(crate) agents: String,
}

impl Broker {
    /// Starts one and waits until it is ready.
    pub(crate) async fn start() -> Result<Self, Box<dyn Error>> {
        // cargo puts all programs of a profile side by side.
        let program = env::current_exe()?.with_file_name("waypost");
        if !program.exists() {
            return Err(format!("{} is missing; run ./demo, which builds it", program.display()).into());
        }
        let dir = tempfile::Builder::new().prefix("waypost-demo-").tempdir()?;
        let [edge, agents, admin] = free_addresses()?;
        let config = format!(
            r#"
            edge.listen = "{edge}"
            agents.listen = "{agents}"
            admin.listen = "{admin}"
            store.data_dir = "data"
            log.level = "error"

            [sources.carrier]
            scheme = "hmac"
            secrets = ["env:WAYPOST_DEMO_SECRET"]
            identity = {{ template = "{{/shipment_id}}:{{/new_eta}}" }}
            event_type = ["{{/event_type}}"]
            types.shipping_delay = "logistics.v1.ShippingDelayed"
            subject = "shipments/{{/shipment_id}}"
            "#
        );
        fs::write(dir.path().join("waypost.toml"), config)?;
        let process = spawn(&program, &dir).await?;
        Ok(Self { process, program, dir, edge, agents: format!("http://{agents}") })
    }

    /// The data directory.
    pub(crate) fn dir(&self) -> String {
        self.dir.path().join("data").display().to_string()
    }

    /// Ends it as a power cut would end it, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<(), Box<dyn Error>> {
        self.process.kill().await?;
        self.process = spawn(&self.program, &self.dir).await?;
        Ok(())
    }

    /// Asks it to drain, and says how it ended.
    pub(crate) async fn stop(&mut self) -> Result<String, Box<dyn Error>> {
        let pid = self.process.id().ok_or("the broker ended by itself")?;
        Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        let status = self.process.wait().await?;
        if status.success() { Ok(format!("drained, {status}")) } else { Err(format!("the broker did not stop in order: {status}").into()) }
    }
}

/// Returns once it says that it is ready.
async fn spawn(program: &PathBuf, dir: &TempDir) -> Result<Child, Box<dyn Error>> {
    let mut process = Command::new(program)
        .args(["serve", "--config"])
        .arg(dir.path().join("waypost.toml"))
        .env("WAYPOST_DEMO_SECRET", SECRET)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = process.stdout.take().ok_or("the broker has no output")?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if line.ends_with("is ready") {
            // Read on, so that the broker never waits for us.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(process);
        }
    }
    Err("the broker did not start; see above".into())
}

/// Three addresses that were free a moment ago.
fn free_addresses() -> io::Result<[String; 3]> {
    let sockets = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    let mut addresses = sockets.iter().map(|socket| socket.local_addr().map(|address| address.to_string()));
    let mut next = || addresses.next().unwrap_or_else(|| Err(io::ErrorKind::AddrNotAvailable.into()));
    Ok([next()?, next()?, next()?])
}
