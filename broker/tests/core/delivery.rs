//! Deliveries and settlements, end to end.

use std::time::Duration;

use waypost_proto::v1::{
    Ack, Extend, Filter, Nack, Reject, Release, RevokedReason, SessionLimits, SettlementStatus, SubscribeRequest, SubscriptionSpec,
    settlement::Action, subscribe_response::Response,
};

use crate::world::{World, ack, event, id, to};

const SESSION: &str = "0192b2e0-0000-7000-8000-000000000001";
const OTHER: &str = "0192b2e0-0000-7000-8000-000000000002";

fn session(name: &str, session: &str) -> SubscribeRequest {
    SubscribeRequest { session_id: session.into(), ..to(name) }
}

#[tokio::test(start_paused = true)]
async fn p2_what_is_published_is_delivered_and_settled_once() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    assert!(stream.opened.created);
    let offsets = agent.publish(&["a", "b"]).await;
    let deliveries = stream.deliveries(2).await;
    assert_eq!(deliveries.iter().map(|delivery| delivery.offset).collect::<Vec<_>>(), offsets);
    assert_eq!(deliveries.iter().map(id).collect::<Vec<_>>(), ["a", "b"]);
    for delivery in &deliveries {
        assert_eq!((delivery.attempt, delivery.losses, delivery.redriven), (1, 0, false));
        assert_eq!(agent.ack(delivery).await, SettlementStatus::Done);
    }
    assert_eq!(agent.ack(&deliveries[0]).await, SettlementStatus::AlreadySettled, "settling twice is harmless and says so");
    stream.stays_silent(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn p2_a_subscription_gets_what_was_published_while_it_was_away() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    drop(agent.subscribe(to("work")).await);
    agent.publish(&["a", "b", "c"]).await;
    let mut stream = agent.subscribe(to("work")).await;
    assert!(!stream.opened.created);
    let got: Vec<_> = stream.deliveries(3).await.iter().map(|delivery| id(delivery).to_owned()).collect();
    assert_eq!(got, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn p2_a_subscription_that_was_parked_with_nothing_to_read_gets_what_came_meanwhile() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    drop(agent.subscribe(to("work")).await);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!world.broker.registry.get("work").unwrap().is_running());
    agent.publish(&["a"]).await;
    let mut stream = agent.subscribe(to("work")).await;
    assert_eq!(id(&stream.delivery().await), "a");
}

#[tokio::test(start_paused = true)]
async fn p3_sessions_share_the_events_of_a_subscription() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let limits = Some(SessionLimits { max_outstanding: Some(1), max_outstanding_bytes: None });
    let mut first = agent.subscribe(SubscribeRequest { session_limits: limits, ..session("work", SESSION) }).await;
    let mut second = agent.subscribe(SubscribeRequest { session_limits: limits, ..session("work", OTHER) }).await;
    agent.publish(&["a", "b", "c"]).await;
    let (one, two) = (first.delivery().await, second.delivery().await);
    assert_ne!(one.offset, two.offset);
    first.stays_silent(Duration::from_secs(5)).await;
    agent.ack(&one).await;
    let third = first.delivery().await;
    assert!(third.offset != one.offset && third.offset != two.offset);
}

