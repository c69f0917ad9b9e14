//! P5: what fails comes back later, and becomes a dead letter once, with its history.

use waypost_delivery::{
    Action, Commit, Config, Input, Record, Refusal, RetryPolicy, SettleOutcome, Settlement, Subscription,
    record::{AttemptOutcome, DeadLetter, DeadLetterCause, MAX_REASON_BYTES},
};

use crate::world::*;

fn dead_letters(world: &World) -> Vec<DeadLetter> {
    let records = world.plans.iter().flat_map(|plan| &plan.records);
    records.filter_map(|record| if let Record::DeadLettered(dead) = record { Some(dead.clone()) } else { None }).collect()
}

#[test]
pub(crate) fn p5_nacks_back_off_exponentially_and_end_as_a_dead_letter() {
    let mut world = World::new(config());
    world.connect(1);
    let mut out = world.publish(1);
    for (attempt, nominal) in [(1, 1.0), (2, 2.0), (3, 4.0)] {
        let delivery = delivery(&out);
        assert_eq!(delivery.attempt, attempt);
        assert_eq!(world.settle(delivery.token, nack()), SettleOutcome::Done);
        let failed = world.now;
        out = world.wait(world.machine.next_timeout().unwrap().since(failed));
        let waited = world.now.since(failed).as_secs_f64();
        assert!((nominal * 0.8..=nominal * 1.2).contains(&waited), "{waited} s after failure {attempt}");
    }
    world.settle(delivery(&out).token, nack());
    assert_eq!(offsets(&world.wait(secs(1_000))), [] as [u64; 0]);
    let [dead] = &dead_letters(&world)[..] else { panic!("one dead letter") };
    assert_eq!((dead.offset, dead.cause, dead.attempts, dead.losses), (1, DeadLetterCause::Attempts, 4, 0));
    assert_eq!(dead.history.iter().map(|attempt| attempt.reason.as_str()).collect::<Vec<_>>(), ["no"; 4]);
}

#[test]
pub(crate) fn p5_expired_leases_count_and_back_off_like_nacks() {
    let mut world = World::new(config());
    world.connect(1);
    world.publish(1);
    world.wait(secs(600));
    let [dead] = &dead_letters(&world)[..] else { panic!("one dead letter") };
    assert!(dead.history.iter().all(|attempt| attempt.outcome == AttemptOutcome::Expired));
    assert_eq!((dead.attempts, dead.history.len()), (4, 4));
}

#[test]
pub(crate) fn p5_attempts_survive_a_restart() {
    let mut world = World::new(config());
    for attempt in 1..=4 {
        world.connect(1);
        let out = if attempt == 1 { world.publish(1) } else { world.wait(secs(6)) };
        let delivery = delivery(&out);
        assert_eq!(delivery.attempt, attempt);
        world.settle(delivery.token, nack());
        if attempt == 2 {
            world.force_snapshot();
        }
        world.crash(false);
    }
    assert_eq!(dead_letters(&world)[0].history.len(), 4);
    assert_eq!(world.machine.status().dead_letters, 1);
}

#[test]
pub(crate) fn p5_an_exact_delay_is_kept_but_for_the_longest_wait() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    world.settle(first, Action::Nack { delay: Some(secs(7)), reason: String::new() });
    assert_eq!(offsets(&world.wait(std::time::Duration::from_millis(6_999))), [] as [u64; 0]);
    let again = delivery(&world.wait(std::time::Duration::from_millis(1))).token;
    world.settle(again, Action::Nack { delay: Some(secs(9_999)), reason: String::new() });
    assert_eq!(offsets(&world.wait(secs(60))), [1]);
}

#[test]
pub(crate) fn p5_an_agent_that_dies_of_an_event_gets_it_no_more_than_max_losses_times() {
    let mut world = World::new(config());
    world.publish(1);
    let mut delivered = 0;
    for session in 0..20 {
        let mut out = world.connect(session);
        out.extend(world.wait(secs(10)));
        delivered += deliveries(&out).len();
        world.disconnect(session);
        world.wait(secs(60));
    }
    assert_eq!(delivered, 3);
    let [dead] = &dead_letters(&world)[..] else { panic!("one dead letter") };
    assert_eq!((dead.cause, dead.attempts, dead.losses), (DeadLetterCause::Losses, 0, 3));
}

#[test]
pub(crate) fn p5_one_lost_session_releases_all_it_held() {
    let mut world = World::new(Config { retry: RetryPolicy { max_losses: 1, ..config().retry }, ..config() });
    world.connect(1);
    world.publish(5);
    world.disconnect(1);
    world.wait(secs(2));
    assert_eq!(dead_letters(&world).len(), 5, "the first does not stop the rest");
    assert_eq!(world.machine.status().unsettled, 0);
}

#[test]
pub(crate) fn p5_no_lease_outlives_its_total() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    let start = world.now;
    while let SettleOutcome::Extended(deadline) = world.settle(first, Action::Extend { by: Some(secs(40)) }) {
        assert!(deadline <= start + secs(300));
        world.wait(secs(10));
        assert!(world.now <= start + secs(310), "held for ever");
    }
    assert_eq!(world.machine.status().leased, 0);
}

