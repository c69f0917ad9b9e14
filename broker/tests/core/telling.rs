//! What the broker tells of itself, as events.

use prost::Message;
use waypost_proto::v1::{
    Delivery, Event, Filter, JsonPayload, ListDeadLettersRequest, PublishItem, PublishRequest, Reject, SettlementStatus, SubscribeRequest,
    SubscriptionSpec, settlement::Action,
};

use crate::world::{World, event, item, to};

fn of_types(name: &str, types: &[&str]) -> SubscribeRequest {
    let filter = Filter { types: types.iter().map(|&name| name.to_owned()).collect(), ..Filter::default() };
    SubscribeRequest { spec: Some(SubscriptionSpec { filter: Some(filter), ..SubscriptionSpec::default() }), ..to(name) }
}

fn facts(delivery: &Delivery) -> serde_json::Value {
    let data = delivery.event.as_ref().unwrap().data.as_ref().unwrap();
    serde_json::from_slice(&JsonPayload::decode(&*data.value).unwrap().json).unwrap()
}

fn reject() -> Action {
    Action::Reject(Reject { reason: "poison".into() })
}

#[tokio::test(start_paused = true)]
async fn p5_a_dead_letter_is_told_of_in_the_story_of_its_event() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut work = agent.subscribe(to("work")).await;
    let mut pager = agent.subscribe(of_types("pager", &["waypost.dead_letter.*"])).await;
    let of_a_story = Event { ordering_key: "k".into(), ..event("a") };
    agent.client.publish(PublishRequest { items: vec![PublishItem { event: Some(of_a_story), ..item("a") }] }).await.unwrap();
    let delivery = work.delivery().await;
    assert_eq!(agent.settle(&delivery.token, reject()).await.status(), SettlementStatus::Done);

    let told = pager.delivery().await;
    let listed = world.dead_letters().await.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner().dead_letters;
    let expected = serde_json::json!({
        "dead_letter": listed[0].id,
        "subscription": "work",
        "event_source": "agents/test",
        "event_id": "a",
        "event_type": "test.v1.Happened",
        "offset": delivery.offset,
        "cause": "DEAD_LETTER_REASON_REJECTED",
        "attempts": 1,
        "losses": 0,
        "redrives": 0,
        "reason": "poison",
    });
    assert_eq!(facts(&told), expected);
    let told_event = told.event.as_ref().unwrap();
    assert_eq!((&*told_event.r#type, &*told_event.source, &*told_event.subject), ("waypost.dead_letter.added", "waypost.broker", "work"));
    let lineage = told_event.lineage.as_ref().unwrap();
    assert_eq!((&*lineage.correlation_id, &*lineage.causation_id, lineage.hops), ("a", "a", 1));
    agent.ack(&told).await;
    work.stays_silent(std::time::Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn p5_a_dead_letter_of_the_brokers_own_events_makes_no_other() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut work = agent.subscribe(to("work")).await;
    let mut pager = agent.subscribe(of_types("pager", &["waypost.*"])).await;
    agent.publish(&["a"]).await;
    let delivery = work.delivery().await;
    agent.settle(&delivery.token, reject()).await;
    let told = pager.delivery().await;
    assert_eq!(agent.settle(&told.token, reject()).await.status(), SettlementStatus::Done);
    pager.stays_silent(std::time::Duration::from_secs(3_600)).await;
    let listed = world.dead_letters().await.list_dead_letters(ListDeadLettersRequest::default()).await.unwrap().into_inner().dead_letters;
    assert_eq!(listed.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn p5_as_many_dead_letters_as_one_settlement_may_name_become_them_in_steps_that_the_store_takes() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut pager = agent.subscribe(of_types("pager", &["waypost.dead_letter.added"])).await;
    let limits = waypost_proto::v1::SessionLimits { max_outstanding: Some(1_000), max_outstanding_bytes: None };
    let spec = SubscriptionSpec { max_outstanding: Some(1_000), ..SubscriptionSpec::default() };
    let mut work = agent.subscribe(SubscribeRequest { session_limits: Some(limits), spec: Some(spec), ..to("work") }).await;
    let ids: Vec<_> = (0..900).map(|number| number.to_string()).collect();
    agent.publish(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let deliveries = work.deliveries(900).await;
    let settlements =
        deliveries.iter().map(|delivery| waypost_proto::v1::Settlement { token: delivery.token.clone(), action: Some(reject()) });
    let request = waypost_proto::v1::SettleRequest { settlements: settlements.collect() };
    let results = agent.client.settle(request).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.status() == SettlementStatus::Done), "{results:?}");
    for _ in 0..900 {
        let told = pager.delivery().await;
        agent.ack(&told).await;
    }
}
