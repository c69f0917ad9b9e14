//! Two agents, and no code between them: one reacts to a delay and publishes what it decided, in the same step in which it
//! acks; the other reacts to that.
//!
//! ```sh
//! cargo run -p waypost-examples --bin agent_to_agent
//! ```
//!
//! It needs a broker: `cargo run -p waypost-broker -- serve`.

use std::error::Error;

use agent_client::{Client, Subscription};
use waypost_proto::logistics::v1::{PackageRerouted, ShippingDelayed};
use waypost_proto::v1::Event;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    let client = Client::connect(waypost_examples::agents())?;
    let planner = client.subscribe("route-planner").of::<ShippingDelayed>().open().await?;
    let mut care = client.subscribe("customer-care").of::<PackageRerouted>().open().await?;
    let planning = tokio::spawn(plan_routes(planner));

    let new_eta = Some("2026-04-10T17:00:00Z".parse()?);
    let delay = ShippingDelayed { shipment_id: "SHIP-XYZ-789".to_owned(), new_eta, ..Default::default() };
    println!("carrier:       {} is late", delay.shipment_id);
    let delayed = client.publish(Event::of("examples/carrier", &delay)).await?;

    while let Some(delivery) = care.try_next().await? {
        let rerouted = delivery.data();
        let lineage = delivery.event().lineage.clone().unwrap_or_default();
        println!("customer-care: {} goes by {} now", rerouted.package_id, rerouted.new_route.join(", "));
        println!("               because of event {} (hops: {})", lineage.causation_id, lineage.hops);
        delivery.ack().await?;
        if lineage.causation_id == delayed.id {
            break;
        }
    }
    care.drain().await;
    planning.abort();
    Ok(())
}

/// The route planner: for each delay a new route.
async fn plan_routes(mut delays: Subscription<ShippingDelayed>) -> Outcome {
    while let Some(delivery) = delays.try_next().await? {
        let package_id = delivery.data().shipment_id.clone();
        println!("route-planner: finding another way for {package_id}");
        let new_route = vec!["Hamburg".to_owned(), "Rotterdam".to_owned()];
        let rerouted = PackageRerouted { package_id, new_route, ..Default::default() };
        // Either the delay is done and the decision published, or neither: a crash between the two is impossible.
        delivery.ack_with([Event::of("examples/route-planner", &rerouted)]).await?;
    }
    Ok(())
}
