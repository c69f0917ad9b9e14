//! What agents see when the store, or another agent, does not do its part.

use std::time::Duration;

use tonic::Code;
use waypost_broker::{broker::Settings, retention::RetentionRules};
use waypost_proto::v1::{
    DeleteSubscriptionRequest, GetSubscriptionRequest, ListDeadLettersRequest, Nack, PauseSubscriptionRequest, RedriveDeadLettersRequest,
    Reject, SettlementStatus, SubscribeRequest, SubscriptionSpec, UpdateSubscriptionRequest, settlement::Action,
    subscribe_response::Response,
};
use waypost_store::{
    MemoryConfig, MemoryDisk,
    testing::faulty::{Call, Fault},
};

use crate::world::{World, ack, id, item, settings, to};

const SESSION: &str = "0192b2e0-0000-7000-8000-000000000001";

fn session(held: &[&waypost_proto::v1::Delivery]) -> SubscribeRequest {
    let held_tokens = held.iter().map(|delivery| delivery.token.clone()).collect();
    SubscribeRequest { session_id: SESSION.into(), held_tokens, ..to("work") }
}

/// The store answers neither yes nor no; what is held goes on, and what was asked can be asked again.
async fn after_an_unknown_commit(fault: Fault, expected: SettlementStatus) {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(session(&[])).await;
    agent.publish(&["a", "b"]).await;
    let (settled, held) = (stream.delivery().await, stream.delivery().await);
    world.faults.script(Call::Commit, [Some(fault)]);
    assert_eq!(agent.ack(&settled).await, SettlementStatus::Unavailable);
    assert_eq!(stream.try_message().await.unwrap_err().code(), Code::Unavailable);
    let mut stream = agent.subscribe(session(&[&settled, &held])).await;
    assert_eq!(agent.ack(&settled).await, expected);
    assert_eq!(agent.ack(&held).await, SettlementStatus::Done);
    stream.stays_silent(Duration::from_secs(120)).await;
}

#[tokio::test(start_paused = true)]
async fn p4_an_unknown_commit_that_happened_is_found_to_have_happened() {
    after_an_unknown_commit(Fault::Done, SettlementStatus::AlreadySettled).await;
}

#[tokio::test(start_paused = true)]
async fn p4_an_unknown_commit_that_did_not_happen_can_be_made_again() {
    after_an_unknown_commit(Fault::Lost, SettlementStatus::Done).await;
}

