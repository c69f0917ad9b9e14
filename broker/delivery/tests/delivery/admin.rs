//! Pause, seek, redrive, discard, delete; and P8.

use waypost_delivery::{CloseReason, Commit, Config, Input, NotDone, Output, Record, RevokeReason, SessionId, SettleOutcome, StreamId};

use crate::world::*;

#[test]
fn a_paused_subscription_hands_out_nothing_and_settles_on() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.pause(true);
    assert_eq!(offsets(&world.publish(2)), [] as [u64; 0]);
    assert_eq!(world.ack(token), SettleOutcome::Done);
    world.crash(false);
    world.connect(1);
    assert_eq!(offsets(&world.wait(secs(3))), [] as [u64; 0], "also after a restart");
    assert_eq!(offsets(&world.pause(false)), [2, 3]);
}

#[test]
pub(crate) fn p4_after_a_seek_earlier_deliveries_settle_nothing() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.ack(got[0]);
    let out = world.seek(1);
    assert_eq!(revoked(&out), [(SessionId(1), got[1], RevokeReason::Sought), (SessionId(1), got[2], RevokeReason::Sought)]);
    assert_eq!(offsets(&out), [1, 2, 3], "everything again");
    assert_eq!(world.ack(got[1]), SettleOutcome::Stale);
    world.crash(false);
    let out = world.connect_with(1, LIMITS, &got);
    assert_eq!(opened(&out).1, got, "nor are they adopted");
}

#[test]
pub(crate) fn p2_a_settlement_that_came_after_a_seek_does_not_settle_what_comes_after_it() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(2));
    world.disk = Disk::Holds;
    world.administer_held(|request| Input::Seek { request, to: 1 });
    world.settle_all(got[0], ACK);
    world.wait(secs(40));
    world.disk = Disk::Commits;
    let out = world.answer_commit(Commit::Committed);
    assert!(out.iter().any(|output| matches!(output, Output::Settled { outcome: SettleOutcome::Stale, .. })));
    assert_eq!(offsets(&out), [1, 2]);
    assert_eq!(world.recorded(|record| matches!(record, Record::Settled(_) | Record::Failed(_))), 0);
}

#[test]
fn a_refused_seek_changes_nothing() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Refuses;
    assert_eq!(world.administer(|request| Input::Seek { request, to: 1 }).0, Err(NotDone::Unavailable));
    world.disk = Disk::Commits;
    assert_eq!(world.ack(token), SettleOutcome::Done);
}

#[test]
pub(crate) fn p5_a_redriven_dead_letter_has_a_fresh_count_and_never_moves_the_frontier() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.settle(got[0], reject());
    let (result, out) = world.redrive(&[1, 1, 2, 99]);
    assert_eq!(result, Ok(vec![1]));
    let again = delivery(&out);
    assert_eq!((again.token.offset, again.attempt, again.redriven), (1, 1, true));
    assert_eq!((world.machine.status().frontier, world.machine.status().dead_letters), (4, 0));
    assert_eq!(world.redrive(&[1]).0, Ok(vec![]), "it is on its way");
    assert_eq!(world.discard(&[1]), Ok(vec![]));
    world.crash(false);
    world.connect(2);
    let out = world.wait(secs(3));
    let again = deliveries(&out)[0];
    assert_eq!((again.token.offset, again.redriven), (1, true), "it is on its way after a restart as well");
    world.ack(again.token);
    assert_eq!(world.plans.last().unwrap().ended_dead_letters, [1]);
    assert_eq!(world.ack(again.token), SettleOutcome::AlreadySettled, "it is no dead letter any more");
}

#[test]
pub(crate) fn p5_a_redriven_dead_letter_that_fails_again_is_a_dead_letter_again() {
    let mut world = World::new(config());
    world.connect(1);
    world.publish(1);
    world.wait(secs(600));
    assert_eq!(world.redrive(&[1]).0, Ok(vec![1]));
    world.wait(secs(600));
    assert_eq!(world.machine.status().dead_letters, 1);
    assert_eq!(world.recorded(|record| matches!(record, Record::DeadLettered(_))), 2);
    assert_eq!(world.recorded(|record| matches!(record, Record::Failed(_))), 6, "three before each end");
}

#[test]
pub(crate) fn p3_a_claim_granted_while_a_redrive_is_decided_keeps_its_lease() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    world.settle(first, reject());
    let second = delivery(&world.seek(1)).token;
    world.crash(false);
    world.disk = Disk::Holds;
    let events = world.events.clone();
    world.administer_held(|request| Input::Redrive { request, events });
    assert_eq!(opened(&world.connect_with(1, LIMITS, &[second])).0, [second]);
    world.disk = Disk::Commits;
    assert_eq!(offsets(&world.answer_commit(Commit::Committed)), [] as [u64; 0], "it has its holder");
    assert_eq!(world.ack(second), SettleOutcome::Done);
    assert_eq!((world.machine.status().dead_letters, world.machine.status().unsettled), (0, 0));
}