#[test]
pub(crate) fn p5_a_rejected_event_is_a_dead_letter_with_its_reason() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    let reason = "é".repeat(400);
    world.settle(first, Action::Reject { reason });
    let [dead] = &dead_letters(&world)[..] else { panic!("one dead letter") };
    assert_eq!(dead.cause, DeadLetterCause::Rejected);
    assert_eq!(dead.history[0].reason.len(), MAX_REASON_BYTES, "cut, at a character");
}

#[test]
pub(crate) fn p5_the_dead_letter_is_in_the_commit_that_settles() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    world.disk = Disk::Holds;
    assert_eq!(world.settle_all(first, reject()).0, None);
    assert_eq!(world.machine.status().dead_letters, 0);
    world.answer_commit(Commit::Refused(Refusal::Unavailable));
    assert_eq!((world.machine.status().dead_letters, world.machine.status().leased), (0, 1), "as before");
}

#[test]
pub(crate) fn p5_an_expiry_that_was_refused_is_tried_again_after_a_second() {
    let mut world = World::new(config());
    world.connect(1);
    world.publish(1);
    world.disk = Disk::Refuses;
    let out = world.wait(secs(40));
    assert_eq!(revoked(&out).len(), 1, "told once");
    assert_eq!(world.plans.len(), 11, "the first time, and once a second");
    world.disk = Disk::Commits;
    assert_eq!(delivery(&world.wait(secs(3))).attempt, 2);
}

#[test]
pub(crate) fn p5_an_ephemeral_subscription_leaves_no_dead_letters() {
    let mut world = World::new(Config { ephemeral: true, ..config() });
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    world.settle(first, reject());
    assert_eq!(dead_letters(&world), []);
    assert_eq!((world.machine.status().dead_letters, world.machine.status().unsettled), (0, 0));
}

#[test]
pub(crate) fn p5_after_a_restart_no_wait_is_longer_than_the_policy() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    world.settle(first, Action::Nack { delay: Some(secs(60)), reason: String::new() });
    world.now = waypost_delivery::Time::from_micros(1_000);
    world.crash(false);
    world.connect(1);
    assert_eq!(offsets(&world.wait(secs(60))), [1], "though the clock went back");
}

#[test]
pub(crate) fn p12_histories_are_bounded_and_counts_stay_exact() {
    let retry = RetryPolicy { max_attempts: 100, ..config().retry };
    let mut world = World::new(Config { retry, ..config() });
    world.connect(1);
    let mut out = world.publish(1);
    for attempt in 1..=100 {
        let delivery = delivery(&out);
        assert_eq!(delivery.attempt, attempt);
        world.settle(delivery.token, Action::Nack { delay: Some(secs(1)), reason: format!("{attempt}") });
        out = world.wait(secs(1));
    }
    let [dead] = &dead_letters(&world)[..] else { panic!("one dead letter") };
    assert_eq!((dead.attempts, dead.history.len(), dead.history[31].reason.as_str()), (100, 32, "100"));
}

#[test]
pub(crate) fn p13_the_same_history_backs_off_for_the_same_time() {
    let mut worlds = [World::new(config()), World::new(config())];
    let waits = worlds.each_mut().map(|world| {
        world.connect(1);
        let token = delivery(&world.publish(1)).token;
        world.settle(token, nack());
        world.machine.next_timeout()
    });
    assert_eq!(waits[0], waits[1]);
}

#[test]
pub(crate) fn p12_the_histories_of_many_events_are_bounded_together() {
    let mut world = World::new(Config { max_outstanding: 1_000, ..config() });
    world.connect_with(1, waypost_delivery::SessionLimits { max_outstanding: 1_000, ..LIMITS }, &[]);
    let mut out = world.publish(800);
    for _ in 0..3 {
        let request = world.request();
        let action = Action::Nack { delay: Some(secs(1)), reason: "x".repeat(MAX_REASON_BYTES) };
        let settlements = tokens(&out).into_iter().map(|token| Settlement { token, action: action.clone() }).collect();
        world.input(Input::Settle { request, settlements });
        out = world.wait(secs(1));
        assert_eq!(out.len(), 800);
    }
    let bytes = world.machine.snapshot().encode().len();
    assert!((1_000_000..1_200_000).contains(&bytes), "{bytes} bytes of snapshot, with 1.3 MB of reasons given");
    let records = world.records.iter().map(Vec::as_slice);
    let restored = Subscription::restore(world.now, 9, 1, records).unwrap().unwrap();
    let histories = |machine: &Subscription| match machine.snapshot() {
        Record::Snapshot(snapshot) => snapshot.unsettled.into_iter().map(|event| (event.attempts, event.history)).collect::<Vec<_>>(),
        _ => panic!("a snapshot"),
    };
    assert_eq!(histories(&restored), histories(&world.machine), "a restart cuts the same");
}
