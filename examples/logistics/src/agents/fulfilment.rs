//! Fulfilment: sends out what is reserved, and what arrives.
//!
//! | hears | does | tells |
//! |---|---|---|
//! | `StockReserved` | packs the order | `ShipmentDispatched` |
//! | `TruckArrived` | sends on what is on board | `ShipmentDispatched`, one per shipment |
//! | `PackageRerouted` | prints another label | nothing |

use agent_client::{Client, Delivery, HandlerError, Router, RunError, Start};
use waypost_proto::logistics::v1::{PackageRerouted, ShipmentDispatched, StockReserved, TruckArrived};
use waypost_proto::v1::Event;

use crate::ledger::Ledger;

/// Runs the agent until SIGTERM or Ctrl-C.
pub(crate) async fn run(client: Client, ledger: Ledger) -> Result<(), RunError> {
    let router = Router::new(ledger).on::<StockReserved, _>(pack).on::<TruckArrived, _>(send_on).on::<PackageRerouted, _>(relabel);
    client.subscribe("fulfilment").start_at(Start::Earliest).serve(router).run_until_signal().await
}

async fn pack(ledger: Ledger, delivery: &Delivery<StockReserved>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let reserved = delivery.data();
    let dispatched = ShipmentDispatched {
        shipment_id: format!("SHIP-OF-{}", reserved.order_id),
        customer_id: reserved.customer_id.clone(),
        warehouse_id: reserved.warehouse_id.clone(),
        order_id: reserved.order_id.clone(),
        carrier: "Global Freight".to_owned(),
    };
    Ok(work.once(format!("packed {}", reserved.order_id), [event(&dispatched)]).await?)
}

async fn send_on(ledger: Ledger, delivery: &Delivery<TruckArrived>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let truck = delivery.data();
    let dispatched = truck.shipment_ids.iter().map(|shipment| ShipmentDispatched {
        shipment_id: shipment.clone(),
        customer_id: format!("customer-of-{shipment}"),
        warehouse_id: truck.warehouse_id.clone(),
        carrier: truck.carrier.clone(),
        ..Default::default()
    });
    let outputs: Vec<_> = dispatched.map(|dispatched| event(&dispatched)).collect();
    Ok(work.once(format!("sent on {} from {}", truck.shipment_ids.join(", "), truck.truck_id), outputs).await?)
}

async fn relabel(ledger: Ledger, delivery: &Delivery<PackageRerouted>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    Ok(work.once(format!("printed another label for {}", delivery.data().package_id), []).await?)
}

fn event(dispatched: &ShipmentDispatched) -> Event {
    Event { subject: format!("shipments/{}", dispatched.shipment_id), ..Event::of("agents/fulfilment", dispatched) }
}
