//! The demo: a real broker process, signed webhooks over HTTP, two agents, and a kill -9 in the middle.
//!
//! Run it as `./demo` from the root of the repository. It needs no ports, no configuration and no network, leaves nothing behind, and fails
//! if a single event is lost.

mod agents;
mod broker;
mod tally;
mod webhooks;

use std::{error::Error, process::ExitCode, time::Duration};

use tokio::sync::mpsc;

use broker::Broker;
use tally::Tally;
use webhooks::Carrier;

/// How many shipments are delayed today.
const SHIPMENTS: usize = 20;
/// How many of them the carrier reports twice, because it never saw our first answer.
const REPEATED: usize = 5;
/// After how many of them the broker is killed.
const KILLED_AFTER: usize = 10;
/// Then something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> ExitCode {
    match tokio::time::timeout(PATIENCE, demo()).await {
        Ok(Ok(tally)) if tally.lost() == 0 => ExitCode::SUCCESS,
        Ok(Ok(_)) => ExitCode::FAILURE,
        Ok(Err(error)) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("demo: not everything was settled within {PATIENCE:?}");
            ExitCode::FAILURE
        }
    }
}

async fn demo() -> Result<Tally, Box<dyn Error>> {
    let mut broker = Broker::start().await?;
    say("broker", &format!("is up: webhooks on {}, agents on {}, every event fsynced to {}", broker.edge, broker.agents, broker.dir()));

    let (told, mut facts) = mpsc::unbounded_channel();
    agents::start_planner(&broker.agents, told.clone()).await?;
    agents::start_notifier(&broker.agents, told).await?;
    say("agents", "planner (acks with an event of its own) and notifier (fails once) have subscribed to logistics.v1.ShippingDelayed");

    let mut tally = Tally::new(["planner", "notifier"]);
    let carrier = Carrier::new(&broker.edge);
    for shipment in 0..SHIPMENTS {
        tally.answered(carrier.report(shipment).await?);
        if shipment < REPEATED {
            tally.answered(carrier.report(shipment).await?);
        }
        if shipment + 1 == KILLED_AFTER {
            broker.kill_and_restart().await?;
            say("broker", "was killed with SIGKILL right after a 202, and is up again on the same data");
        }
    }
    say("carrier", &format!("reported {SHIPMENTS} delays, {REPEATED} of them twice, each signed with HMAC-SHA256"));
    let forged = carrier.report_forged().await?;
    say("forger", &format!("posted a body that its signature does not fit: {forged}"));
    tally.answered(forged);
    let incomplete = carrier.report_incomplete().await?;
    say("carrier", &format!("posted a delay without its new_eta, correctly signed: {incomplete}"));
    tally.answered(incomplete);

    while !tally.is_complete(SHIPMENTS) {
        match facts.recv().await {
            Some(fact) => tally.note(fact),
            None => return Err("the agents ended early".into()),
        }
    }
    say("broker", &format!("stops: {}", broker.stop().await?));
    println!("\n{tally}");
    Ok(tally)
}

fn say(who: &str, what: &str) {
    println!("{who:<8} {what}");
}
