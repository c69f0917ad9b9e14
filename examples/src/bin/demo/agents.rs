//! Two agents. Each has a subscription of its own, and settles every event on its own.

use std::{error::Error, time::Duration};

use agent_client::{Client, Delivery, Subscription};
use tokio::sync::mpsc::UnboundedSender;
use waypost_proto::{
    logistics::v1::{CustomerNotified, ShippingDelayed},
    v1::Event,
};

use crate::tally::Fact;

type Told = UnboundedSender<Fact>;

/// Tells the customer: its ack and the event that it publishes are one step.
pub(crate) async fn start_planner(address: &str, told: Told) -> Result<(), Box<dyn Error>> {
    let mut delays = subscribe(address, "planner").await?;
    tokio::spawn(async move {
        while let Ok(Some(delivery)) = delays.try_next().await {
            let fact = delivered("planner", &delivery, &told);
            let notice = CustomerNotified {
                customer_id: "cust_12345".into(),
                shipment_id: delivery.data().shipment_id.clone(),
                channel: "email".into(),
                ..CustomerNotified::default()
            };
            if delivery.ack_with([Event::of("agents/planner", &notice)]).await.is_ok() {
                settled(fact, &told);
            }
        }
    });
    Ok(())
}

/// Fails at its first event, so that this one comes again.
pub(crate) async fn start_notifier(address: &str, told: Told) -> Result<(), Box<dyn Error>> {
    let mut delays = subscribe(address, "notifier").await?;
    tokio::spawn(async move {
        let mut has_failed = false;
        while let Ok(Some(delivery)) = delays.try_next().await {
            let fact = delivered("notifier", &delivery, &told);
            if !has_failed {
                has_failed = true;
                // The broker keeps the reason in the event's history. A failure to nack would only mean that it comes again by itself.
                let _ = delivery.nack_after(Duration::from_millis(500), "the mail server is busy").await;
            } else if delivery.ack().await.is_ok() {
                settled(fact, &told);
            }
        }
    });
    Ok(())
}

async fn subscribe(address: &str, name: &str) -> Result<Subscription<ShippingDelayed>, Box<dyn Error>> {
    Ok(Client::connect(address)?.subscribe(name).of::<ShippingDelayed>().open().await?)
}

fn delivered(agent: &'static str, delivery: &Delivery<ShippingDelayed>, told: &Told) -> Fact {
    let fact = Fact { agent, event: delivery.event().id.clone(), attempt: delivery.attempt(), settled: false };
    // Nobody listens any more only when the demo is over.
    let _ = told.send(fact.clone());
    fact
}

fn settled(fact: Fact, told: &Told) {
    let _ = told.send(Fact { settled: true, ..fact });
}
