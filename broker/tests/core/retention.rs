//! What goes, and who is told (P11).

use std::time::Duration;

use waypost_proto::v1::{
    BacklogPolicy, Filter, GapReason, SeekSubscriptionRequest, StartPoint, StartPosition, SubscribeRequest, SubscriptionSpec,
    start_position::Position, subscribe_response::Response,
};
use waypost_store::{
    MemoryConfig, MemoryDisk,
    testing::faulty::{Call, Fault},
};

use crate::world::{Stream, World, id, settings, to};

/// A log of small segments.
async fn small() -> World {
    let config = MemoryConfig { segment_bytes: 2_000, cap: 1 << 20, reserve: 64 << 10, ..MemoryConfig::default() };
    let mut settings = settings();
    settings.retention.interval = Duration::from_secs(600);
    World::on(MemoryDisk::new(config), settings).await
}

async fn publish(world: &World, from: usize, count: usize) {
    let mut agent = world.agent().await;
    for at in from..from + count {
        agent.publish(&[&format!("event-{at}")]).await;
    }
}

fn first(world: &World) -> u64 {
    world.broker.store.disk().first
}

fn of_types(names: &[&str]) -> SubscriptionSpec {
    let types = names.iter().map(|&name| name.to_owned()).collect();
    SubscriptionSpec { filter: Some(Filter { types, ..Filter::default() }), ..SubscriptionSpec::default() }
}

const WEEK: Duration = Duration::from_secs(8 * 86_400);

#[tokio::test(start_paused = true)]
async fn p11_settled_events_go_by_age_and_what_is_not_settled_stays() {
    let world = small().await;
    let mut agent = world.agent().await;
    drop(agent.subscribe(to("behind")).await);
    publish(&world, 0, 100).await;
    tokio::time::sleep(WEEK).await;
    assert_eq!(first(&world), 1, "a subscription has not settled them");
    let mut stream = agent.subscribe(to("behind")).await;
    for at in 0..100 {
        let delivery = stream.delivery().await;
        assert_eq!(id(&delivery), format!("event-{at}"));
        agent.ack(&delivery).await;
    }
    publish(&world, 100, 1).await;
    tokio::time::sleep(Duration::from_secs(1_200)).await;
    assert!(first(&world) > 50, "{}", first(&world));
}

#[tokio::test(start_paused = true)]
async fn p11_a_sleeping_subscription_pins_only_what_it_wants() {
    let world = small().await;
    let mut agent = world.agent().await;
    drop(agent.subscribe(SubscribeRequest { spec: Some(of_types(&["else.*"])), ..to("sleeper") }).await);
    publish(&world, 0, 100).await;
    tokio::time::sleep(WEEK).await;
    assert!(first(&world) > 50, "nothing that it wants is there: {}", first(&world));
}

fn earliest() -> Option<StartPosition> {
    Some(StartPosition { position: Some(Position::Point(StartPoint::Earliest.into())) })
}

/// A creation of which nobody knows whether it was made is asked for again after a long time.
async fn after_an_unknown_creation(fault: Fault) -> (World, Stream) {
    let world = small().await;
    let mut agent = world.agent().await;
    publish(&world, 0, 100).await;
    let spec = Some(SubscriptionSpec { start_position: earliest(), ..SubscriptionSpec::default() });
    let request = SubscribeRequest { spec, ..to("work") };
    world.faults.script(Call::Commit, [Some(fault)]);
    assert_eq!(agent.try_subscribe(request.clone()).await.err().unwrap().code(), tonic::Code::Unavailable);
    tokio::time::sleep(WEEK).await;
    let stream = agent.subscribe(request).await;
    (world, stream)
}

#[tokio::test(start_paused = true)]
async fn p11_a_creation_that_may_have_happened_keeps_what_it_needs() {
    let (_world, mut stream) = after_an_unknown_creation(Fault::Done).await;
    assert!(!stream.opened.created, "it had happened");
    assert_eq!(id(&stream.delivery().await), "event-0");
}

#[tokio::test(start_paused = true)]
async fn p11_a_creation_that_did_not_happen_keeps_nothing_and_can_be_made_again() {
    let (world, mut stream) = after_an_unknown_creation(Fault::Lost).await;
    assert!(stream.opened.created);
    gets_what_is_left(&world, &mut stream).await;
}

/// A world in which retention knows what it may let go, and has asked the store to: the store is slow to do it.
async fn while_trimming() -> World {
    let world = small().await;
    publish(&world, 0, 100).await;
    let day = Duration::from_secs(86_400);
    world.faults.script(Call::Trim, [Some(Fault::Slow { before: day, after: Duration::ZERO })]);
    while world.faults.counts().slow == 0 {
        tokio::time::sleep(day / 24).await;
    }
    assert_eq!(first(&world), 1, "the trim is under way, and not done");
    world
}

/// All that is left of the log comes, and nothing is told as lost.
async fn gets_what_is_left(world: &World, stream: &mut Stream) {
    let from = first(world);
    assert!(from > 50, "retention has let go: {from}");
    assert_eq!(stream.delivery().await.offset, from, "of what is there nothing is missing");
}