#[tokio::test(start_paused = true)]
async fn p4_after_an_unknown_outcome_the_rules_that_are_shown_are_those_in_force() {
    for (fault, outstanding, reason) in [(Fault::Done, Some(7), "deploy"), (Fault::Lost, Some(256), "")] {
        let world = World::new().await;
        let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
        drop(agent.subscribe(to("work")).await);
        let spec = Some(SubscriptionSpec { max_outstanding: Some(7), ..SubscriptionSpec::default() });
        let update = UpdateSubscriptionRequest { name: "work".into(), spec, ..UpdateSubscriptionRequest::default() };
        let pause = PauseSubscriptionRequest { name: "work".into(), reason: "deploy".into() };
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.faults.script(Call::Commit, [Some(fault)]);
        assert_eq!(admin.update_subscription(update).await.unwrap_err().code(), Code::Unavailable);
        world.faults.script(Call::Commit, [Some(fault)]);
        assert_eq!(admin.pause_subscription(pause).await.unwrap_err().code(), Code::Unavailable);
        let get = GetSubscriptionRequest { name: "work".into() };
        let shown = admin.get_subscription(get).await.unwrap().into_inner().subscription.unwrap();
        assert_eq!((shown.spec.unwrap().max_outstanding, shown.state_reason.as_str()), (outstanding, reason), "{fault:?}");
        let same = Some(SubscriptionSpec { max_outstanding: outstanding, ..SubscriptionSpec::default() });
        let stream = agent.subscribe(SubscribeRequest { spec: same, ..to("work") }).await;
        assert_eq!(stream.opened.paused, fault == Fault::Done);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_a_session_that_an_unknown_outcome_ends_counts_as_present_until_then() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let expire_after = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let spec = Some(SubscriptionSpec { expire_after, ..SubscriptionSpec::default() });
    let mut stream = agent.subscribe(SubscribeRequest { spec, ..to("work") }).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.faults.script(Call::Commit, [Some(Fault::Lost)]);
    assert_eq!(agent.ack(&delivery).await, SettlementStatus::Unavailable);
    // Retention looks several times before the agent is back.
    tokio::time::sleep(Duration::from_secs(25)).await;
    let again = agent.subscribe(to("work")).await;
    assert!(!again.opened.created, "its absence was short");
}

#[tokio::test(start_paused = true)]
async fn p11_a_session_that_ends_during_a_change_takes_nothing_back_and_is_not_forgotten() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let expire_after = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let spec = Some(SubscriptionSpec { expire_after, ..SubscriptionSpec::default() });
    let stream = agent.subscribe(SubscribeRequest { spec, ..to("work") }).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    world.faults.script(Call::Commit, [Some(Fault::Slow { before: Duration::from_secs(2), after: Duration::ZERO })]);
    let mut admin = world.subscriptions().await;
    let pause = PauseSubscriptionRequest { name: "work".into(), reason: "deploy".into() };
    let pausing = tokio::spawn(async move { admin.pause_subscription(pause).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    drop(stream);
    pausing.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(25)).await;
    let world = world.restarted().await;
    let get = GetSubscriptionRequest { name: "work".into() };
    let shown = world.subscriptions().await.get_subscription(get).await.expect("it was there a moment ago");
    let shown = shown.into_inner().subscription.unwrap();
    assert_eq!(shown.state_reason, "deploy");
    assert!(shown.last_session_at.unwrap().seconds >= shown.created_at.unwrap().seconds + 300);
}

#[tokio::test(start_paused = true)]
async fn p4_a_subscription_whose_deletion_was_of_unknown_outcome_can_be_made_again() {
    let world = World::new().await;
    let (mut agent, mut admin) = (world.agent().await, world.subscriptions().await);
    let stream = agent.subscribe(to("work")).await;
    world.faults.script(Call::Commit, [Some(Fault::Done)]);
    let delete = DeleteSubscriptionRequest { name: "work".into(), incarnation: String::new() };
    assert_eq!(admin.delete_subscription(delete.clone()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(admin.delete_subscription(delete).await.unwrap_err().code(), Code::NotFound);
    let again = agent.subscribe(to("work")).await;
    assert_ne!(again.opened.incarnation, stream.opened.incarnation);
}

#[tokio::test(start_paused = true)]
async fn p5_a_redriven_dead_letter_is_delivered_though_its_row_cannot_be_read_at_first() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let first = stream.delivery().await;
    let reject = Action::Reject(Reject { reason: "poison".into() });
    assert_eq!(agent.settle(&first.token, reject).await.status(), SettlementStatus::Done);
    // The row alone has the event from now on.
    assert!(world.disk.damage(first.offset));
    let mut admin = world.dead_letters().await;
    let list = ListDeadLettersRequest::default();
    let ids = admin.list_dead_letters(list).await.unwrap().into_inner().dead_letters.into_iter().map(|dead| dead.id).collect();
    // The row is read by the service, by the writer, and to be sent.
    world.faults.script(Call::Scan, [None, None, Some(Fault::Unavailable)]);
    admin.redrive_dead_letters(RedriveDeadLettersRequest { ids }).await.unwrap();
    let again = stream.delivery().await;
    assert_eq!((id(&again), again.attempt), ("a", 1), "not after a lease that was lost with it");
}

#[tokio::test(start_paused = true)]
async fn p6_what_a_drain_gives_back_is_uncounted_though_a_commit_of_it_was_of_unknown_outcome() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(session(&[])).await;
    agent.publish(&["a", "b"]).await;
    let (settled, held) = (stream.delivery().await, stream.delivery().await);
    let broker = std::sync::Arc::clone(&world.broker);
    let drained = tokio::spawn(async move { broker.drain(Duration::from_secs(5)).await });
    assert!(matches!(stream.message().await, Response::Draining(_)));
    world.faults.script(Call::Commit, [Some(Fault::Lost)]);
    assert_eq!(agent.ack(&settled).await, SettlementStatus::Unavailable);
    assert_eq!(stream.try_message().await.unwrap_err().code(), Code::Unavailable);
    drained.await.unwrap();

    let world = world.restarted().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    for offset in [settled.offset, held.offset] {
        let again = stream.delivery().await;
        assert_eq!((again.offset, again.attempt, again.losses), (offset, 1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn p4_what_the_store_refused_is_told_and_can_be_asked_again() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    world.faults.script(Call::Commit, [Some(Fault::Unavailable)]);
    let result = agent.settle(&delivery.token, ack()).await;
    assert_eq!(result.status(), SettlementStatus::Unavailable);
    assert!(result.refusal.unwrap().retry_delay.is_some());
    assert_eq!(agent.ack(&delivery).await, SettlementStatus::Done, "the stream and the lease went on");
    stream.stays_silent(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn p11_a_full_store_refuses_publishers_and_still_settles() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    world.faults.set_full(true);
    let request = waypost_proto::v1::PublishRequest { items: vec![item("b")] };
    assert_eq!(agent.client.publish(request).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(agent.ack(&delivery).await, SettlementStatus::Done);
    world.faults.set_full(false);
    agent.publish(&["c"]).await;
    assert_eq!(id(&stream.delivery().await), "c");
}

#[tokio::test(start_paused = true)]
async fn p12_an_agent_that_takes_nothing_costs_bounded_memory_and_slows_nobody() {
    let world = World::new().await;
    let (mut slow, mut agent) = (world.agent().await, world.agent().await);
    let limits = waypost_proto::v1::SessionLimits { max_outstanding: Some(10_000), max_outstanding_bytes: Some(1 << 30) };
    let spec = SubscriptionSpec { max_outstanding: Some(10_000), ..SubscriptionSpec::default() };
    let request = |name| SubscribeRequest { session_limits: Some(limits), spec: Some(spec.clone()), ..to(name) };
    let stalled = slow.subscribe(request("slow")).await;
    let mut stream = agent.subscribe(request("fast")).await;
    for batch in 0..40 {
        let items = (0..100).map(|at| {
            let mut item = item(&format!("{batch}-{at}"));
            item.event.as_mut().unwrap().subject = "x".repeat(1_000);
            item
        });
        let request = waypost_proto::v1::PublishRequest { items: items.collect() };
        agent.client.publish(request).await.unwrap();
        for delivery in stream.deliveries(100).await {
            agent.ack(&delivery).await;
        }
    }
    let shared = world.broker.registry.shared();
    let leased = world.broker.registry.get("slow").unwrap().inspect(shared).await.unwrap().status.leased;
    assert!((1..4_000).contains(&leased), "the stream that takes nothing was handed {leased} of 4000 events");
    drop(stalled);
}

#[tokio::test(start_paused = true)]
async fn p12_a_subscription_that_does_not_answer_holds_up_no_other() {
    let settled = Duration::from_secs(1);
    let settings = settings();
    let world = World::on(
        MemoryDisk::new(MemoryConfig::default()),
        Settings { retention: RetentionRules { settled, ..settings.retention }, ..settings },
    )
    .await;
    let mut agent = world.agent().await;
    drop(agent.subscribe(to("stuck")).await);
    agent.publish(&["a"]).await;
    let world = world.restarted().await;
    let hour = Fault::Slow { before: Duration::from_secs(3_600), after: Duration::ZERO };
    world.faults.script(Call::Claim, [Some(hour)]);
    let began = tokio::time::Instant::now();
    // Somebody wants it away, and retention asks it what it needs, again and again.
    let mut admin = world.subscriptions().await;
    let delete = DeleteSubscriptionRequest { name: "stuck".into(), incarnation: String::new() };
    let deleting = tokio::spawn(async move { admin.delete_subscription(delete).await });
    while world.faults.counts().slow == 0 {
        tokio::task::yield_now().await;
    }
    let mut agent = world.agent().await;
    for round in 0..20 {
        let (asked, name) = (tokio::time::Instant::now(), format!("other-{round}"));
        let stream = agent.subscribe(to(&name)).await;
        assert!(stream.opened.created);
        assert!(asked.elapsed() < Duration::from_secs(12), "{name} waited {:?}", asked.elapsed());
        let pause = PauseSubscriptionRequest { name, reason: "deploy".into() };
        world.subscriptions().await.pause_subscription(pause).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(deleting.await.unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(agent.try_subscribe(to("stuck")).await.is_err_and(|status| status.message().contains("stuck")));
    tokio::time::sleep_until(began + Duration::from_secs(3_602)).await;
    assert!(!agent.subscribe(to("stuck")).await.opened.created);
}

#[tokio::test(start_paused = true)]
async fn p6_a_drain_tells_the_agents_lets_them_settle_and_gives_back_the_rest_uncounted() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a", "b"]).await;
    let (first, second) = (stream.delivery().await, stream.delivery().await);
    let broker = std::sync::Arc::clone(&world.broker);
    let drained = tokio::spawn(async move { broker.drain(Duration::from_secs(5)).await });
    assert!(matches!(stream.message().await, Response::Draining(_)));
    assert_eq!(agent.ack(&first).await, SettlementStatus::Done);
    for name in ["work", "another"] {
        assert_eq!(agent.try_subscribe(to(name)).await.err().unwrap().code(), Code::Unavailable);
    }
    assert_eq!(stream.try_message().await.unwrap_err().code(), Code::Unavailable);
    drained.await.unwrap();

    let world = world.restarted().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    let again = stream.delivery().await;
    assert_eq!((again.offset, again.attempt, again.losses), (second.offset, 1, 0));
    assert_eq!(agent.settle(&again.token, Action::Nack(Nack::default())).await.status(), SettlementStatus::Done);
}

#[tokio::test(start_paused = true)]
async fn p6_a_drain_takes_no_longer_than_it_takes_to_settle_what_is_held() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut busy = agent.subscribe(to("busy")).await;
    agent.publish(&["a"]).await;
    let held = busy.delivery().await;
    let mut idle = agent.subscribe(to("idle")).await;
    let broker = std::sync::Arc::clone(&world.broker);
    let began = tokio::time::Instant::now();
    let drained = tokio::spawn(async move { broker.drain(Duration::from_secs(5)).await });
    for stream in [&mut busy, &mut idle] {
        assert!(matches!(stream.message().await, Response::Draining(_)));
    }
    assert_eq!(idle.try_message().await.unwrap_err().code(), Code::Unavailable);
    assert!(!drained.is_finished(), "one agent holds a delivery");
    assert_eq!(agent.ack(&held).await, SettlementStatus::Done);
    assert_eq!(busy.try_message().await.unwrap_err().code(), Code::Unavailable);
    drained.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn p14_a_damaged_event_is_a_gap_and_the_others_are_delivered() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let offsets = agent.publish(&["a", "b", "c"]).await;
    assert!(world.disk.damage(offsets[1]));
    let earliest = waypost_proto::v1::start_position::Position::Point(waypost_proto::v1::StartPoint::Earliest.into());
    let start_position = Some(waypost_proto::v1::StartPosition { position: Some(earliest) });
    let spec = Some(SubscriptionSpec { start_position, ..SubscriptionSpec::default() });
    let mut stream = agent.subscribe(SubscribeRequest { spec, ..to("work") }).await;
    let (mut got, mut gap) = (Vec::new(), None);
    while got.len() < 2 {
        match stream.message().await {
            Response::Deliveries(deliveries) => got.extend(deliveries.deliveries.iter().map(|delivery| id(delivery).to_owned())),
            Response::Gap(lost) => gap = Some(lost),
            other => panic!("{other:?} came"),
        }
    }
    assert_eq!(got, ["a", "c"]);
    let gap = gap.expect("the loss is told");
    assert_eq!((gap.from_offset, gap.to_offset), (offsets[1], offsets[1] + 1));
    assert_eq!(gap.reason(), waypost_proto::v1::GapReason::Corruption);
}
