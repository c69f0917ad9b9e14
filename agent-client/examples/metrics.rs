//! An agent with metrics in the format of Prometheus: how many deliveries came, how handlers ended, and how long they took.
//!
//! ```text
//! cargo run -p agent-client --example metrics -- http://127.0.0.1:8481
//! ```
//!
//! It prints its metrics when it ends (Ctrl-C); a real agent serves [`Metrics::exposition`] where Prometheus finds it.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agent_client::proto::logistics::v1::ShippingDelayed;
use agent_client::{Client, Delivery, Disconnected, Observed, Observer, Outcome, Router};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Labels in order: the subscription, and what came of it.
type Labels = [(&'static str, String); 2];

/// What is counted, and where it is read. Clones count together.
#[derive(Clone)]
struct Metrics {
    registry: Arc<Registry>,
    received: Family<[(&'static str, String); 1], Counter>,
    handled: Family<Labels, Counter>,
    took: Histogram,
    connected: Gauge,
}

impl Metrics {
    fn new() -> Self {
        let mut registry = Registry::with_prefix("agent");
        let (received, handled, connected) = (Family::default(), Family::default(), Gauge::default());
        let took = Histogram::new([0.001, 0.01, 0.1, 1.0, 10.0, 100.0]);
        registry.register("deliveries", "Deliveries that came, each attempt counted.", Family::clone(&received));
        registry.register("handled", "Handlers that ended, by outcome.", Family::clone(&handled));
        registry.register_with_unit("handling", "How long handlers took.", Unit::Seconds, Histogram::clone(&took));
        registry.register("connected", "Open streams of subscriptions.", Gauge::clone(&connected));
        Self { registry: Arc::new(registry), received, handled, took, connected }
    }

    fn exposition(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Observer for Metrics {
    fn connected(&self, _: &str, _: bool) {
        self.connected.inc();
    }

    fn disconnected(&self, _: &str, _: Disconnected<'_>) {
        self.connected.dec();
    }

    fn received(&self, delivery: Observed<'_>) {
        self.received.get_or_create(&[("subscription", delivery.subscription.to_owned())]).inc();
    }

    fn handled(&self, delivery: Observed<'_>, outcome: Outcome, took: Duration) {
        let labels = [("subscription", delivery.subscription.to_owned()), ("outcome", outcome.as_str().to_owned())];
        self.handled.get_or_create(&labels).inc();
        self.took.observe(took.as_secs_f64());
    }
}

async fn tell(_: (), delivery: &Delivery<ShippingDelayed>) -> Result<(), Infallible> {
    println!("{} is late", delivery.data().shipment_id);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "http://127.0.0.1:8481".to_owned());
    let metrics = Metrics::new();
    let client = Client::builder().observer(metrics.clone()).connect(address)?;
    client.subscribe("metrics-example").serve(Router::new(()).on::<ShippingDelayed, _>(tell)).run_until_signal().await?;
    print!("{}", metrics.exposition()?);
    Ok(())
}