#[tokio::test(start_paused = true)]
async fn p4_settling_works_without_a_session_and_after_its_dispatcher_ended() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    drop(stream);
    // Past the grace and the linger: the session is lost, and nobody runs the subscription.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!world.broker.registry.get("work").unwrap().is_running());
    assert_eq!(agent.ack(&delivery).await, SettlementStatus::Done, "a late ack is accepted: the work is done");
    let mut stream = agent.subscribe(to("work")).await;
    stream.stays_silent(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn p4_one_bad_settlement_never_fails_a_batch() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    let mut other = agent.subscribe(to("other")).await;
    agent.publish(&["a"]).await;
    let (delivery, elsewhere) = (stream.delivery().await, other.delivery().await);
    let settlement = |token: &[u8], action| waypost_proto::v1::Settlement { token: token.to_vec().into(), action };
    let settlements = vec![
        settlement(b"nonsense", Some(ack())),
        settlement(&delivery.token, None),
        settlement(&delivery.token, Some(Action::Reject(Reject::default()))),
        settlement(&elsewhere.token, Some(ack())),
        settlement(&delivery.token, Some(ack())),
    ];
    let results = agent.client.settle(waypost_proto::v1::SettleRequest { settlements }).await.unwrap().into_inner().results;
    let status: Vec<_> = results.iter().map(waypost_proto::v1::SettleResult::status).collect();
    use SettlementStatus::{Done, Invalid, UnknownToken};
    assert_eq!(status, [UnknownToken, Invalid, Invalid, Done, Done]);
}

#[tokio::test(start_paused = true)]
async fn p5_a_nack_comes_back_after_its_backoff_and_in_the_end_is_a_dead_letter() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let retry_policy = Some(waypost_proto::v1::RetryPolicy { max_attempts: Some(2), ..Default::default() });
    let spec = Some(SubscriptionSpec { retry_policy, ..SubscriptionSpec::default() });
    let mut stream = agent.subscribe(SubscribeRequest { spec, ..to("work") }).await;
    agent.publish(&["a"]).await;
    let nack = || Action::Nack(Nack { delay: None, reason: "no route".into() });
    let first = stream.delivery().await;
    assert_eq!(agent.settle(&first.token, nack()).await.status(), SettlementStatus::Done);
    stream.stays_silent(Duration::from_millis(700)).await;
    let second = stream.delivery().await;
    assert_eq!((second.attempt, second.offset), (2, first.offset));
    assert_eq!(agent.settle(&second.token, nack()).await.status(), SettlementStatus::Done);
    stream.stays_silent(Duration::from_secs(3_600)).await;

    assert_eq!(agent.ack(&second).await, SettlementStatus::DeadLettered, "an ack of a dead letter says so");
    let mut admin = world.dead_letters().await;
    let found = admin.list_dead_letters(waypost_proto::v1::ListDeadLettersRequest::default()).await.unwrap().into_inner().dead_letters;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].event_id.as_str(), found[0].attempts, found[0].detail.as_str()), ("a", 2, "no route"));
    assert!(found[0].acked_late_at.is_some(), "and is noted there");
}

#[tokio::test(start_paused = true)]
async fn p5_a_rejected_event_can_be_redriven_and_is_settled_then() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let first = stream.delivery().await;
    let reject = Action::Reject(Reject { reason: "poison".into() });
    assert_eq!(agent.settle(&first.token, reject).await.status(), SettlementStatus::Done);
    let mut admin = world.dead_letters().await;
    let list = waypost_proto::v1::ListDeadLettersRequest::default;
    let found = admin.list_dead_letters(list()).await.unwrap().into_inner().dead_letters.remove(0);
    let shown = admin.get_dead_letter(waypost_proto::v1::GetDeadLetterRequest { id: found.id.clone() }).await.unwrap().into_inner();
    assert_eq!(shown.event.unwrap().event.unwrap().id, "a");
    assert_eq!(shown.history[0].reason, "poison");

    let redrive = waypost_proto::v1::RedriveDeadLettersRequest { ids: vec![found.id.clone(), "nonsense".into()] };
    let results = admin.redrive_dead_letters(redrive).await.unwrap().into_inner().results;
    assert_eq!(results.iter().map(|result| result.refusal.is_some()).collect::<Vec<_>>(), [false, true]);
    let again = stream.delivery().await;
    assert_eq!((again.offset, again.attempt, again.redriven), (first.offset, 1, true));
    assert!(admin.list_dead_letters(list()).await.unwrap().into_inner().dead_letters[0].redriving);
    assert_eq!(agent.ack(&again).await, SettlementStatus::Done);
    assert!(admin.list_dead_letters(list()).await.unwrap().into_inner().dead_letters.is_empty());
}

