//! Traces: an agent's span continues the event's trace, and what it publishes continues the agent's.
//!
//! Constraint: spans are looked at as an exporter gets them; the broker is a whole one, in this process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::convert::Infallible;

use agent_client::proto::logistics::v1::{CustomerNotified, PackageRerouted, ShippingDelayed};
use agent_client::proto::v1::Event;
use agent_client::{Client, Delivery, Filter, HandlerError, Router, Start};
use opentelemetry::trace::{SpanKind, Status, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use prost_types::Timestamp;
use tracing::Instrument;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::SubscriberExt;
use waypost_broker::testing::TestBroker;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const WEBHOOK: &str = "b7ad6b7169203331";

/// Collects the spans of this thread until it is dropped.
struct Collector {
    exporter: InMemorySpanExporter,
    _provider: SdkTracerProvider,
    _guard: DefaultGuard,
}

impl Collector {
    fn start() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("agent"));
        let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        Self { exporter, _provider: provider, _guard: guard }
    }

    fn spans(&self, name: &str) -> Vec<SpanData> {
        let mut spans = self.exporter.get_finished_spans().unwrap();
        spans.retain(|span| span.name == name);
        spans
    }

    fn span(&self, name: &str) -> SpanData {
        let spans = self.spans(name);
        assert_eq!(spans.len(), 1, "{:?}", self.exporter.get_finished_spans());
        spans.into_iter().next().unwrap()
    }
}

fn traced(shipment: &str) -> Event {
    let new_eta = Some(Timestamp { seconds: 1_767_348_000, nanos: 0 });
    let data = ShippingDelayed { shipment_id: shipment.into(), new_eta, ..Default::default() };
    let attributes = [("traceparent".into(), format!("00-{TRACE}-{WEBHOOK}-01")), ("tracestate".into(), "vendor=1".into())];
    Event { attributes: attributes.into(), ..Event::of("carrier", &data) }
}

fn rerouted() -> PackageRerouted {
    PackageRerouted { package_id: "P".into(), new_route: vec!["Antwerp".into()], ..Default::default() }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.to_string())
}

fn traceparent(event: &Event) -> &str {
    &event.attributes["traceparent"]
}

fn named_by(span: &SpanData) -> String {
    format!("00-{}-{}-01", span.span_context.trace_id(), span.span_context.span_id())
}

/// Publishes one event by itself, and one with its ack.
async fn reroute(client: Client, delivery: &Delivery<ShippingDelayed>) -> Result<Event, HandlerError> {
    if delivery.data().shipment_id == "poison" {
        return Err(HandlerError::reject("there is no such port"));
    }
    let notified = CustomerNotified { customer_id: "C".into(), channel: "email".into(), ..Default::default() };
    client.publish(delivery.causes(Event::of("agents/planner", &notified))).await?;
    Ok(Event::of("agents/planner", &rerouted()))
}

async fn run(broker: &TestBroker, client: &Client) {
    let agent = client.subscribe("routing").start_at(Start::Earliest).serve(Router::new(client.clone()).on::<ShippingDelayed, _>(reroute));
    let done = broker.settled("routing");
    agent.run_until(async { done.await.unwrap() }).await.unwrap();
}

async fn stored<M: prost::Name>(client: &Client) -> Event {
    client.read().filter(Filter::new().of::<M>()).open().try_next().await.unwrap().unwrap().event.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_handler_continues_the_trace_of_its_event_and_its_events_continue_its_own() {
    let collector = Collector::start();
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    client.publish(traced("S")).await.unwrap();
    run(&broker, &client).await;

    let span = collector.span("process routing");
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), WEBHOOK);
    assert!(span.parent_span_is_remote);
    assert_eq!(span.span_context.trace_state().header(), "vendor=1");
    assert_eq!((span.span_kind.clone(), span.status.clone()), (SpanKind::Consumer, Status::Unset));
    for (key, value) in [
        ("messaging.system", "waypost"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "logistics.v1.ShippingDelayed"),
        ("messaging.destination.subscription.name", "routing"),
        ("source", "carrier"),
        ("attempt", "1"),
        ("outcome", "done"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}");
    }

    let published = stored::<CustomerNotified>(&client).await;
    let output = stored::<PackageRerouted>(&client).await;
    assert_eq!(traceparent(&published), named_by(&span));
    assert_eq!(traceparent(&output), named_by(&span));
    assert_eq!(output.attributes["tracestate"], "vendor=1");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_an_error_of_its_span() {
    let collector = Collector::start();
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    client.publish(traced("poison")).await.unwrap();
    run(&broker, &client).await;
    let span = collector.span("process routing");
    assert_eq!(span.status, Status::error("rejected"));
    assert_eq!(attribute(&span, "outcome").as_deref(), Some("rejected"));
}

#[tokio::test(start_paused = true)]
async fn a_delivery_taken_by_hand_has_its_span_and_what_is_said_of_a_trace_is_kept() {
    let collector = Collector::start();
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let mut deliveries = client.subscribe("routing").of::<ShippingDelayed>().open().await.unwrap();
    client.publish(traced("S")).await.unwrap();
    let delivery = deliveries.try_next().await.unwrap().unwrap();
    assert_eq!(delivery.traceparent(), Some(&*format!("00-{TRACE}-{WEBHOOK}-01")));
    let span = delivery.span();
    let own = Event { attributes: traced("").attributes, ..Event::of("a", &rerouted()) };
    async { delivery.ack_with([own]).await }.instrument(span).await.unwrap();
    assert_eq!(collector.span("process routing").parent_span_id.to_string(), WEBHOOK);
    assert_eq!(stored::<PackageRerouted>(&client).await.attributes, traced("").attributes, "whoever names a parent means it");
}

#[tokio::test(start_paused = true)]
async fn without_a_span_and_without_a_subscriber_nothing_is_added() {
    async fn ignore(_: (), delivery: &Delivery<PackageRerouted>) -> Result<(), Infallible> {
        assert_eq!(delivery.traceparent(), None);
        Ok(())
    }
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    client.publish(Event::of("a", &rerouted())).await.unwrap();
    let agent = client.subscribe("routing").start_at(Start::Earliest).serve(Router::new(()).on::<PackageRerouted, _>(ignore));
    agent.run_until(async { broker.settled("routing").await.unwrap() }).await.unwrap();
    assert_eq!(broker.dead_letters("routing").await.unwrap(), []);
    assert!(stored::<PackageRerouted>(&client).await.attributes.is_empty());
}
