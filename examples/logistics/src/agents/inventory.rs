//! Inventory: reserves what is ordered, and orders what runs out.
//!
//! | hears | does | tells |
//! |---|---|---|
//! | `OrderPlaced` | reserves the products, or fails if no depot holds one | `StockReserved` |
//! | `StockDepleted` | orders more | `ReplenishmentOrdered` |
//! | `ShippingDelayed` | orders a spare of each product on board | `ReplenishmentOrdered`, one per product |

use std::time::Duration;

use agent_client::{Agent, Client, Delivery, HandlerError, Router, RunError, Start};
use waypost_proto::commerce::v1::OrderPlaced;
use waypost_proto::logistics::v1::{ReplenishmentOrdered, ShippingDelayed, StockDepleted, StockReserved};
use waypost_proto::v1::Event;

use crate::ledger::Ledger;

const DEPOT: &str = "DEPOT-LEIPZIG";
const CATALOGUE: [&str; 3] = ["PROD-A", "PROD-B", "PROD-C"];

/// Runs the agent until SIGTERM or Ctrl-C.
pub(crate) async fn run(client: Client, ledger: Ledger) -> Result<(), RunError> {
    agent(&client, ledger).run_until_signal().await
}

/// The agent, about to run.
pub(super) fn agent(client: &Client, ledger: Ledger) -> Agent<Ledger> {
    let router = Router::new(ledger).on::<OrderPlaced, _>(reserve).on::<StockDepleted, _>(replenish).on::<ShippingDelayed, _>(bridge);
    // An event that fails three times is set aside as a dead letter, and holds nobody up.
    let subscription = client.subscribe("inventory").start_at(Start::Earliest).max_attempts(3);
    subscription.backoff(Duration::from_millis(250), Duration::from_secs(2)).serve(router)
}

async fn reserve(ledger: Ledger, delivery: &Delivery<OrderPlaced>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let OrderPlaced { order_id, customer_id, items } = delivery.data();
    let skus: Vec<_> = items.iter().map(|item| item.sku.clone()).collect();
    if let Some(unknown) = skus.iter().find(|sku| !CATALOGUE.contains(&sku.as_str())) {
        // Tomorrow a depot may hold it: so no rejection, but a failed attempt. The reason stands in the event's history.
        return Err(HandlerError::nack(format_args!("no depot holds {unknown}, which {order_id} asks for")));
    }
    let did = format!("reserved {} for {order_id}", skus.join(", "));
    let reserved = StockReserved { order_id: order_id.clone(), customer_id: customer_id.clone(), warehouse_id: DEPOT.to_owned(), skus };
    Ok(work.once(did, [event(delivery, &reserved)]).await?)
}

async fn replenish(ledger: Ledger, delivery: &Delivery<StockDepleted>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let StockDepleted { sku, warehouse_id, .. } = delivery.data();
    let output = event(delivery, &order(&delivery.event().id, sku, warehouse_id));
    Ok(work.once(format!("ordered {sku} for {warehouse_id}"), [output]).await?)
}

async fn bridge(ledger: Ledger, delivery: &Delivery<ShippingDelayed>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let late = &delivery.data().affected_products;
    let outputs: Vec<_> = late.iter().map(|sku| event(delivery, &order(&delivery.event().id, sku, DEPOT))).collect();
    Ok(work.once(format!("bridges the delay with spares of {}", late.join(", ")), outputs).await?)
}

/// An order is named after the event that asks for it, so that a second attempt makes the same one.
fn order(cause: &str, sku: &str, warehouse: &str) -> ReplenishmentOrdered {
    let replenishment_id = format!("{cause}/{sku}");
    ReplenishmentOrdered { replenishment_id, sku: sku.to_owned(), warehouse_id: warehouse.to_owned(), quantity: 40, ..Default::default() }
}

fn event<T, M: prost::Name>(delivery: &Delivery<T>, message: &M) -> Event {
    Event { subject: delivery.event().subject.clone(), ..Event::of("agents/inventory", message) }
}
