//! Ops: acts when a carrier is in trouble.
//!
//! | hears | does | tells |
//! |---|---|---|
//! | `CarrierStatusChanged` | books capacity elsewhere while a carrier is not operational | `RemediationAttempted`, or nothing |

use agent_client::{Client, Delivery, HandlerError, Router, RunError, Start};
use waypost_proto::logistics::v1::CarrierStatusChanged;
use waypost_proto::ops::v1::RemediationAttempted;
use waypost_proto::v1::Event;

use crate::ledger::Ledger;

/// Runs the agent until SIGTERM or Ctrl-C.
pub(crate) async fn run(client: Client, ledger: Ledger) -> Result<(), RunError> {
    let router = Router::new(ledger).on::<CarrierStatusChanged, _>(react);
    client.subscribe("ops").start_at(Start::Earliest).serve(router).run_until_signal().await
}

async fn react(ledger: Ledger, delivery: &Delivery<CarrierStatusChanged>) -> Result<Vec<Event>, HandlerError> {
    let work = ledger.begin(delivery).await?;
    let CarrierStatusChanged { carrier, status, detail, .. } = delivery.data();
    if status == "operational" {
        return Ok(work.once(format!("noted that {carrier} is operational"), []).await?);
    }
    let remedy = RemediationAttempted {
        alert_id: delivery.event().id.clone(),
        service_name: carrier.clone(),
        action: "book_backup_carrier".to_owned(),
        succeeded: Some(true),
        detail: detail.clone(),
    };
    let subject = delivery.event().subject.clone();
    let output = Event { subject, ..Event::of("agents/ops", &remedy) };
    Ok(work.once(format!("booked a back-up for {carrier}, which is {status}"), [output]).await?)
}
