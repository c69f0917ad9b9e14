//! P2 and P3: events come until they are settled, under one lease, within the limits of sessions and of the subscription.

use waypost_delivery::{Config, SessionId, SessionLimits, SettleOutcome};

use crate::world::*;

#[test]
pub(crate) fn p2_every_event_is_delivered_and_stays_settled() {
    let mut world = World::new(config());
    world.connect(1);
    let out = world.publish(3);
    assert_eq!(offsets(&out), [1, 2, 3]);
    for token in tokens(&out) {
        assert_eq!(world.ack(token), SettleOutcome::Done);
    }
    assert_eq!(world.machine.status().unsettled, 0);
    assert_eq!(offsets(&world.wait(secs(1_000))), [] as [u64; 0]);
    world.crash(false);
    let mut again = world.connect(1);
    again.extend(world.wait(secs(10)));
    assert_eq!(offsets(&again), [] as [u64; 0]);
}

#[test]
pub(crate) fn p2_what_was_not_settled_comes_again_after_a_restart() {
    let mut world = World::new(config());
    world.connect(1);
    let out = world.publish(3);
    world.ack(tokens(&out)[1]);
    world.crash(false);
    world.connect(2);
    assert_eq!(offsets(&world.wait(secs(3))), [1, 3]);
}

#[test]
pub(crate) fn p2_what_was_not_settled_comes_again_after_a_snapshot_and_a_restart() {
    let mut world = World::new(config());
    world.connect(1);
    let out = world.publish(3);
    world.settle(tokens(&out)[0], nack());
    world.ack(tokens(&out)[1]);
    world.force_snapshot();
    assert_eq!(world.records.len(), 1, "a snapshot replaces what was before");
    world.crash(false);
    world.connect(2);
    let again = world.wait(secs(3));
    assert_eq!(deliveries(&again).iter().map(|d| (d.token.offset, d.attempt)).collect::<Vec<_>>(), [(1, 2), (3, 1)]);
}

#[test]
pub(crate) fn p3_one_lease_at_a_time() {
    let mut world = World::new(config());
    world.connect(1);
    world.connect(2);
    let out = world.publish(10);
    assert_eq!(offsets(&out), (1..=10).collect::<Vec<_>>(), "each to one session");
}

#[test]
pub(crate) fn p3_no_session_and_no_subscription_holds_more_than_its_limit() {
    let mut world = World::new(Config { max_outstanding: 5, ..config() });
    world.publish(20);
    let limits = SessionLimits { max_outstanding: 3, ..LIMITS };
    assert_eq!(world.connect_with(1, limits, &[]).len() - 1, 3);
    let out = world.connect_with(2, limits, &[]);
    assert_eq!(offsets(&out).len(), 2, "5 in all");
    let out = world.settle_all(tokens(&out)[0], ACK).1;
    assert_eq!(offsets(&out).len(), 1, "an ack makes room for one");
}

#[test]
pub(crate) fn p3_bytes_are_limited_too_and_one_large_event_goes_alone() {
    let mut world = World::new(config());
    let limits = SessionLimits { max_outstanding: 10, max_outstanding_bytes: 250 };
    for bytes in [100, 100, 1000, 100] {
        world.publish_event(bytes, None);
    }
    let out = world.connect_with(1, limits, &[]);
    assert_eq!(offsets(&out), [1, 2], "the large one does not fit, and is not overtaken");
    let first = tokens(&out);
    assert_eq!(offsets(&world.settle_all(first[0], ACK).1), [] as [u64; 0]);
    let out = world.settle_all(first[1], ACK).1;
    assert_eq!(offsets(&out), [3], "alone");
    assert_eq!(offsets(&world.settle_all(tokens(&out)[0], ACK).1), [4]);
}

#[test]
pub(crate) fn p3_the_bytes_of_a_subscription_are_limited_over_all_sessions() {
    let mut world = World::new(Config { max_outstanding_bytes: 250, ..config() });
    world.connect(1);
    world.connect(2);
    assert_eq!(offsets(&world.publish(5)), [1, 2]);
}

#[test]
pub(crate) fn p3_sessions_share_in_proportion_to_their_limits() {
    let mut world = World::new(config());
    world.connect_with(1, SessionLimits { max_outstanding: 2, ..LIMITS }, &[]);
    world.connect_with(2, SessionLimits { max_outstanding: 4, ..LIMITS }, &[]);
    let out = world.publish(3);
    let of = |id| deliveries(&out).iter().filter(|deliver| deliver.session == SessionId(id)).count();
    assert_eq!((of(1), of(2)), (1, 2));
}

#[test]
pub(crate) fn p3_equal_sessions_take_turns() {
    let mut world = World::new(config());
    (1..=3).for_each(|session| drop(world.connect(session)));
    let mut got = Vec::new();
    for _ in 0..6 {
        let delivery = delivery(&world.publish(1));
        got.push(delivery.session.0);
        world.ack(delivery.token);
    }
    assert_eq!(got[..3], got[3..], "the same order again: {got:?}");
    got.truncate(3);
    got.sort_unstable();
    assert_eq!(got, [1, 2, 3]);
}

#[test]
pub(crate) fn p3_what_waits_holds_no_credit() {
    let mut world = World::new(config());
    world.connect_with(1, SessionLimits { max_outstanding: 1, ..LIMITS }, &[]);
    let first = delivery(&world.publish(2)).token;
    let out = world.settle_all(first, nack()).1;
    assert_eq!(offsets(&out), [2], "the nacked one waits, the next goes out");
}
