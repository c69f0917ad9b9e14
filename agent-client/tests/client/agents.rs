//! Routers: which handler gets what, and what becomes of what it returns.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use agent_client::proto::logistics::v1::{PackageRerouted, ShippingDelayed};
use agent_client::proto::tasks::v1::TaskFailed;
use agent_client::proto::v1::settlement::Action;
use agent_client::proto::v1::subscribe_response::Response as Kind;
use agent_client::proto::v1::{ErrorReason, Event, Refusal, Revoked, RevokedReason, SettleResult, SettlementStatus};
use agent_client::{Agent, Client, Delivery, Filter, HandlerError, Router, RunError, SubscribeError};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tonic::Code;

use crate::fake::{Fake, SettleCall, Stream, status};

/// What the handlers of these tests share with the test.
#[derive(Clone)]
pub(crate) struct Probe {
    said: mpsc::UnboundedSender<String>,
    /// Handlers that wait do so for a permit.
    gate: Arc<Semaphore>,
}

pub(crate) struct Heard {
    pub(crate) said: mpsc::UnboundedReceiver<String>,
    pub(crate) gate: Arc<Semaphore>,
}

impl Heard {
    pub(crate) async fn next(&mut self) -> String {
        self.said.recv().await.unwrap()
    }

    pub(crate) async fn some(&mut self, number: usize) -> Vec<String> {
        let mut some = Vec::new();
        while some.len() < number {
            some.push(self.next().await);
        }
        some.sort();
        some
    }
}

impl Probe {
    pub(crate) fn new() -> (Self, Heard) {
        let (said, heard) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        (Self { said, gate: Arc::clone(&gate) }, Heard { said: heard, gate })
    }

    pub(crate) fn say(&self, word: impl Into<String>) {
        let _gone = self.said.send(word.into());
    }
}

/// Tells that a handler was dropped before its end.
struct Unfinished(Option<(Probe, String)>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some((probe, id)) = self.0.take() {
            probe.say(format!("{id} cancelled"));
        }
    }
}

/// Begins, waits for the gate, and ends.
pub(crate) async fn gated(probe: Probe, delivery: &Delivery<ShippingDelayed>) -> Result<(), Infallible> {
    let id = &delivery.data().shipment_id;
    let mut unfinished = Unfinished(Some((probe.clone(), id.clone())));
    probe.say(format!("{id} began"));
    probe.gate.acquire().await.unwrap().forget();
    unfinished.0 = None;
    Ok(())
}

pub(crate) fn delayed(shipment: &str) -> (&str, Event) {
    let data = ShippingDelayed { shipment_id: shipment.to_owned(), ..Default::default() };
    (shipment, Event { id: format!("event-{shipment}"), subject: format!("/{shipment}"), ..Event::of("carrier", &data) })
}

/// Runs an agent until the end of the test.
fn run(agent: Agent<Probe>) -> JoinHandle<Result<(), RunError>> {
    tokio::spawn(agent.run_until(std::future::pending()))
}

async fn served(router: Router<Probe>) -> (Fake, Stream, JoinHandle<Result<(), RunError>>) {
    let (mut fake, client) = Fake::start();
    let running = run(client.subscribe("routing").serve(router));
    let stream = fake.open().await;
    (fake, stream, running)
}

/// What is asked of the next settlements, one a line, and answered as done.
pub(crate) async fn settled(fake: &mut Fake, number: usize) -> Vec<String> {
    let mut settled = BTreeMap::new();
    while settled.len() < number {
        let call = fake.settle().await;
        settled.extend(call.asked().into_iter().zip(reasons(&call)));
        call.done();
    }
    settled.into_iter().map(|(asked, reason)| if reason.is_empty() { asked } else { format!("{asked}: {reason}") }).collect()
}

fn reasons(call: &SettleCall) -> Vec<String> {
    let reason = |action: &Action| match action {
        Action::Nack(nack) => match nack.delay {
            Some(delay) => format!("{} (after {} s)", nack.reason, delay.seconds),
            None => nack.reason.clone(),
        },
        Action::Reject(reject) => reject.reason.clone(),
        _ => String::new(),
    };
    call.request.settlements.iter().map(|settlement| reason(settlement.action.as_ref().unwrap())).collect()
}

