//! Bad input at the agents' API: a specific error each, that names the field; one bad item never fails a batch; the broker lives on.

use bytes::Bytes;
use tonic::{Code, Status, transport::Channel};
use waypost_proto::v1::{
    Ack, CreateMode, Event, PublishItem, PublishRequest, ReadEventsRequest, SettleRequest, Settlement, SettlementStatus, StartPoint,
    StartPosition, SubscribeRequest, SubscriptionSpec, agent_service_client::AgentServiceClient, publish_result::Result as Outcome,
    settlement::Action, start_position::Position, subscribe_response::Response,
};

use crate::stand::{Stand, soon};

type Client = AgentServiceClient<Channel>;

async fn publish_one(client: &mut Client, event: Option<Event>) -> Outcome {
    let request = PublishRequest { items: vec![PublishItem { event, ..PublishItem::default() }] };
    client.publish(request).await.unwrap().into_inner().results.remove(0).result.unwrap()
}

fn event(source: &str, event_type: &str) -> Event {
    Event::of_json(source, event_type, "{}")
}

#[tokio::test]
async fn a_bad_event_is_refused_with_its_field_and_the_others_are_stored() {
    let stand = Stand::new();
    let mut client = Client::new(stand.broker.channel());
    let cases: Vec<(&str, Option<Event>, Code, &str)> = vec![
        ("no event", None, Code::InvalidArgument, "event"),
        ("no source", Some(event("", "t")), Code::InvalidArgument, "event.source"),
        ("no type", Some(event("agents/a", "")), Code::InvalidArgument, "event.type"),
        ("a source of the edge", Some(event("carrier", "t")), Code::PermissionDenied, "event.source"),
        ("a source of the broker", Some(event("waypost.x", "t")), Code::PermissionDenied, "event.source"),
        ("a long subject", Some(Event { subject: "x".repeat(2_000), ..event("agents/a", "t") }), Code::InvalidArgument, "event.subject"),
        ("no JSON", Some(Event::of_json("agents/a", "t", "{")), Code::InvalidArgument, "event.data"),
        ("too large", Some(Event::of_json("agents/a", "t", format!("\"{}\"", "x".repeat(1 << 20)))), Code::InvalidArgument, ""),
    ];
    for (what, event, code, field) in cases {
        match publish_one(&mut client, event).await {
            Outcome::Refused(refusal) => {
                assert_eq!(Code::from(refusal.code), code, "{what}: {refusal:?}");
                assert!(refusal.field.starts_with(field) && !refusal.message.is_empty(), "{what}: {refusal:?}");
            }
            Outcome::Accepted(accepted) => panic!("{what} was accepted: {accepted:?}"),
        }
    }
    let items = [event("", "t"), event("agents/a", "t")].map(|event| PublishItem { event: Some(event), ..PublishItem::default() });
    let results = client.publish(PublishRequest { items: items.into() }).await.unwrap().into_inner().results;
    assert!(matches!((&results[0].result, &results[1].result), (Some(Outcome::Refused(_)), Some(Outcome::Accepted(_)))), "{results:?}");
}

#[tokio::test]
async fn a_bad_call_says_what_would_be_right() {
    let stand = Stand::new();
    let mut client = Client::new(stand.broker.channel());
    let expect = |what: &str, status: Status, code: Code, says: &str| {
        assert!(status.code() == code && status.message().contains(says), "{what}: {code:?} with {says:?} is due, not {status:?}");
    };
    expect("nothing to publish", client.publish(PublishRequest::default()).await.unwrap_err(), Code::InvalidArgument, "items");
    expect("nothing to settle", client.settle(SettleRequest::default()).await.unwrap_err(), Code::InvalidArgument, "settlements");

    let subscribe = |name: &str| SubscribeRequest { subscription: name.to_owned(), ..SubscribeRequest::default() };
    let spec = |spec: SubscriptionSpec| SubscribeRequest { spec: Some(spec), ..subscribe("a") };
    let start = |point: StartPoint| StartPosition { position: Some(Position::Point(point.into())) };
    let cases = [
        ("a bad name", subscribe("a b"), Code::InvalidArgument, "subscription"),
        ("a name of the broker", subscribe("waypost.a"), Code::InvalidArgument, "subscription"),
        ("a session that is none", SubscribeRequest { session_id: "x".to_owned(), ..subscribe("a") }, Code::InvalidArgument, "session_id"),
        ("one that is not there", SubscribeRequest { create_mode: CreateMode::MustExist.into(), ..subscribe("a") }, Code::NotFound, "a"),
        (
            "an unspecified start",
            spec(SubscriptionSpec { start_position: Some(start(StartPoint::Unspecified)), ..SubscriptionSpec::default() }),
            Code::InvalidArgument,
            "start_position",
        ),
        (
            "nothing outstanding",
            spec(SubscriptionSpec { max_outstanding: Some(0), ..SubscriptionSpec::default() }),
            Code::InvalidArgument,
            "max_outstanding",
        ),
        (
            "an absurd size",
            spec(SubscriptionSpec { max_outstanding: Some(u32::MAX), ..SubscriptionSpec::default() }),
            Code::InvalidArgument,
            "max_outstanding",
        ),
    ];
    for (what, request, code, says) in cases {
        expect(what, client.subscribe(request).await.err().unwrap_or_else(|| panic!("{what} was opened")), code, says);
    }
    let read = ReadEventsRequest { limit: Some(0), ..ReadEventsRequest::default() };
    expect("a read of nothing", client.read_events(read).await.err().unwrap(), Code::InvalidArgument, "limit");
}

#[tokio::test]
async fn p4_one_bad_token_does_not_fail_a_batch() {
    let stand = Stand::new();
    let mut client = Client::new(stand.broker.channel());
    publish_one(&mut client, Some(event("agents/a", "t"))).await;
    let start = StartPosition { position: Some(Position::Point(StartPoint::Earliest.into())) };
    let spec = SubscriptionSpec { start_position: Some(start), ..SubscriptionSpec::default() };
    let request = SubscribeRequest { subscription: "a".to_owned(), spec: Some(spec), ..SubscribeRequest::default() };
    let mut stream = client.subscribe(request).await.unwrap().into_inner();
    let token = loop {
        if let Some(Response::Deliveries(deliveries)) = soon("a delivery", stream.message()).await.unwrap().unwrap().response {
            break deliveries.deliveries[0].token.clone();
        }
    };
    let forged = Bytes::from([&token[..token.len() - 1], &[token[token.len() - 1] ^ 1]].concat());
    let ack = || Some(Action::Ack(Ack::default()));
    let settlements = [(Bytes::new(), ack()), (forged, ack()), (token.clone(), None), (token, ack())];
    let settlements = settlements.into_iter().map(|(token, action)| Settlement { token, action }).collect();
    let results = client.settle(SettleRequest { settlements }).await.unwrap().into_inner().results;
    let statuses: Vec<_> = results.iter().map(|result| result.status()).collect();
    use SettlementStatus::{Done, Invalid, UnknownToken};
    assert_eq!(statuses, [UnknownToken, UnknownToken, Invalid, Done], "{results:?}");
    assert!(results[..3].iter().all(|result| !result.message.is_empty()), "{results:?}");
}
