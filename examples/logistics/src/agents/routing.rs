//! Routing: finds another way for what is late.
//!
//! | hears | does | tells |
//! |---|---|---|
//! | `ShippingDelayed` | books another route | `PackageRerouted` |
//! | `CarrierStatusChanged` | plans with it, or around it | nothing |

use agent_client::{Agent, Client, Delivery, HandlerError, Router, RunError, Start};
use waypost_proto::logistics::v1::{CarrierStatusChanged, PackageRerouted, ShippingDelayed};
use waypost_proto::v1::Event;

use crate::ledger::Ledger;

/// Runs the agent until SIGTERM or Ctrl-C. Several processes may: they share the events of the subscription.
pub(crate) async fn run(client: Client, ledger: Ledger) -> Result<(), RunError> {
    agent(&client, ledger).run_until_signal().await
}

/// The agent, about to run; its tests run it until they have seen enough.
pub(super) fn agent(client: &Client, ledger: Ledger) -> Agent<Ledger> {
    let router = Router::new(ledger).on::<ShippingDelayed, _>(reroute).on::<CarrierStatusChanged, _>(plan_around);
    client.subscribe("routing").start_at(Start::Earliest).serve(router)
}

async fn reroute(ledger: Ledger, delivery: &Delivery<ShippingDelayed>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let delayed = delivery.data();
    let new_route = another_way(&delayed.reason);
    let did = format!("sent {} over {}", delayed.shipment_id, new_route.join(", "));
    let rerouted = PackageRerouted {
        package_id: delayed.shipment_id.clone(),
        shipment_id: delayed.shipment_id.clone(),
        new_route,
        carrier: delayed.carrier.clone(),
        reason: delayed.reason.clone(),
        new_eta: delayed.new_eta,
        ..Default::default()
    };
    let subject = delivery.event().subject.clone();
    // The deed is done once, however often the event comes. What is returned is published with the ack, in one step.
    Ok(work.once(did, [Event { subject, ..Event::of("agents/routing", &rerouted) }]).await?)
}

async fn plan_around(ledger: Ledger, delivery: &Delivery<CarrierStatusChanged>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let CarrierStatusChanged { carrier, status, .. } = delivery.data();
    let how = if status == "operational" { "with" } else { "around" };
    Ok(work.once(format!("plans {how} {carrier}, which is {status}"), []).await?)
}

fn another_way(reason: &str) -> Vec<String> {
    let stops = if reason.contains("Rotterdam") { ["Antwerp", "Cologne"] } else { ["Hamburg", "Leipzig"] };
    stops.map(str::to_owned).to_vec()
}
