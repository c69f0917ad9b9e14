//! The client with a whole broker in the same process, as agents' own tests have it.
//!
//! Constraint: every test is one with `start_paused = true`, and none waits: what takes minutes is over in milliseconds.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod cancelling;
mod living;
mod observing;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_client::proto::logistics::v1::ShippingDelayed;
use agent_client::proto::v1::Event;
use agent_client::{Agent, Delivery, HandlerError, Router, RunError};
use prost_types::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A delay of this shipment.
fn delayed(shipment: &str) -> Event {
    let new_eta = Some(Timestamp { seconds: 1_767_348_000, nanos: 0 });
    let data = ShippingDelayed { shipment_id: shipment.to_owned(), new_eta, ..Default::default() };
    Event { id: format!("event-{shipment}"), ..Event::of("carrier", &data) }
}

/// An agent that runs, and how to end it.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    fn start<S: Clone + Send + Sync + 'static>(agent: Agent<S>) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(agent.run_until(async { drop(stopped.await) }));
        Self { stop, task }
    }

    async fn stop(self) {
        let _ended = self.stop.send(());
        self.task.await.unwrap().unwrap();
    }
}

/// A handler that does what the shipment's name says, and counts how often it was asked.
#[derive(Clone, Default)]
struct Asked(Arc<AtomicUsize>);

impl Asked {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn router(&self) -> Router<Self> {
        Router::new(self.clone()).on::<ShippingDelayed, _>(as_its_name_says)
    }
}

async fn as_its_name_says(asked: Asked, delivery: &Delivery<ShippingDelayed>) -> Result<(), HandlerError> {
    asked.0.fetch_add(1, Ordering::Relaxed);
    if delivery.data().shipment_id == "takes 40 s" {
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    match delivery.data().shipment_id.as_str() {
        "fails once" if delivery.attempt() == 1 => Err(HandlerError::nack("not yet")),
        "fails" => Err(HandlerError::nack("never")),
        "poison" => Err(HandlerError::reject("there is no such port")),
        _ => Ok(()),
    }
}

async fn ignore(_: (), _: &Delivery<ShippingDelayed>) -> Result<(), Infallible> {
    Ok(())
}