#[tokio::test(start_paused = true)]
async fn p5_an_expired_lease_is_revoked_and_an_extended_one_is_not() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    tokio::time::sleep(Duration::from_secs(25)).await;
    let extended = agent.settle(&delivery.token, Action::Extend(Extend { by: None })).await;
    assert_eq!(extended.status(), SettlementStatus::Done);
    assert!(extended.lease_expires_at.unwrap().seconds > delivery.lease_expires_at.unwrap().seconds);
    stream.stays_silent(Duration::from_secs(25)).await;
    let Response::Revoked(revoked) = stream.message().await else { panic!("the lease expired") };
    assert_eq!((revoked.token.clone(), revoked.reason()), (delivery.token.clone(), RevokedReason::Expired));
    let stale = agent.settle(&delivery.token, Action::Release(Release {})).await;
    assert_eq!(stale.status(), SettlementStatus::Stale);
    assert_eq!(stream.delivery().await.attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn p6_what_is_held_goes_on_after_a_broken_stream_and_the_rest_comes_again_uncounted() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(session("work", SESSION)).await;
    agent.publish(&["a", "b"]).await;
    let (held, lost) = (stream.delivery().await, stream.delivery().await);
    drop(stream);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let request = SubscribeRequest { held_tokens: vec![held.token.clone(), b"nonsense".to_vec().into()], ..session("work", SESSION) };
    let mut stream = agent.subscribe(request).await;
    assert_eq!(stream.opened.adopted.len(), 1);
    assert_eq!(stream.opened.adopted[0].token, held.token);
    assert_eq!(stream.opened.adopted[0].lease_expires_at, held.lease_expires_at);
    assert_eq!(stream.opened.dropped[0].reason(), RevokedReason::UnknownToken);
    let again = stream.delivery().await;
    assert_eq!((again.offset, again.attempt), (lost.offset, 1));
    assert_eq!(agent.ack(&held).await, SettlementStatus::Done);
}

#[tokio::test(start_paused = true)]
async fn p6_a_session_that_does_not_return_is_a_loss() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(session("work", SESSION)).await;
    let mut other = agent.subscribe(session("work", OTHER)).await;
    agent.publish(&["a"]).await;
    let delivery =
        tokio::select! { delivery = stream.delivery() => delivery, _ = other.delivery() => panic!("the first session is first") };
    drop(stream);
    let again = other.delivery().await;
    assert_eq!((again.offset, again.losses, again.attempt), (delivery.offset, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn p6_a_second_stream_of_a_session_replaces_the_first() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut first = agent.subscribe(session("work", SESSION)).await;
    let mut second = agent.subscribe(session("work", SESSION)).await;
    let status = first.try_message().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Aborted);
    agent.publish(&["a"]).await;
    second.delivery().await;
}

#[tokio::test(start_paused = true)]
async fn p6_after_a_restart_held_deliveries_are_adopted_and_tokens_still_settle() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(session("work", SESSION)).await;
    agent.publish(&["a", "b"]).await;
    let (held, settled_late) = (stream.delivery().await, stream.delivery().await);
    let world = world.restarted().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(SubscribeRequest { held_tokens: vec![held.token.clone()], ..session("work", SESSION) }).await;
    assert_eq!(stream.opened.adopted.iter().map(|lease| lease.token.clone()).collect::<Vec<_>>(), std::slice::from_ref(&held.token));
    assert_eq!(agent.ack(&settled_late).await, SettlementStatus::Done);
    assert_eq!(agent.ack(&held).await, SettlementStatus::Done);
    stream.stays_silent(Duration::from_secs(60)).await;
}