#[test]
fn redriven_dead_letters_outlive_a_seek() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.settle(got[0], reject());
    assert_eq!(world.redrive(&[1]).0, Ok(vec![1]));
    let out = world.seek(4);
    assert_eq!(offsets(&out), [1]);
    assert!(deliveries(&out)[0].redriven);
}

#[test]
fn discarded_dead_letters_are_gone() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(2));
    world.settle(got[0], reject());
    assert_eq!(world.discard(&[1, 2]), Ok(vec![1]));
    assert_eq!(world.plans.last().unwrap().ended_dead_letters, [1]);
    assert_eq!(world.ack(got[0]), SettleOutcome::AlreadySettled);
    assert_eq!(world.redrive(&[1]).0, Ok(vec![]));
}

#[test]
fn a_deleted_subscription_closes_its_streams_and_answers_everybody() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Holds;
    world.administer_held(|request| Input::Delete { request });
    world.settle_all(token, ACK);
    world.administer_held(|request| Input::Seek { request, to: 1 });
    world.disk = Disk::Commits;
    let out = world.answer_commit(Commit::Committed);
    assert_eq!(closed(&out), [(StreamId(1), CloseReason::Deleted)]);
    assert!(out.iter().any(|output| matches!(output, Output::Settled { outcome: SettleOutcome::Stale, .. })));
    assert!(out.iter().any(|output| matches!(output, Output::Done { result: Err(NotDone::Deleted), .. })));
    assert_eq!(closed(&world.connect(2)).len(), 1);
    assert_eq!(world.machine.next_timeout(), None);
    let records = world.records.iter().map(Vec::as_slice);
    assert!(waypost_delivery::Subscription::restore(world.now, 9, 2, records).unwrap().is_none());
}

#[test]
pub(crate) fn p8_one_delivery_per_key_in_offset_order_through_backoff_and_dead_letter() {
    let mut world = World::new(Config { ordered: true, ..config() });
    world.connect(1);
    let keys = [Some(7), Some(7), Some(8), None, Some(7)];
    let out: Vec<_> = keys.into_iter().flat_map(|key| world.publish_event(100, key)).collect();
    assert_eq!(offsets(&out), [1, 3, 4], "the first of each key, and what has none");
    let head = tokens(&out)[0];
    assert_eq!(offsets(&world.settle_all(head, nack()).1), [] as [u64; 0], "a failing head blocks its key");
    let head = delivery(&world.wait(secs(2))).token;
    assert_eq!(head.offset, 1);
    let out = world.settle_all(head, reject()).1;
    assert_eq!(offsets(&out), [2], "its end as a dead letter does not");
    assert_eq!(offsets(&world.settle_all(delivery(&out).token, ACK).1), [5]);
}

#[test]
pub(crate) fn p8_what_waits_behind_its_key_is_counted_apart_from_what_backs_off() {
    let mut world = World::new(Config { ordered: true, ..config() });
    world.connect(1);
    let keys = [Some(7), Some(7), Some(8), None, Some(7)];
    let out: Vec<_> = keys.into_iter().flat_map(|key| world.publish_event(100, key)).collect();
    let counts = |world: &World| {
        let status = world.machine.status();
        (status.unsettled, status.leased, status.ready, status.blocked)
    };
    assert_eq!(counts(&world), (5, 3, 0, 2));
    world.settle(tokens(&out)[0], nack());
    assert_eq!(counts(&world), (5, 2, 0, 2), "the head backs off");
    let head = delivery(&world.wait(secs(2))).token;
    world.settle(head, ACK);
    assert_eq!(counts(&world), (4, 3, 0, 1), "the next of its key follows");
}

#[test]
pub(crate) fn p8_a_redriven_dead_letter_waits_for_its_key() {
    let mut world = World::new(Config { ordered: true, ..config() });
    world.connect(1);
    let first = delivery(&world.publish_event(100, Some(7))).token;
    world.settle(first, reject());
    let second = delivery(&world.publish_event(100, Some(7))).token;
    let event = world.events[0];
    let (_, out) = world.administer(|request| Input::Redrive { request, events: vec![event] });
    assert_eq!(offsets(&out), [] as [u64; 0]);
    assert_eq!(offsets(&world.settle_all(second, ACK).1), [1]);
}

#[test]
pub(crate) fn p8_keys_may_be_put_in_order_later() {
    let mut world = World::new(config());
    world.connect(1);
    world.publish_event(100, Some(7));
    world.update(1, Config { ordered: true, ..config() }, b"all");
    assert_eq!(offsets(&world.publish_event(100, Some(7))), [] as [u64; 0]);
}
