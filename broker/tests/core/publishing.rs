//! Publishing, end to end.

use tokio_stream::StreamExt;
use waypost_proto::v1::{ErrorReason, Event, Lineage, PublishItem, PublishRequest, PublishStreamRequest};

use crate::world::{World, accepted, event, item, refused, to};

#[tokio::test(start_paused = true)]
async fn p7_a_duplicate_is_answered_with_the_first_offset_and_other_content_is_a_conflict() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let first = agent.publish(&["a"]).await[0];
    let other = PublishItem { event: Some(Event { subject: "else".into(), ..event("a") }), ..item("a") };
    let items = vec![item("a"), other, item("b")];
    let mut results = agent.client.publish(PublishRequest { items }).await.unwrap().into_inner().results.into_iter();
    let duplicate = accepted(results.next().unwrap());
    assert_eq!((duplicate.offset, duplicate.duplicate), (first, true));
    assert_eq!(refused(results.next().unwrap()).reason(), ErrorReason::IdConflict);
    assert_eq!(accepted(results.next().unwrap()).offset, first + 1, "neither was stored");
}

#[tokio::test(start_paused = true)]
async fn one_bad_event_refuses_itself_alone_and_names_its_field() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let with = |event: Event| PublishItem { event: Some(event), ..item("") };
    let data = |value: Vec<u8>| {
        let type_url = "type.googleapis.com/tasks.v1.TaskAssigned".to_owned();
        Some(prost_types::Any { type_url, value })
    };
    let deep = Some(Lineage { hops: 4, ..Lineage::default() });
    let cases = [
        (PublishItem { event: None, ..item("") }, ErrorReason::InvalidField, "event"),
        (with(Event { source: String::new(), ..event("1") }), ErrorReason::InvalidField, "event.source"),
        (with(Event { source: "github".into(), ..event("2") }), ErrorReason::SourceReserved, "event.source"),
        (with(Event { source: "waypost.x".into(), ..event("3") }), ErrorReason::SourceReserved, "event.source"),
        (with(Event { data: data(vec![0xff]), ..event("4") }), ErrorReason::DataInvalid, "event.data"),
        (with(Event { lineage: deep, ..event("5") }), ErrorReason::TooManyHops, ""),
        (PublishItem { cause_token: b"x".to_vec().into(), ..item("6") }, ErrorReason::CauseUnknown, "cause_token"),
    ];
    let mut items: Vec<_> = cases.iter().map(|(item, ..)| item.clone()).collect();
    items.push(item("good"));
    let mut results = agent.client.publish(PublishRequest { items }).await.unwrap().into_inner().results;
    accepted(results.pop().unwrap());
    for (result, (_, reason, field)) in results.into_iter().zip(cases) {
        let refusal = refused(result);
        assert_eq!(refusal.reason(), reason, "{refusal:?}");
        assert!(refusal.field.starts_with(field), "{refusal:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_named_cause_gives_the_lineage_and_too_many_hops_are_refused() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["first"]).await;
    for hops in 1..=4_u32 {
        let cause = stream.delivery().await;
        let caused = PublishItem { cause_token: cause.token.clone(), ..item(&format!("hop-{hops}")) };
        let result = agent.client.publish(PublishRequest { items: vec![caused] }).await.unwrap().into_inner().results.remove(0);
        if hops > 3 {
            assert_eq!(refused(result).reason(), ErrorReason::TooManyHops);
        } else {
            accepted(result);
        }
        agent.ack(&cause).await;
    }
    let story = waypost_proto::v1::get_lineage_request::Story::CorrelationId("first".into());
    let request = waypost_proto::v1::GetLineageRequest { story: Some(story), ..Default::default() };
    let lineage = agent.client.get_lineage(request).await.unwrap().into_inner();
    let events: Vec<_> = lineage.events.into_iter().map(|event| event.event.unwrap().event.unwrap()).collect();
    assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), ["first", "hop-1", "hop-2", "hop-3"]);
    assert_eq!(events[3].lineage.as_ref().unwrap().causation_id, "hop-2");
}

#[tokio::test(start_paused = true)]
async fn a_publish_stream_answers_in_order_and_ends_with_its_client() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let requests = (1..=500_u64).map(|sequence| PublishStreamRequest {
        sequence,
        items: vec![item(&format!("{sequence}-a")), if sequence == 7 { PublishItem::default() } else { item(&format!("{sequence}-b")) }],
    });
    let mut responses = agent.client.publish_stream(tokio_stream::iter(requests.collect::<Vec<_>>())).await.unwrap().into_inner();
    let (mut sequences, mut messages, mut offsets) = (Vec::new(), 0, Vec::new());
    while let Some(response) = responses.next().await {
        messages += 1;
        for result in response.unwrap().results {
            sequences.push(result.sequence);
            assert_eq!(result.results.len(), 2);
            for (index, result) in result.results.into_iter().enumerate() {
                if sequences.last() == Some(&7) && index == 1 {
                    assert_eq!(refused(result).field, "event");
                } else {
                    offsets.push(accepted(result).offset);
                }
            }
        }
    }
    assert_eq!(sequences, (1..=500).collect::<Vec<_>>());
    assert!(offsets.is_sorted(), "stored in the order in which they were sent");
    assert!(messages < 250, "many results in one message: {messages} messages");
}

#[tokio::test(start_paused = true)]
async fn a_publish_stream_refuses_a_sequence_that_does_not_increase() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let request = |sequence| PublishStreamRequest { sequence, items: vec![item("")] };
    let mut responses = agent.client.publish_stream(tokio_stream::iter([request(2), request(2)])).await.unwrap().into_inner();
    assert_eq!(responses.message().await.unwrap().unwrap().results[0].sequence, 2);
    assert_eq!(responses.message().await.unwrap_err().code(), tonic::Code::InvalidArgument);
}
