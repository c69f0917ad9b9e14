//! P6: what a broken stream, a goodbye and a restart do to deliveries.

use waypost_delivery::{CloseReason, Input, Output, RevokeReason, SessionId, SessionLimits, SettleOutcome, StreamId};

use crate::world::*;

#[test]
pub(crate) fn p6_within_the_grace_held_deliveries_go_on_and_the_others_come_again_uncounted() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.disconnect(1);
    assert_eq!(world.wait(secs(1)), []);
    let out = world.connect_with(1, LIMITS, &[got[0], got[2]]);
    assert_eq!(opened(&out), (vec![got[0], got[2]], vec![]));
    let again = delivery(&out);
    assert_eq!((again.token.offset, again.attempt, again.losses), (2, 1, 0));
    assert_eq!(world.ack(got[0]), SettleOutcome::Done);
}

#[test]
pub(crate) fn p6_a_session_that_does_not_return_is_lost_and_its_events_go_to_another_at_once() {
    let mut world = World::new(config());
    world.connect(1);
    world.publish(1);
    world.disconnect(1);
    world.connect(2);
    assert_eq!(world.wait(std::time::Duration::from_millis(1_999)), []);
    let again = delivery(&world.wait(std::time::Duration::from_millis(1)));
    assert_eq!((again.session, again.attempt, again.losses), (SessionId(2), 2, 1));
}

#[test]
pub(crate) fn p6_later_losses_back_off() {
    let mut world = World::new(config());
    for (session, waits) in [(1, 0), (2, 0), (3, 1)] {
        world.connect(session);
        if session == 1 {
            world.publish(1);
        }
        world.wait(secs(waits));
        world.disconnect(session);
        if session == 2 {
            break;
        }
        world.wait(secs(2));
    }
    world.connect(9);
    assert_eq!(world.wait(secs(2)), [], "the second loss waits out a backoff");
    assert_eq!(delivery(&world.wait(secs(2))).losses, 2);
}

#[test]
pub(crate) fn p6_the_ack_deadline_runs_on_without_a_stream() {
    let mut world = World::new(waypost_delivery::Config { resume_grace: secs(100), ..config() });
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disconnect(1);
    assert_eq!(revoked(&world.wait(secs(30))), [(SessionId(1), token, RevokeReason::Expired)]);
    let out = world.connect_with(1, LIMITS, &[token]);
    assert_eq!(opened(&out), (vec![], vec![token]));
}

#[test]
pub(crate) fn p6_second_stream_replaces_the_first() {
    let mut world = World::new(config());
    world.connect(1);
    let (first, got) = (world.stream(), tokens(&world.publish(2)));
    let out = world.connect_with(1, LIMITS, &got);
    assert_eq!(closed(&out), [(StreamId(first), CloseReason::Replaced)]);
    assert_eq!(opened(&out).0, got);
    world.disconnect_stream(1, first);
    assert_eq!(offsets(&world.publish(1)), [3], "the end of the first stream is none of the second's business");
    assert_eq!(world.wait(secs(3)), []);
}

#[test]
pub(crate) fn p6_drained_sessions_get_nothing_new_and_give_back_uncounted() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(2));
    world.drain(1);
    assert_eq!(offsets(&world.publish(1)), [] as [u64; 0]);
    assert_eq!(world.ack(got[0]), SettleOutcome::Done, "what it holds may still be settled");
    world.disconnect(1);
    let out = world.connect(2);
    let again: Vec<_> = deliveries(&out).iter().map(|d| (d.token.offset, d.attempt, d.losses)).collect();
    assert_eq!(again, [(2, 1, 0), (3, 1, 0)], "at once");
}

#[test]
pub(crate) fn p6_draining_the_broker_drains_every_session() {
    let mut world = World::new(config());
    world.connect(1);
    world.connect(2);
    world.input(Input::Drain { session: None });
    assert_eq!(offsets(&world.publish(4)), [] as [u64; 0]);
}

