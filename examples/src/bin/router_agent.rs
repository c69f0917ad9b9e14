//! One agent for several messages: a handler for each, a state that they share, and an end in order on Ctrl-C or SIGTERM.
//!
//! ```sh
//! cargo run -p waypost-examples --bin router_agent
//! ```
//!
//! It needs a broker (`cargo run -p waypost-broker -- serve`), and something that tells of delays: the example
//! `send_webhook`, or `agent_to_agent`.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_client::{Client, Delivery, HandlerError, Router};
use waypost_proto::logistics::v1::{PackageRerouted, ShippingDelayed};
use waypost_proto::v1::Event;

/// What the handlers share: each gets a clone.
#[derive(Clone, Default)]
struct Planner {
    planned: Arc<AtomicU32>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::builder().agent("router-agent/1.0").connect(waypost_examples::agents())?;
    let router = Router::new(Planner::default()).on::<ShippingDelayed, _>(plan).on::<PackageRerouted, _>(count);
    println!("planning routes; stop with Ctrl-C");
    client.subscribe("router-agent").serve(router).run_until_signal().await?;
    println!("stopped, and nothing is left half done");
    Ok(())
}

/// What it returns is published with the ack, in one step. An error would be a nack, so that the delay comes again.
async fn plan(_: Planner, delivery: &Delivery<ShippingDelayed>) -> Result<Event, HandlerError> {
    let delay = delivery.data();
    if delay.shipment_id.is_empty() {
        return Err(HandlerError::reject("a delay of no shipment"));
    }
    println!("{} is late (attempt {}): finding another way", delay.shipment_id, delivery.attempt());
    let new_route = vec!["Hamburg".to_owned(), "Rotterdam".to_owned()];
    let rerouted = PackageRerouted { package_id: delay.shipment_id.clone(), new_route, ..Default::default() };
    Ok(Event::of("examples/router-agent", &rerouted))
}

async fn count(planner: Planner, delivery: &Delivery<PackageRerouted>) -> Result<(), HandlerError> {
    let planned = planner.planned.fetch_add(1, Ordering::Relaxed) + 1;
    println!("{} goes another way; {planned} so far", delivery.data().package_id);
    Ok(())
}