#[tokio::test(start_paused = true)]
async fn p11_a_subscription_made_while_retention_trims_begins_with_what_is_left() {
    let world = while_trimming().await;
    let spec = Some(SubscriptionSpec { start_position: earliest(), ..SubscriptionSpec::default() });
    let mut stream = world.agent().await.subscribe(SubscribeRequest { spec, ..to("late") }).await;
    gets_what_is_left(&world, &mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn p11_a_seek_made_while_retention_trims_goes_to_what_is_left() {
    let world = while_trimming().await;
    let mut stream = world.agent().await.subscribe(to("work")).await;
    let seek = SeekSubscriptionRequest { name: "work".into(), target: earliest(), incarnation: String::new() };
    world.subscriptions().await.seek_subscription(seek).await.unwrap();
    gets_what_is_left(&world, &mut stream).await;
}

#[tokio::test(start_paused = true)]
async fn p11_a_backlog_policy_lets_go_and_tells_the_subscription_and_the_operator() {
    let world = small().await;
    let mut agent = world.agent().await;
    let backlog = Some(BacklogPolicy { max_age: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }), max_bytes: None });
    let spec = Some(SubscriptionSpec { backlog, ..SubscriptionSpec::default() });
    drop(agent.subscribe(SubscribeRequest { spec, ..to("work") }).await);
    let mut operator = agent.subscribe(SubscribeRequest { spec: Some(of_types(&["waypost.subscription.*"])), ..to("operator") }).await;
    publish(&world, 0, 10).await;
    tokio::time::sleep(Duration::from_secs(7_200)).await;
    let told = operator.delivery().await.event.unwrap();
    assert_eq!((told.r#type.as_str(), told.subject.as_str()), ("waypost.subscription.gap", "work"));
    publish(&world, 10, 1).await;
    let mut stream = agent.subscribe(to("work")).await;
    assert_eq!(id(&stream.delivery().await), "event-10");
}

#[tokio::test(start_paused = true)]
async fn p11_a_connected_subscription_sees_the_gap_of_its_policy() {
    let world = small().await;
    let mut agent = world.agent().await;
    let backlog = Some(BacklogPolicy { max_age: Some(prost_types::Duration { seconds: 60, nanos: 0 }), max_bytes: None });
    let spec = Some(SubscriptionSpec { backlog, max_outstanding: Some(1), ..SubscriptionSpec::default() });
    let mut stream = agent.subscribe(SubscribeRequest { spec, ..to("work") }).await;
    publish(&world, 0, 10).await;
    assert_eq!(id(&stream.delivery().await), "event-0");
    loop {
        match stream.message().await {
            Response::Gap(gap) => {
                assert_eq!(gap.reason(), GapReason::BacklogPolicy);
                break;
            }
            Response::Revoked(_) | Response::Deliveries(_) => {}
            other => panic!("{other:?} came"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p11_an_abandoned_subscription_is_warned_of_and_goes_with_a_system_event() {
    let world = small().await;
    let mut agent = world.agent().await;
    let mut operator = agent.subscribe(SubscribeRequest { spec: Some(of_types(&["waypost.subscription.*"])), ..to("operator") }).await;
    drop(agent.subscribe(to("abandoned")).await);
    let mut types = Vec::new();
    for _ in 0..2 {
        let delivery = operator.delivery().await;
        agent.ack(&delivery).await;
        let event = delivery.event.unwrap();
        assert_eq!(event.subject, "abandoned");
        types.push(event.r#type);
    }
    assert_eq!(types, ["waypost.subscription.expiring", "waypost.subscription.expired"]);
    let names: Vec<_> = world.broker.registry.list().iter().map(|handle| handle.name.to_string()).collect();
    assert_eq!(names, ["operator"], "a session, however long, is no absence");
}

#[tokio::test(start_paused = true)]
async fn p11_who_pins_a_filling_store_is_named() {
    let world = small().await;
    let mut agent = world.agent().await;
    let mut operator = agent.subscribe(SubscribeRequest { spec: Some(of_types(&["waypost.storage.*"])), ..to("operator") }).await;
    drop(agent.subscribe(to("pinning")).await);
    while world.broker.store.disk().used < 600 << 10 {
        let request = (0..100).map(|at| crate::world::item(&format!("{}-{at}", world.broker.store.disk().next))).collect();
        agent.client.publish(waypost_proto::v1::PublishRequest { items: request }).await.unwrap();
    }
    let told = operator.delivery().await.event.unwrap();
    let json = told.data_as::<waypost_proto::v1::JsonPayload>().unwrap().json;
    let facts: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((facts["percent"].as_u64(), facts["pinned_by"].as_str()), (Some(50), Some("pinning")));
}

#[tokio::test(start_paused = true)]
async fn dead_letters_go_after_their_time() {
    let world = small().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    let reject = waypost_proto::v1::Reject { reason: "no".into() };
    agent.settle(&delivery.token, waypost_proto::v1::settlement::Action::Reject(reject)).await;
    let mut admin = world.dead_letters().await;
    let list = waypost_proto::v1::ListDeadLettersRequest::default;
    tokio::time::sleep(Duration::from_secs(29 * 86_400)).await;
    assert_eq!(admin.list_dead_letters(list()).await.unwrap().into_inner().dead_letters.len(), 1);
    tokio::time::sleep(Duration::from_secs(2 * 86_400)).await;
    assert!(admin.list_dead_letters(list()).await.unwrap().into_inner().dead_letters.is_empty());
}