#[test]
pub(crate) fn p6_after_a_restart_held_deliveries_are_adopted() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.crash(false);
    let out = world.connect_with(1, LIMITS, &[got[0], got[2]]);
    assert_eq!(opened(&out), (vec![got[0], got[2]], vec![]));
    assert_eq!(offsets(&out), [] as [u64; 0], "what nobody claims waits out the grace");
    assert_eq!(offsets(&world.wait(secs(2))), [2]);
    assert!(matches!(world.settle(got[0], waypost_delivery::Action::Extend { by: None }), SettleOutcome::Extended(_)));
    assert_eq!(world.ack(got[0]), SettleOutcome::Done);
    assert_eq!(world.ack(got[2]), SettleOutcome::Done);
}

/// A client may hold two deliveries of one event, when it gave the first back and was not answered before the broker ended.
#[test]
fn p3_of_two_held_deliveries_of_one_event_the_later_alone_is_adopted() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    let (_, out) = world.settle_all(first, waypost_delivery::Action::Release);
    let second = delivery(&out).token;
    world.crash(false);
    assert_eq!(opened(&world.connect_with(1, LIMITS, &[first, second])), (vec![second], vec![first]));
}

#[test]
pub(crate) fn p6_after_the_grace_of_a_restart_nothing_is_adopted() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.crash(false);
    world.wait(secs(2));
    assert_eq!(opened(&world.connect_with(1, LIMITS, &[token])), (vec![], vec![token]));
}

#[test]
pub(crate) fn p6_new_events_flow_at_once_after_a_restart() {
    let mut world = World::new(config());
    world.connect(1);
    world.publish(2);
    world.crash(false);
    world.connect(1);
    assert_eq!(offsets(&world.publish(1)), [3]);
}

#[test]
pub(crate) fn p6_of_two_claims_the_later_delivery_wins() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    world.connect(2);
    world.drain(1);
    let out = world.wait(secs(40));
    let second = delivery(&out).token;
    world.crash(false);
    assert_eq!(opened(&world.connect_with(1, LIMITS, &[first])).0, [first]);
    let out = world.connect_with(2, LIMITS, &[second]);
    assert_eq!(opened(&out).0, [second]);
    assert_eq!(revoked(&out), [(SessionId(1), first, RevokeReason::Expired)]);
    let out = world.connect_with(3, LIMITS, &[first]);
    assert_eq!(opened(&out).1, [first]);
}

#[test]
pub(crate) fn p6_adoption_keeps_to_the_limits() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.crash(false);
    let out = world.connect_with(1, SessionLimits { max_outstanding: 2, ..LIMITS }, &got);
    assert_eq!(opened(&out), (got[..2].to_vec(), got[2..].to_vec()));
}

#[test]
pub(crate) fn p6_a_settled_delivery_is_not_adopted() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.ack(got[0]);
    world.settle(got[1], reject());
    world.crash(false);
    assert_eq!(opened(&world.connect_with(1, LIMITS, &got)), (got[2..].to_vec(), got[..2].to_vec()));
}

#[test]
pub(crate) fn p6_a_session_that_cannot_take_more_is_handed_nothing() {
    let mut world = World::new(config());
    world.connect(1);
    let writable = |writable| Input::Writable { session: SessionId(1), writable };
    world.input(writable(false));
    assert_eq!(offsets(&world.publish(2)), [] as [u64; 0]);
    assert_eq!(offsets(&world.input(writable(true))), [1, 2]);
}

#[test]
pub(crate) fn p6_an_ack_on_its_way_when_its_session_is_lost_counts_once() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Holds;
    world.settle_all(token, ACK);
    world.disconnect(1);
    world.wait(secs(3));
    world.disk = Disk::Commits;
    let out = world.answer_commit(waypost_delivery::Commit::Committed);
    assert!(matches!(out[..], [Output::Settled { outcome: SettleOutcome::Done, .. }]), "{out:?}");
    assert_eq!(world.machine.status().unsettled, 0);
}
