//! The outside world, at the end of each story: customers who get mail, suppliers who get orders, people who are called.
//!
//! It tells nothing. Its ledger proves that what the other agents published with their acks arrived, each once.

use agent_client::{Client, Delivery, HandlerError, Router, RunError, Start};
use waypost_proto::logistics::v1::{CustomerNotified, ReplenishmentOrdered};
use waypost_proto::ops::v1::RemediationAttempted;
use waypost_proto::v1::Event;

use crate::ledger::Ledger;

/// Runs it until SIGTERM or Ctrl-C.
pub(crate) async fn run(client: Client, ledger: Ledger) -> Result<(), RunError> {
    let router = Router::new(ledger)
        .on::<CustomerNotified, _>(read_mail)
        .on::<ReplenishmentOrdered, _>(supply)
        .on::<RemediationAttempted, _>(be_called);
    client.subscribe("outside").start_at(Start::Earliest).serve(router).run_until_signal().await
}

async fn read_mail(ledger: Ledger, delivery: &Delivery<CustomerNotified>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    Ok(work.once(format!("{} read the mail", delivery.data().customer_id), []).await?)
}

async fn supply(ledger: Ledger, delivery: &Delivery<ReplenishmentOrdered>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let ReplenishmentOrdered { quantity, sku, .. } = delivery.data();
    Ok(work.once(format!("the supplier sends {quantity} of {sku}"), []).await?)
}

async fn be_called(ledger: Ledger, delivery: &Delivery<RemediationAttempted>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    Ok(work.once(format!("the back-up of {} is on duty", delivery.data().service_name), []).await?)
}
