//! Notification: tells customers before they ask.
//!
//! | hears | does | tells |
//! |---|---|---|
//! | `PackageRerouted` | writes to whom the package belongs | `CustomerNotified` |
//! | `ShipmentDispatched` | writes to whom it is sent | `CustomerNotified` |

use agent_client::{Client, Delivery, HandlerError, Router, RunError, Start};
use waypost_proto::logistics::v1::{CustomerNotified, PackageRerouted, ShipmentDispatched};
use waypost_proto::v1::Event;

use crate::ledger::Ledger;

/// Runs the agent until SIGTERM or Ctrl-C.
pub(crate) async fn run(client: Client, ledger: Ledger) -> Result<(), RunError> {
    let router = Router::new(ledger).on::<PackageRerouted, _>(tell_of_detour).on::<ShipmentDispatched, _>(tell_of_departure);
    client.subscribe("notification").start_at(Start::Earliest).serve(router).run_until_signal().await
}

async fn tell_of_detour(ledger: Ledger, delivery: &Delivery<PackageRerouted>) -> Result<Vec<Event>, HandlerError> {
    let PackageRerouted { package_id, new_route, .. } = delivery.data();
    let message = format!("{package_id} takes another way to you, over {}", new_route.join(", "));
    mail(ledger, delivery, format!("customer-of-{package_id}"), message).await
}

async fn tell_of_departure(ledger: Ledger, delivery: &Delivery<ShipmentDispatched>) -> Result<Vec<Event>, HandlerError> {
    let ShipmentDispatched { shipment_id, customer_id, .. } = delivery.data();
    mail(ledger, delivery, customer_id.clone(), format!("{shipment_id} is on its way to you")).await
}

/// The mail is sent once, however often the event comes.
async fn mail<T>(ledger: Ledger, delivery: &Delivery<T>, customer_id: String, message: String) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let did = format!("mailed {customer_id}: {message}");
    let notified = CustomerNotified { customer_id, channel: "email".to_owned(), message, ..Default::default() };
    let subject = delivery.event().subject.clone();
    Ok(work.once(did, [Event { subject, ..Event::of("agents/notification", &notified) }]).await?)
}