#[tokio::test(start_paused = true)]
async fn p9_outputs_are_published_with_the_ack_that_settles_and_once() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a"]).await;
    let input = stream.delivery().await;
    let outputs = || vec![waypost_proto::v1::Event { id: String::new(), ..event("") }, event("named")];
    let acked = agent.settle(&input.token, Action::Ack(Ack { outputs: outputs() })).await;
    assert_eq!(acked.status(), SettlementStatus::Done, "{acked:?}");
    assert_eq!(acked.output_ids[1], "named");
    for expected in &acked.output_ids {
        let output = stream.delivery().await;
        assert_eq!(id(&output), expected);
        let lineage = output.event.unwrap().lineage.unwrap();
        assert_eq!((lineage.correlation_id.as_str(), lineage.causation_id.as_str(), lineage.hops), ("a", "a", 1));
    }
    let again = agent.settle(&input.token, Action::Ack(Ack { outputs: outputs() })).await;
    assert_eq!((again.status(), again.output_ids), (SettlementStatus::AlreadySettled, acked.output_ids));
    stream.stays_silent(Duration::from_secs(20)).await;
}

#[tokio::test(start_paused = true)]
async fn p9_if_one_output_is_refused_nothing_is_settled_or_published() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("work")).await;
    agent.publish(&["a", "taken"]).await;
    let (input, _) = (stream.delivery().await, stream.delivery().await);
    let conflicting = waypost_proto::v1::Event { subject: "other".into(), ..event("taken") };
    let reserved = waypost_proto::v1::Event { source: "github".into(), ..event("x") };
    for (bad, field) in [(conflicting, "outputs[1].id"), (reserved, "outputs[1].source")] {
        let outputs = vec![event("fine"), bad];
        let result = agent.settle(&input.token, Action::Ack(Ack { outputs })).await;
        assert_eq!(result.status(), SettlementStatus::OutputRefused, "{result:?}");
        assert_eq!(result.refusal.unwrap().field, field);
    }
    stream.stays_silent(Duration::from_secs(20)).await;
    assert_eq!(agent.ack(&input).await, SettlementStatus::Done, "the lease went on");
}

#[tokio::test(start_paused = true)]
async fn p6_a_second_stream_of_an_ephemeral_session_that_holds_nothing_replaces_the_first() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut first = agent.subscribe(session("", SESSION)).await;
    let mut second = agent.subscribe(session("", SESSION)).await;
    assert_eq!(second.opened.incarnation, first.opened.incarnation);
    assert_eq!(first.try_message().await.unwrap_err().code(), tonic::Code::Aborted);
    agent.publish(&["a"]).await;
    assert_eq!(id(&second.delivery().await), "a");
    let other = agent.subscribe(session("", OTHER)).await;
    assert_ne!(other.opened.incarnation, second.opened.incarnation, "another session has a subscription of its own");
    drop((second, other));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let again = agent.subscribe(session("", SESSION)).await;
    assert_ne!(again.opened.incarnation, first.opened.incarnation, "it ended with its session");
}

#[tokio::test(start_paused = true)]
async fn a_session_that_asks_its_ephemeral_subscription_for_other_events_is_refused() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut first = agent.subscribe(session("", SESSION)).await;
    let filter = Filter { types: vec!["other.v1.Type".into()], ..Filter::default() };
    let spec = Some(SubscriptionSpec { filter: Some(filter), ..SubscriptionSpec::default() });
    let refused = agent.try_subscribe(SubscribeRequest { spec, ..session("", SESSION) }).await.err().unwrap();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition, "{refused:?}");
    agent.publish(&["a"]).await;
    assert_eq!(id(&first.delivery().await), "a", "its stream goes on");
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_subscription_ends_with_its_session() {
    let world = World::new().await;
    let mut agent = world.agent().await;
    let mut stream = agent.subscribe(to("")).await;
    agent.publish(&["a"]).await;
    let delivery = stream.delivery().await;
    assert_eq!(agent.ack(&delivery).await, SettlementStatus::Done);
    drop(stream);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(world.broker.registry.running().is_empty());
    assert_eq!(agent.ack(&delivery).await, SettlementStatus::UnknownToken);
}