async fn tell_delay(probe: Probe, delivery: &Delivery<ShippingDelayed>) -> Result<(), Infallible> {
    let event = delivery.event();
    probe.say(format!("delay of {}: {} {} attempt {}", delivery.data().shipment_id, event.id, event.subject, delivery.attempt()));
    Ok(())
}

async fn tell_failure(probe: Probe, delivery: &Delivery<TaskFailed>) -> Result<(), Infallible> {
    probe.say(format!("failure of {}", delivery.data().task_id));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn each_message_goes_to_its_handler_with_the_state_and_only_these_are_subscribed_to() {
    let (probe, mut heard) = Probe::new();
    let router = Router::new(probe).on::<TaskFailed, _>(tell_failure).on::<ShippingDelayed, _>(tell_delay);
    let (mut fake, stream, _running) = served(router).await;
    let filter = stream.request.spec.clone().unwrap().filter.unwrap();
    assert_eq!(filter.types, ["logistics.v1.ShippingDelayed", "tasks.v1.TaskFailed"]);

    let failed = Event::of("tasks", &TaskFailed { task_id: "T-1".into(), ..Default::default() });
    stream.deliver_events([delayed("a"), ("b", failed)]);
    assert_eq!(heard.some(2).await, ["delay of a: event-a /a attempt 1", "failure of T-1"]);
    assert_eq!(settled(&mut fake, 2).await, ["a ack", "b ack"]);
}

#[tokio::test(start_paused = true)]
async fn what_no_handler_is_for_is_rejected_by_its_name() {
    let (probe, mut heard) = Probe::new();
    let (mut fake, client) = Fake::start();
    let filter = Filter::new().event_type("tasks.v1.*").source("tasks");
    let _running = run(client.subscribe("routing").filter(filter).serve(Router::new(probe).on::<ShippingDelayed, _>(tell_delay)));
    let stream = fake.open().await;
    let asked = stream.request.spec.clone().unwrap().filter.unwrap();
    assert_eq!((asked.types, asked.sources), (vec!["tasks.v1.*".to_owned()], vec!["tasks".to_owned()]), "the agent's own types win");

    let mut malformed = delayed("bad").1;
    malformed.data.as_mut().unwrap().value = vec![0xff];
    stream.deliver_events([("a", Event::of("tasks", &TaskFailed::default())), ("bad", malformed), delayed("c")]);
    let settled = settled(&mut fake, 3).await;
    let reason = "the agent has no handler for \"tasks.v1.TaskFailed\", which this event of type \"tasks.v1.TaskFailed\" carries";
    assert_eq!(settled[0], format!("a reject: {reason}"));
    assert!(settled[1].starts_with("bad reject: event \"event-bad\" says that it carries logistics.v1.ShippingDelayed"), "{settled:?}");
    assert_eq!(settled[2], "c ack");
    assert_eq!(heard.next().await, "delay of c: event-c /c attempt 1");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_gets_the_rest_of_every_type() {
    async fn rest(probe: Probe, delivery: &Delivery) -> Result<(), Infallible> {
        probe.say(format!("{} {:?}", delivery.event().r#type, delivery.json()));
        Ok(())
    }
    let (probe, mut heard) = Probe::new();
    let (mut fake, stream, _running) = served(Router::new(probe).on::<ShippingDelayed, _>(tell_delay).fallback(rest)).await;
    assert_eq!(stream.request.spec.as_ref().unwrap().filter, None, "a filter would keep the rest away");
    stream.deliver_events([("a", Event::of_json("shop", "com.example.order", "{}")), delayed("b")]);
    assert_eq!(heard.some(2).await, ["com.example.order Some(b\"{}\")", "delay of b: event-b /b attempt 1"]);
    assert_eq!(settled(&mut fake, 2).await, ["a ack", "b ack"]);
}

fn rerouted(package: &str) -> Event {
    Event::of("agents/planner", &PackageRerouted { package_id: package.to_owned(), ..Default::default() })
}

async fn reroute(_: Probe, delivery: &Delivery<ShippingDelayed>) -> Result<[Event; 2], HandlerError> {
    Ok([rerouted(&delivery.data().shipment_id), rerouted("second")])
}

#[tokio::test(start_paused = true)]
async fn p9_what_a_handler_returns_is_published_with_its_ack() {
    let (mut fake, stream, _running) = served(Router::new(Probe::new().0).on::<ShippingDelayed, _>(reroute)).await;
    stream.deliver_events([delayed("a")]);
    let call = fake.settle().await;
    let Some(Action::Ack(ack)) = &call.request.settlements[0].action else { panic!("an ack") };
    assert_eq!(ack.outputs, [rerouted("a"), rerouted("second")]);
    call.done();
}

#[tokio::test(start_paused = true)]
async fn p9_a_refused_output_is_tried_again_only_if_that_can_help() {
    let (mut fake, stream, _running) = served(Router::new(Probe::new().0).on::<ShippingDelayed, _>(reroute)).await;
    for (token, code, reason, settlement) in [
        ("a", Code::ResourceExhausted, ErrorReason::StoreFull, "a nack: output 1 was refused: no room [STORE_FULL] (after 7 s)"),
        ("b", Code::FailedPrecondition, ErrorReason::TooManyHops, "b reject: output 1 was refused: no room [TOO_MANY_HOPS]"),
    ] {
        stream.deliver_events([delayed(token)]);
        let retry_delay = (code == Code::ResourceExhausted).then_some(prost_types::Duration { seconds: 7, nanos: 0 });
        let (code, reason) = (code.into(), reason.into());
        let refusal = Refusal { code, reason, retry_delay, message: "no room".into(), field: "outputs[1]".into() };
        let call = fake.settle().await;
        call.one(SettleResult { status: SettlementStatus::OutputRefused.into(), refusal: Some(refusal), ..Default::default() });
        let asked = settled(&mut fake, 1).await;
        assert_eq!(asked, [settlement]);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the route could not be planned")]
struct Unplanned(#[from] std::num::ParseIntError);

/// Fails as the shipment's name says.
async fn fail(_: Probe, delivery: &Delivery<ShippingDelayed>) -> Result<(), HandlerError> {
    match delivery.data().shipment_id.as_str() {
        "error" => Ok("x".parse::<u32>().map(drop).map_err(Unplanned)?),
        "later" => Err(HandlerError::nack_after(Duration::from_secs(90), "the map is being updated")),
        "reject" => Err(HandlerError::reject("there is no such port")),
        "silent" => Err(HandlerError::reject("")),
        "panic" => panic!("a bug in {}", "planning"),
        _ => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_a_nack_with_its_text_and_its_causes() {
    let (mut fake, stream, _running) = served(Router::new(Probe::new().0).on::<ShippingDelayed, _>(fail)).await;
    stream.deliver_events([delayed("error"), delayed("later")]);
    let expected =
        ["error nack: the route could not be planned: invalid digit found in string", "later nack: the map is being updated (after 90 s)"];
    assert_eq!(settled(&mut fake, 2).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_a_dead_letter_with_its_reason() {
    let (mut fake, stream, _running) = served(Router::new(Probe::new().0).on::<ShippingDelayed, _>(fail)).await;
    stream.deliver_events([delayed("reject"), delayed("silent")]);
    let expected = ["reject reject: there is no such port", "silent reject: the handler gave no reason"];
    assert_eq!(settled(&mut fake, 2).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_nack_and_the_agent_lives_on() {
    let (mut fake, stream, running) = served(Router::new(Probe::new().0).on::<ShippingDelayed, _>(fail)).await;
    stream.deliver_events([delayed("panic")]);
    assert_eq!(settled(&mut fake, 1).await, ["panic nack: the handler panicked: a bug in planning"]);
    stream.deliver_events([delayed("next")]);
    assert_eq!(settled(&mut fake, 1).await, ["next ack"]);
    assert!(!running.is_finished());
}

#[tokio::test(start_paused = true)]
async fn no_more_handlers_run_than_may_and_one_counts_until_it_is_settled() {
    let (probe, mut heard) = Probe::new();
    let (mut fake, client) = Fake::start();
    let _running = run(client.subscribe("routing").serve(Router::new(probe).on::<ShippingDelayed, _>(gated)).max_concurrent(2));
    let stream = fake.open().await;
    stream.deliver_events([delayed("a"), delayed("b"), delayed("c")]);
    assert_eq!(heard.some(2).await, ["a began", "b began"]);
    heard.gate.add_permits(1);
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["a ack"]);
    // All that can run has run when the time moves.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(heard.said.is_empty(), "the ack of the first has no answer yet");
    call.done();
    assert_eq!(heard.next().await, "c began");
}

#[tokio::test(start_paused = true)]
async fn by_default_as_many_handlers_run_as_the_session_may_hold() {
    for (asked, most) in [(None, 32), (Some(5), 5)] {
        let (probe, mut heard) = Probe::new();
        let (mut fake, client) = Fake::start();
        let mut subscribe = client.subscribe("routing");
        if let Some(asked) = asked {
            subscribe = subscribe.max_outstanding(asked);
        }
        let _running = run(subscribe.serve(Router::new(probe).on::<ShippingDelayed, _>(gated)));
        let stream = fake.open().await;
        let names: Vec<_> = (0..=most).map(|number| number.to_string()).collect();
        stream.deliver_events(names.iter().map(|name| delayed(name)));
        heard.some(most).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(heard.said.is_empty());
    }
}

fn revoked(token: &str) -> Kind {
    Kind::Revoked(Revoked { token: token.to_owned().into(), reason: RevokedReason::Expired.into() })
}

#[tokio::test(start_paused = true)]
async fn a_revoked_delivery_cancels_its_handler_and_no_other() {
    let (probe, mut heard) = Probe::new();
    let (mut fake, stream, _running) = served(Router::new(probe).on::<ShippingDelayed, _>(gated)).await;
    stream.deliver_events([delayed("a"), delayed("b")]);
    heard.some(2).await;
    stream.send(revoked("a"));
    assert_eq!(heard.next().await, "a cancelled");
    heard.gate.add_permits(2);
    assert_eq!(settled(&mut fake, 1).await, ["b ack"], "and nothing about a, which is not ours any more");
}

#[tokio::test(start_paused = true)]
async fn p4_a_revoked_handler_may_be_let_finish_and_acks_late() {
    let (probe, mut heard) = Probe::new();
    let (mut fake, client) = Fake::start();
    let _running = run(client.subscribe("routing").serve(Router::new(probe).on::<ShippingDelayed, _>(gated)).finish_revoked());
    let stream = fake.open().await;
    stream.deliver_events([delayed("a")]);
    heard.next().await;
    stream.send(revoked("a"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(heard.said.is_empty());
    heard.gate.add_permits(1);
    assert_eq!(settled(&mut fake, 1).await, ["a ack"]);
}

#[tokio::test(start_paused = true)]
async fn a_long_handler_keeps_its_lease() {
    let (probe, mut heard) = Probe::new();
    let (mut fake, stream, _running) = served(Router::new(probe).on::<ShippingDelayed, _>(gated)).await;
    stream.deliver_events([delayed("a")]);
    heard.next().await;
    for _ in 0..3 {
        assert_eq!(settled(&mut fake, 1).await, ["a extend"]);
    }
    heard.gate.add_permits(1);
    assert_eq!(settled(&mut fake, 1).await, ["a ack"]);
}

#[tokio::test(start_paused = true)]
async fn a_router_without_handlers_does_not_run() {
    let (mut fake, client) = Fake::start();
    let error = run(client.subscribe("routing").serve(Router::new(Probe::new().0))).await.unwrap().unwrap_err();
    assert!(matches!(&error, RunError::NoHandler { subscription } if subscription == "routing"), "{error}");
    assert!(!fake.subscribe_came(), "it would reject every event");
}

#[tokio::test(start_paused = true)]
async fn an_agent_ends_when_the_broker_refuses_it_for_good() {
    let (mut fake, client): (Fake, Client) = Fake::start();
    let running = run(client.subscribe("routing").serve(Router::new(Probe::new().0).on::<ShippingDelayed, _>(gated)));
    fake.subscribe().await.fail(status(Code::Aborted, ErrorReason::SessionReplaced));
    let error = running.await.unwrap().unwrap_err();
    assert!(matches!(error, RunError::Subscribe(SubscribeError::Replaced)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_closure_is_a_handler_as_well() {
    let (probe, mut heard) = Probe::new();
    let hear = async |probe: Probe, delivery: &Delivery<ShippingDelayed>| -> Result<(), Infallible> {
        tokio::task::yield_now().await;
        probe.say(&delivery.data().shipment_id);
        Ok(())
    };
    let (mut fake, stream, _running) = served(Router::new(probe).on::<ShippingDelayed, _>(hear)).await;
    stream.deliver_events([delayed("a")]);
    assert_eq!(heard.next().await, "a");
    assert_eq!(settled(&mut fake, 1).await, ["a ack"]);
}
