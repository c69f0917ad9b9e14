//! What is told of deliveries, whatever becomes of them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::BytesMut;
use opentelemetry::trace::Status;
use opentelemetry_sdk::{Resource, trace::SpanData};
use tonic::{metadata::MetadataMap, transport::Endpoint};
use waypost_delivery::{
    SessionId,
    record::{Attempt, DeadLetter, Failure},
};
use waypost_proto::wire;

use super::*;
use crate::{
    clock::Clock,
    entropy::Entropy,
    envelope::Identity,
    trace::{Collector, Export},
};

const ACK: Action = Action::Ack { outputs: 0, output_bytes: 0 };

fn watched() -> (Deliveries, Export) {
    let (endpoint, resource) = (Endpoint::from_static("http://127.0.0.1:1"), Resource::builder_empty().build());
    let collector = Collector { endpoint, headers: MetadataMap::new(), resource, sample_ratio: 1.0, trusted_sources: BTreeSet::new() };
    let (tracer, export) = Tracer::to(collector, Clock::starting_at(1));
    (Deliveries::of(&tracer, "routing"), export)
}

fn event(flags: &str) -> StoredEvent {
    let attributes = [(TRACEPARENT.to_owned(), format!("00-{:032x}-{:016x}-{flags}", 1, 2))].into();
    let event = wire::Event { id: "id".into(), source: "agents/a".into(), r#type: "t".into(), attributes, ..wire::Event::default() };
    let identity = Identity { fingerprint: None, window: 0 };
    let sealed = envelope::seal(event, b"", identity, 1, &Entropy::seeded(1), &mut BytesMut::new()).unwrap();
    StoredEvent { offset: 7, accepted_at: 1, head: sealed.head, body: sealed.body }
}

fn token(delivery: u64) -> Token {
    Token { incarnation: 1, seek: 0, offset: 7, epoch: 1, delivery }
}

fn hand(deliveries: &mut Deliveries, delivery: u64) -> Option<String> {
    let (token, deadline) = (token(delivery), Time::from_micros(9));
    let deliver = Deliver { session: SessionId(1), token, attempt: 1, losses: 0, deadline, redriven: false };
    deliveries.handed(&deliver, &event("01"))
}

fn attempt(outcome: AttemptOutcome) -> Attempt {
    Attempt { at: Time::from_micros(1), outcome, reason: "secret".into() }
}

fn failed(outcome: AttemptOutcome) -> Record {
    Record::Failed(Failure { offset: 7, bytes: 1, key: None, retry_at: Time::from_micros(2), attempt: attempt(outcome) })
}

fn dead(outcome: AttemptOutcome, cause: DeadLetterCause) -> Record {
    Record::DeadLettered(DeadLetter { offset: 7, cause, attempts: 1, losses: 0, history: vec![attempt(outcome)] })
}

/// Names and outcomes of the spans that ended, and whether they failed.
fn told(export: &mut Export) -> Vec<(String, String, bool)> {
    let outcome = |span: &SpanData| {
        let outcome = span.attributes.iter().find(|attribute| attribute.key.as_str() == "waypost.delivery.outcome");
        outcome.map_or_else(String::new, |outcome| outcome.value.to_string())
    };
    let spans = std::iter::from_fn(|| export.spans.try_recv().ok());
    spans.map(|span| (span.name.to_string(), outcome(&span), matches!(span.status, Status::Error { .. }))).collect()
}

fn delivery(outcome: &str, is_error: bool) -> (String, String, bool) {
    ("deliver routing".to_owned(), outcome.to_owned(), is_error)
}

#[tokio::test]
async fn each_way_in_which_a_delivery_ends_is_told_once() {
    type End = fn(&mut Deliveries);
    let ends: [(End, (String, String, bool)); 8] = [
        (|it| it.revoked(&token(1), RevokeReason::Expired), delivery("expired", true)),
        (|it| it.revoked(&token(1), RevokeReason::SettledElsewhere), delivery("settled_elsewhere", false)),
        (|it| it.revoked(&token(1), RevokeReason::Sought), delivery("sought", false)),
        (|it| it.revoked(&token(1), RevokeReason::Gone), delivery("gone", true)),
        (|it| it.decided(&[failed(AttemptOutcome::Lost)]), delivery("lost", true)),
        (|it| it.decided(&[dead(AttemptOutcome::Lost, DeadLetterCause::Losses)]), delivery("lost", true)),
        (|it| it.settled(&token(0), SettleOutcome::Done), delivery("settled_elsewhere", false)),
        (Deliveries::all_given_back, delivery("released", false)),
    ];
    for (end, expected) in ends {
        let (mut deliveries, mut export) = watched();
        hand(&mut deliveries, 1).unwrap();
        end(&mut deliveries);
        end(&mut deliveries);
        assert_eq!(told(&mut export), [expected]);
        assert!(!deliveries.is_watching());
    }
}

#[tokio::test]
async fn what_was_given_back_without_a_word_ends_when_it_is_handed_out_again() {
    let (mut deliveries, mut export) = watched();
    let (first, second) = (hand(&mut deliveries, 1).unwrap(), hand(&mut deliveries, 2).unwrap());
    assert_ne!(first, second, "each delivery is a span of its own");
    assert_eq!(told(&mut export), [delivery("released", false)]);
    // What comes of the first is not about the second.
    deliveries.revoked(&token(1), RevokeReason::Expired);
    assert_eq!(told(&mut export), []);
}

#[tokio::test]
async fn a_settlement_is_told_once_it_is_done_and_not_before() {
    let (mut deliveries, mut export) = watched();
    hand(&mut deliveries, 1).unwrap();
    deliveries.asked(&token(1), &Action::Extend { by: None });
    deliveries.settled(&token(1), SettleOutcome::Extended(Time::from_micros(99)));
    deliveries.asked(&token(1), &ACK);
    deliveries.settled(&token(1), SettleOutcome::Unavailable);
    // A failed attempt in the records is another's to tell: who gave it back is answered.
    deliveries.decided(&[failed(AttemptOutcome::Nacked)]);
    assert_eq!(told(&mut export), []);
    deliveries.asked(&token(1), &ACK);
    deliveries.settled(&token(1), SettleOutcome::Done);
    deliveries.settled(&token(1), SettleOutcome::Done);
    assert_eq!(told(&mut export), [("ack routing".to_owned(), String::new(), false), delivery("acked", false)]);
}

#[tokio::test]
async fn what_came_back_with_its_session_goes_on_and_what_did_not_is_forgotten() {
    let (mut deliveries, mut export) = watched();
    let tracer = deliveries.tracer.clone();
    hand(&mut deliveries, 1).unwrap();
    deliveries.brought(vec![tracer.resumed(token(1), &event("01")).unwrap()]);
    deliveries.adopted(&[(token(1), Time::from_micros(9))]);
    assert_eq!(told(&mut export), [], "the same lease goes on, and so does its span");
    deliveries.all_given_back();
    told(&mut export);

    deliveries.brought(vec![tracer.resumed(token(2), &event("01")).unwrap()]);
    deliveries.adopted(&[]);
    assert!(!deliveries.is_watching());
    deliveries.brought(vec![tracer.resumed(token(3), &event("01")).unwrap()]);
    deliveries.adopted(&[(token(3), Time::from_micros(9))]);
    assert!(deliveries.is_watching(), "after a restart the span goes on under the same id");
    assert_eq!(deliveries.live[&7].span.context.span, ids::delivery(&token(3)));
}

#[tokio::test]
async fn what_is_not_sampled_is_not_watched() {
    let (mut deliveries, _export) = watched();
    let deliver =
        Deliver { session: SessionId(1), token: token(1), attempt: 1, losses: 0, deadline: Time::from_micros(9), redriven: false };
    assert_eq!(deliveries.handed(&deliver, &event("00")), None);
    assert_eq!(deliveries.handed(&deliver, &event("nonsense")), None);
    assert!(!deliveries.is_watching() && deliveries.tracer.resumed(token(1), &event("00")).is_none());
    let mut off = Deliveries::of(&Tracer::off(), "routing");
    assert_eq!(off.handed(&deliver, &event("01")), None);
    assert!(!off.is_watching());
}
