//! The broker as a process of its own: on the embedded store, in the folder of the run, on free ports.
//!
//! Constraint: it is ready when it says so; after a kill it comes back on the same data and the same ports.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::simulator::SECRET;

/// What outside systems may post. An event is known by the id that its source gave it, and is about one thing.
pub(crate) const SOURCES: &str = r#"
[sources.carrier]
scheme = "hmac"
secrets = ["env:LOGISTICS_SECRET"]
identity = { template = "{/event_id}" }
event_type = ["{/event_type}"]
types.shipping_delay = { message = "logistics.v1.ShippingDelayed", subject = "shipments/{/shipment_id}" }
types.truck_arrived = { message = "logistics.v1.TruckArrived", subject = "trucks/{/truck_id}" }
types.package_rerouted = { message = "logistics.v1.PackageRerouted", subject = "packages/{/package_id}" }
types.carrier_status = { message = "logistics.v1.CarrierStatusChanged", subject = "carriers/{/carrier}" }

[sources.warehouse]
scheme = "hmac"
secrets = ["env:LOGISTICS_SECRET"]
identity = { template = "{/event_id}" }
event_type = ["{/event_type}"]
types.stock_depleted = "logistics.v1.StockDepleted"
subject = "stock/{/sku}"

[sources.shop]
scheme = "hmac"
secrets = ["env:LOGISTICS_SECRET"]
identity = { template = "{/event_id}" }
event_type = ["{/event_type}"]
types.order_placed = "commerce.v1.OrderPlaced"
subject = "orders/{/order_id}"
"#;

/// The process, and where it listens.
#[derive(Debug)]
pub(crate) struct Broker {
    process: Child,
    program: PathBuf,
    folder: PathBuf,
    /// Where webhooks go, as host and port.
    pub(crate) edge: String,
    /// Where agents connect, as host and port.
    pub(crate) agents: String,
}

impl Broker {
    /// Starts `program` with its data in `folder`, and waits until it is ready.
    pub(crate) async fn start(program: &Path, folder: &Path) -> Result<Self, Box<dyn Error>> {
        let any = "127.0.0.1:0";
        let (process, [edge, agents]) = spawn(program, folder, [any, any]).await?;
        Ok(Self { process, program: program.to_owned(), folder: folder.to_owned(), edge, agents })
    }

    /// Ends it as a power cut ends the process, and starts it again.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<(), Box<dyn Error>> {
        self.process.kill().await?;
        (self.process, _) = spawn(&self.program, &self.folder, [&self.edge, &self.agents]).await?;
        Ok(())
    }

    /// Asks it to drain, and waits for its end.
    pub(crate) async fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        terminate(&self.process)?;
        let status = self.process.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("the broker did not stop in order: {status}").into()) }
    }
}

/// SIGTERM.
pub(crate) fn terminate(process: &Child) -> Result<(), Box<dyn Error>> {
    let id = process.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).ok_or("the process has ended by itself")?;
    Ok(kill_process(id, Signal::TERM)?)
}

/// Returns the process once it is ready, and where it listens for webhooks and for agents.
async fn spawn(program: &Path, folder: &Path, [edge, agents]: [&str; 2]) -> Result<(Child, [String; 2]), Box<dyn Error>> {
    let listen = format!("edge.listen = '{edge}'\nagents.listen = '{agents}'\nadmin.listen = '127.0.0.1:0'\nstore.data_dir = 'data'\n");
    let config = folder.join("waypost.toml");
    fs::write(&config, listen + SOURCES)?;
    let log = folder.join("broker.log");
    let mut process = Command::new(program)
        .args(["serve", "--config"])
        .arg(&config)
        .env("LOGISTICS_SECRET", SECRET)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::options().create(true).append(true).open(&log)?)
        // A Ctrl-C in the terminal is for us, who end it in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let mut lines = BufReader::new(process.stdout.take().ok_or("the broker has no output")?).lines();
    let (mut edge, mut agents) = (None, None);
    while let Some(line) = lines.next_line().await? {
        let mut words = line.split_whitespace();
        let (what, address) = (words.next(), words.next().and_then(|url| url.strip_prefix("http://")).map(str::to_owned));
        match what {
            Some("edge") => edge = address,
            Some("agents") => agents = address,
            // The last line: it is ready.
            Some("store") => {
                // It must be able to go on writing.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                let address = |address: Option<String>| address.ok_or("the broker does not say where it listens");
                return Ok((process, [address(edge)?, address(agents)?]));
            }
            _ => {}
        }
    }
    Err(format!("the broker did not start: {}", fs::read_to_string(&log)?).into())
}
