//! Traces of events, as a collector gets them: one story is one trace, and no collector is waited for.

use std::time::Duration;

use agent_client::{Filter, Settled, Start, Subscription, proto::v1::Event};
use tokio::net::TcpListener;
use tonic::Request;
use waypost_proto::v1::{PublishItem, PublishRequest, agent_service_client::AgentServiceClient};
use waypost_tests::{
    authority::Authority,
    collector::{Collector, Span, texts},
};

use crate::{
    metrics::Scrape,
    stand::{SECRET, Stand, delay, soon},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const COLLECTORS_SECRET: &str = "a token for the collector alone";
const TRACEPARENT: &str = "traceparent";

/// What a sender says of its trace.
fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

fn stand(collector: &Collector, lines: &str) -> Stand {
    let endpoint = format!("traces.endpoint = 'http://{}'\n{lines}", collector.address);
    Stand::prepared(&endpoint, |folder| std::fs::write(folder.join("otlp"), COLLECTORS_SECRET).unwrap())
}

async fn open(stand: &Stand, name: &str, event_type: &str) -> Subscription<()> {
    let builder = stand.agent().subscribe(name).filter(Filter::new().event_type(event_type)).start_at(Start::Earliest);
    soon("the stream", builder.open()).await.unwrap()
}

/// The spans, once there is one of each of these names.
async fn spans_of(collector: &Collector, names: &[&str]) -> Vec<Span> {
    soon(&format!("spans {names:?}"), collector.once(|spans| names.iter().all(|name| spans.iter().any(|span| span.name == *name)))).await
}

#[track_caller]
fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

#[track_caller]
fn says(span: &Span, attributes: &[(&str, &str)]) {
    for (name, value) in attributes {
        assert_eq!(span.get(name), *value, "{name} of {span:#?}");
    }
}

const DELAYED: &str = "logistics.v1.ShippingDelayed";

#[tokio::test]
async fn one_webhook_is_one_trace_from_its_post_to_the_last_settlement() {
    let collector = Collector::start().await;
    let stand = stand(&collector, "traces.headers = { x-token = 'file:otlp' }\ntraces.resource = { team = 'logistics' }");
    let (mut routing, mut fulfilment) = (open(&stand, "routing", DELAYED).await, open(&stand, "fulfilment", "story.rerouted").await);

    let answer = stand.carrier(SECRET).header(TRACEPARENT, &traceparent("01")).post(delay(1)).await.unwrap();
    assert_eq!(answer.code, 202);
    let delivery = soon("the webhook's event", routing.try_next()).await.unwrap().unwrap();
    let of_event = delivery.event().attributes[TRACEPARENT].clone();
    delivery.ack_with([Event::of_json("agents/router", "story.rerouted", r#"{"why":"weather"}"#)]).await.unwrap();
    let output = soon("the output", fulfilment.try_next()).await.unwrap().unwrap();
    let of_output = output.event().attributes[TRACEPARENT].clone();
    assert_eq!(output.ack().await.unwrap(), Settled::Done);

    let names = [
        "POST /agent/logistics-anomaly-webhook",
        "append logistics.v1.ShippingDelayed",
        "deliver routing",
        "ack routing",
        "publish story.rerouted",
        "deliver fulfilment",
        "ack fulfilment",
    ];
    let spans = spans_of(&collector, &names).await;
    assert_eq!(spans.len(), names.len(), "{spans:#?}");
    let mut parent = PARENT;
    for name in names {
        let span = one(&spans, name);
        assert_eq!((&*span.trace, &*span.parent, span.is_error), (TRACE, parent, false), "{name} in {spans:#?}");
        assert!(span.times.0 <= span.times.1 && span.times.0 > 0);
        // Each led to the next.
        parent = &span.id;
    }
    let [post, append, deliver, ack, publish, ..] = names.map(|name| one(&spans, name));
    assert_eq!(of_event, format!("00-{TRACE}-{}-01", append.id), "an agent goes on from the append");
    assert_eq!(of_output, format!("00-{TRACE}-{}-01", publish.id));
    assert_eq!((post.kind, append.kind, deliver.kind, ack.kind), (2, 4, 4, 1));
    let id = answer.json["event_id"].as_str().unwrap();
    says(post, &[("http.response.status_code", "202"), ("waypost.source", "carrier"), ("waypost.webhook.outcome", "accepted")]);
    says(append, &[("messaging.message.id", id), ("messaging.destination.name", DELAYED), ("waypost.event.offset", "1")]);
    says(deliver, &[("waypost.delivery.attempt", "1"), ("waypost.delivery.outcome", "acked"), ("messaging.message.id", id)]);
    says(deliver, &[("messaging.destination.subscription.name", "routing"), ("messaging.operation.type", "send")]);
    says(ack, &[("messaging.operation.name", "ack"), ("messaging.operation.type", "settle")]);
    says(publish, &[("cloudevents.event_source", "agents/router"), ("messaging.message.conversation_id", id)]);

    let exports = collector.exports();
    let resource = texts(&exports[0].request.resource_spans[0].resource.as_ref().unwrap().attributes);
    assert_eq!((&*resource["service.name"], &*resource["team"]), ("waypost", "logistics"));
    assert_eq!(exports[0].headers["x-token"], COLLECTORS_SECRET);
    let sent = format!("{:?}", exports.iter().map(|export| &export.request).collect::<Vec<_>>());
    // Secrets, payloads, subjects.
    for kept in [SECRET, COLLECTORS_SECRET, "Global Freight", "weather", "shipments/"] {
        assert!(!sent.contains(kept), "{kept:?} is in what was sent");
    }
    assert!(!stand.log().contains(COLLECTORS_SECRET));
}

#[tokio::test]
async fn each_attempt_is_a_delivery_of_its_own() {
    let collector = Collector::start().await;
    let stand = stand(&collector, "");
    let mut routing = open(&stand, "routing", DELAYED).await;
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    let first = soon("the first attempt", routing.try_next()).await.unwrap().unwrap();
    first.nack_after(Duration::ZERO, "a reason with what nobody should see").await.unwrap();
    let second = soon("the second attempt", routing.try_next()).await.unwrap().unwrap();
    second.reject("another such reason").await.unwrap();

    let spans = spans_of(&collector, &["nack routing", "reject routing", "append logistics.v1.ShippingDelayed"]).await;
    let append = one(&spans, "append logistics.v1.ShippingDelayed");
    let mut deliveries: Vec<_> = spans.iter().filter(|span| span.name == "deliver routing").collect();
    deliveries.sort_by_key(|span| span.times);
    let [first, second] = deliveries[..] else { panic!("{spans:#?}") };
    says(first, &[("waypost.delivery.attempt", "1"), ("waypost.delivery.outcome", "nacked"), ("error.type", "nacked")]);
    says(second, &[("waypost.delivery.attempt", "2"), ("waypost.delivery.outcome", "rejected"), ("waypost.dead_letter.cause", "rejected")]);
    assert!(first.is_error && second.is_error);
    assert_eq!((&first.parent, &second.parent), (&append.id, &append.id));
    assert_eq!((&one(&spans, "nack routing").parent, &one(&spans, "reject routing").parent), (&first.id, &second.id));
    assert!(!format!("{:?}", collector.exports()).contains("reason"), "what agents say is not sent");
}

#[tokio::test]
async fn a_delivery_that_outlives_the_broker_stays_in_its_trace() {
    let collector = Collector::start().await;
    let stand = stand(&collector, "");
    let mut routing = open(&stand, "routing", DELAYED).await;
    stand.carrier(SECRET).header(TRACEPARENT, &traceparent("00")).post(delay(1)).await.unwrap();
    let held = soon("the delivery", routing.try_next()).await.unwrap().unwrap();
    let stand = stand.kill_and_restart();
    stand.carrier(SECRET).post(delay(2)).await.unwrap();
    // It comes when the session is back with what it holds.
    let next = soon("the delivery after the restart", routing.try_next()).await.unwrap().unwrap();
    held.ack_with([Event::of_json("agents/router", "story.rerouted", "{}")]).await.unwrap();
    next.ack().await.unwrap();

    let wanted = |spans: &[Span]| {
        ["deliver routing", "ack routing", "publish story.rerouted"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name && span.trace == TRACE))
    };
    let spans: Vec<_> = soon("the spans", collector.once(wanted)).await.into_iter().filter(|span| span.trace == TRACE).collect();
    let (deliver, ack) = (one(&spans, "deliver routing"), one(&spans, "ack routing"));
    says(deliver, &[("waypost.delivery.resumed", "true"), ("waypost.delivery.outcome", "acked")]);
    assert_eq!((&ack.parent, &one(&spans, "publish story.rerouted").parent), (&deliver.id, &ack.id));
}

#[tokio::test]
async fn publishers_bring_their_trace_and_their_decision() {
    let collector = Collector::start().await;
    let stand = stand(&collector, "traces.sample_ratio = 0.0");
    let mut client = AgentServiceClient::new(stand.broker.channel());
    let event = |event_type: &str, traceparent: Option<String>| {
        let mut event = Event::of_json("agents/a", event_type, "{}");
        event.attributes.extend(traceparent.map(|traceparent| (TRACEPARENT.to_owned(), traceparent)));
        PublishItem::from(event)
    };
    let items = vec![
        event("of.call", None),
        event("of.event", Some(traceparent("01").replace(PARENT, "00000000000000aa"))),
        event("not.sampled", Some(traceparent("00"))),
        event("invalid", Some("00-nonsense".to_owned())),
    ];
    let mut request = Request::new(PublishRequest { items });
    request.metadata_mut().insert(TRACEPARENT, traceparent("01").parse().unwrap());
    soon("the answer", client.publish(request)).await.unwrap();

    let spans = spans_of(&collector, &["publish of.call", "publish of.event", "publish invalid"]).await;
    assert_eq!(spans.len(), 3, "{spans:#?}");
    for (name, parent) in [("publish of.call", PARENT), ("publish of.event", "00000000000000aa"), ("publish invalid", PARENT)] {
        let span = one(&spans, name);
        assert_eq!((&*span.trace, &*span.parent), (TRACE, parent), "{name}");
    }
    let mut all = soon("the stream", stand.agent().subscribe("all").start_at(Start::Earliest).open()).await.unwrap();
    for expected in [format!("00-{TRACE}-{}-01", one(&spans, "publish of.call").id), traceparent("01").replace(PARENT, "00000000000000aa")]
    {
        let delivery = soon("an event", all.try_next()).await.unwrap().unwrap();
        assert_eq!(delivery.event().attributes[TRACEPARENT], expected, "what the publisher wrote stays");
        delivery.ack().await.unwrap();
    }
}

#[tokio::test]
async fn at_ratio_0_a_webhook_records_nothing_whatever_it_says_and_its_trace_goes_on() {
    let collector = Collector::start().await;
    let stand = stand(&collector, "traces.sample_ratio = 0.0");
    let mut routing = open(&stand, "routing", DELAYED).await;
    stand.carrier(SECRET).header(TRACEPARENT, &traceparent("01")).header("tracestate", "vendor=1").post(delay(1)).await.unwrap();
    assert_eq!(stand.carrier("wrong").header(TRACEPARENT, &traceparent("01")).post(delay(2)).await.unwrap().code, 401);
    let delivery = soon("the delivery", routing.try_next()).await.unwrap().unwrap();
    let attributes = delivery.event().attributes.clone();
    assert!(attributes[TRACEPARENT].starts_with(&format!("00-{TRACE}-")) && attributes[TRACEPARENT].ends_with("-00"), "{attributes:?}");
    assert_eq!(attributes["tracestate"], "vendor=1");
    delivery.ack().await.unwrap();
    drop(routing);
    // Its end sends what is left.
    stand.broker.terminate();
    soon("the end of the broker", stand.broker.ended()).await;
    assert_eq!(collector.spans(), []);
}

#[tokio::test]
async fn a_trusted_source_brings_its_decision_with_its_trace() {
    let collector = Collector::start().await;
    let stand = stand(&collector, "traces.sample_ratio = 0.0\ntraces.trusted_sources = ['carrier']");
    for (number, flags) in [(1, "00"), (2, "01")] {
        stand.carrier(SECRET).header(TRACEPARENT, &traceparent(flags)).post(delay(number)).await.unwrap();
    }
    let spans = spans_of(&collector, &["append logistics.v1.ShippingDelayed"]).await;
    assert_eq!(one(&spans, "append logistics.v1.ShippingDelayed").get("waypost.event.offset"), "2");
}

#[tokio::test]
async fn who_is_not_verified_is_in_no_trace_of_others() {
    let collector = Collector::start().await;
    let stand = stand(&collector, "");
    let answer = stand.carrier("wrong").header(TRACEPARENT, &traceparent("01")).post(delay(1)).await.unwrap();
    assert_eq!(answer.code, 401);
    let spans = spans_of(&collector, &["POST /agent/logistics-anomaly-webhook"]).await;
    let post = one(&spans, "POST /agent/logistics-anomaly-webhook");
    says(
        post,
        &[("waypost.webhook.outcome", "refused"), ("waypost.webhook.reason", "signature_wrong"), ("http.response.status_code", "401")],
    );
    assert!(post.trace != TRACE && post.parent.is_empty() && !post.is_error, "{post:?}");
}

#[tokio::test]
async fn a_collector_that_is_down_or_silent_costs_spans_and_nothing_else() {
    // One whose port nobody listens on, and one that takes connections and says nothing.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for address in [gone, silent.local_addr().unwrap()] {
        let stand = Stand::with(&format!("traces.endpoint = 'http://{address}'"));
        let mut routing = open(&stand, "routing", DELAYED).await;
        for number in 1..=20 {
            assert_eq!(stand.carrier(SECRET).post(delay(number)).await.unwrap().code, 202);
            let delivery = soon("the delivery", routing.try_next()).await.unwrap().unwrap();
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
        }
        if address == gone {
            let failed = r#"waypost_spans_total{outcome="failed"}"#;
            soon("four lost spans for each", async { while Scrape::of(&stand).await.get(failed) < 80.0 {} }).await;
            assert_eq!(stand.log().matches("spans are lost").count(), 1, "{}", stand.log());
        }
        drop(routing);
        stand.broker.terminate();
        assert!(soon("the end of the broker", stand.broker.ended()).await.success());
    }
}

#[tokio::test]
async fn spans_go_over_tls_to_who_can_be_believed() {
    let authority = Authority::new();
    let collector = Collector::with_tls(&authority.sign(&["127.0.0.1"])).await;
    let endpoint = format!("traces.endpoint = 'https://{}'\ntraces.ca = 'ca.pem'", collector.address);
    let stand = Stand::prepared(&endpoint, |folder| std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap());
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    spans_of(&collector, &["append logistics.v1.ShippingDelayed"]).await;

    let other = Stand::prepared(&endpoint, |folder| std::fs::write(folder.join("ca.pem"), Authority::new().pem()).unwrap());
    let before = collector.exports().len();
    other.carrier(SECRET).post(delay(2)).await.unwrap();
    soon("spans that are not sent", async { while Scrape::of(&other).await.get(r#"waypost_spans_total{outcome="failed"}"#) < 2.0 {} })
        .await;
    assert_eq!(collector.exports().len(), before);
    assert!(other.log().contains("certificate"), "the log says why: {}", other.log());
}
