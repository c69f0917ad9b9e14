//! P11 and P12: what is read, when not, and what a loss does; and how filters follow each other.

use waypost_delivery::{
    Candidate, Commit, Config, Input, NotDone, Output, Record, Refusal, RevokeReason, SessionId, SessionLimits, SettleOutcome,
};

use crate::world::*;

#[test]
pub(crate) fn p12_nothing_is_read_that_nobody_can_take() {
    let mut world = World::new(config());
    world.publish(100);
    assert!(world.seen.is_empty(), "nobody is there");
    world.connect_with(1, SessionLimits { max_outstanding: 3, ..LIMITS }, &[]);
    let limits: Vec<_> =
        world.seen.iter().filter_map(|output| if let Output::Read(read) = output { Some(read.limit) } else { None }).collect();
    assert_eq!(limits, [3]);
    assert_eq!(world.machine.status().unsettled, 3);
}

#[test]
pub(crate) fn p12_at_the_bound_nothing_more_is_read_and_it_says_so() {
    let mut world = World::new(Config { max_unsettled: 5, ..config() });
    world.connect(1);
    let got = tokens(&world.publish(10));
    assert_eq!(got.len(), 5);
    assert!(world.machine.status().full);
    for token in &got[..2] {
        world.settle(*token, nack());
    }
    assert_eq!(world.machine.status().unsettled, 5, "what backs off takes room too");
    assert_eq!(offsets(&world.settle_all(got[4], ACK).1), [6]);
}

#[test]
pub(crate) fn p12_an_answer_that_is_too_long_is_taken_as_far_as_there_is_room() {
    let mut world = World::new(Config { max_unsettled: 2, ..config() });
    world.connect(1);
    let read = world.read.expect("a standing read");
    let events = (1..=5).map(|offset| Candidate { offset, bytes: 1, key: None }).collect();
    let out = world.input(Input::Candidates { read, events, next: 6, gaps: vec![] });
    assert_eq!(offsets(&out), [1, 2]);
    assert_eq!(world.machine.status().frontier, 3);
}

#[test]
fn an_answer_to_an_earlier_read_is_ignored() {
    let mut world = World::new(config());
    world.connect(1);
    let read = world.read.expect("a standing read");
    world.update(1, config(), b"other");
    let events = vec![Candidate { offset: 1, bytes: 1, key: None }];
    assert_eq!(world.input(Input::Candidates { read, events, next: 2, gaps: vec![] }), []);
    assert_eq!(world.machine.status().frontier, 1);
}

#[test]
pub(crate) fn p11_a_loss_is_recorded_before_it_is_passed() {
    let mut world = World::new(config());
    world.publish(5);
    world.lost = vec![(2, 4)];
    world.disk = Disk::Holds;
    assert_eq!(offsets(&world.connect(1)), [] as [u64; 0]);
    assert_eq!(world.machine.status().frontier, 1, "the frontier waits");
    world.disk = Disk::Commits;
    let out = world.answer_commit(Commit::Committed);
    assert!(out.contains(&Output::Gap { from: 2, to: 4 }));
    assert_eq!(offsets(&out), [1, 4, 5]);
    assert_eq!(world.plans.len(), 1, "told once, though the store reports it again");
}

#[test]
pub(crate) fn p11_a_loss_that_was_refused_is_tried_again() {
    let mut world = World::new(config());
    world.publish(5);
    world.lost = vec![(2, 4)];
    world.disk = Disk::Refuses;
    world.connect(1);
    world.wait(secs(3));
    world.disk = Disk::Commits;
    let out = world.wait(secs(1));
    assert_eq!(offsets(&out), [1, 4, 5]);
}

#[test]
pub(crate) fn p11_every_loss_in_one_answer_is_told() {
    let mut world = World::new(config());
    world.publish(7);
    world.lost = vec![(2, 4), (5, 6)];
    let out = world.connect(1);
    let gaps: Vec<_> = out.iter().filter(|output| matches!(output, Output::Gap { .. })).cloned().collect();
    assert_eq!(gaps, [Output::Gap { from: 2, to: 4 }, Output::Gap { from: 5, to: 6 }]);
    assert_eq!(offsets(&out), [1, 4, 6, 7]);
}

#[test]
pub(crate) fn p4_whoever_settles_while_a_loss_cannot_be_recorded_is_told() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(2));
    world.disk = Disk::Refuses;
    world.input(Input::Gap { from: 1, to: 2 });
    assert_eq!(world.ack(got[1]), SettleOutcome::Unavailable);
    assert_eq!(world.administer(|request| Input::Pause { request, paused: true }).0, Err(NotDone::Unavailable));
    world.disk = Disk::Commits;
    assert_eq!(world.ack(got[1]), SettleOutcome::Done, "and its wish is tried at once");
    assert_eq!(world.ack(got[0]), SettleOutcome::AlreadySettled);
}

#[test]
pub(crate) fn p11_a_loss_of_what_is_just_being_settled_is_none() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Holds;
    world.settle_all(token, ACK);
    world.input(Input::Gap { from: 1, to: 2 });
    world.disk = Disk::Commits;
    let out = world.answer_commit(Commit::Committed);
    assert!(matches!(out[..], [Output::Settled { outcome: SettleOutcome::Done, .. }]), "{out:?}");
}

#[test]
pub(crate) fn p11_a_loss_ends_the_leases_in_it_and_spares_the_dead_letters() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.settle(got[0], reject());
    assert_eq!(world.redrive(&[1]).0, Ok(vec![1]));
    let out = world.input(Input::Gap { from: 1, to: 3 });
    assert_eq!(revoked(&out), [(SessionId(1), got[1], RevokeReason::Gone)]);
    assert!(out.contains(&Output::Gap { from: 2, to: 3 }), "what the subscription still needed of it: {out:?}");
    assert_eq!(world.machine.status().leased, 2, "the redriven one and the third");
    assert_eq!(world.input(Input::Gap { from: 1, to: 3 }), [], "nothing new");
}

#[test]
pub(crate) fn p11_a_loss_survives_a_restart() {
    let mut world = World::new(config());
    world.publish(5);
    world.lost = vec![(2, 4)];
    world.connect(1);
    world.crash(false);
    let mut out = world.connect(1);
    out.extend(world.wait(secs(3)));
    assert_eq!(offsets(&out), [1, 4, 5]);
    assert!(!out.iter().any(|output| matches!(output, Output::Gap { .. })), "told once");
}

#[test]
pub(crate) fn p11_the_floor_holds_what_is_unsettled_and_what_was_not_read() {
    let mut world = World::new(config());
    assert_eq!(world.machine.floor(), 1);
    world.connect(1);
    let got = tokens(&world.publish(3));
    assert_eq!(world.machine.floor(), 1);
    world.ack(got[0]);
    assert_eq!(world.machine.floor(), 2);
    world.settle(got[1], reject());
    world.ack(got[2]);
    assert_eq!(world.machine.floor(), 4);
    assert_eq!(world.redrive(&[2]).0, Ok(vec![2]));
    assert_eq!(world.machine.floor(), 4, "dead letters have their own copy");
}

#[test]
fn a_new_filter_decides_from_its_offset_on() {
    let mut world = World::new(config());
    world.publish(6);
    world.update(4, config(), b"other");
    world.connect(1);
    let reads = world.seen.iter().filter_map(|output| if let Output::Read(read) = output { Some(*read) } else { None });
    let reads: Vec<_> = reads.map(|read| (read.from, read.until, read.filter)).collect();
    assert_eq!(reads[..2], [(1, Some(4), 0), (4, None, 1)]);
    assert_eq!(world.machine.filters().collect::<Vec<_>>(), [(1, 4, b"other".as_slice())], "the first has nothing left to decide");
    world.crash(false);
    assert_eq!(world.machine.filters().count(), 2, "a restart may have to read it again");
}

#[test]
fn a_filter_cannot_change_what_was_examined() {
    let mut world = World::new(config());
    world.connect(1);
    world.publish(3);
    let (told, _) = world.administer(|request| Input::Update { request, from: 1, config: config(), filter: b"other".to_vec() });
    assert_eq!(told, Ok(vec![4]));
    assert_eq!(world.machine.filters().collect::<Vec<_>>(), [(1, 4, b"other".as_slice())]);
    assert!(world.recorded(|record| matches!(record, Record::Updated { from: 4, .. })) == 1);
}

#[test]
pub(crate) fn p12_pending_filters_are_bounded() {
    let mut world = World::new(config());
    let mut refused = 0;
    for number in 0_u8..100 {
        let (result, _) = world.administer(|request| Input::Update { request, from: 10, config: config(), filter: vec![number] });
        refused += usize::from(result == Err(NotDone::TooManyFilters));
    }
    assert_eq!((refused, world.machine.filters().count()), (68, 33));
    world.seek(1);
    assert_eq!(world.machine.filters().count(), 1, "a seek leaves the newest");
}

#[test]
pub(crate) fn p2_a_snapshot_that_was_refused_is_tried_again() {
    let mut world = World::new(config());
    world.connect(1);
    let got = tokens(&world.publish(3));
    world.ack(got[0]);
    while world.plans.iter().all(|plan| !plan.supersede) {
        world.disk = Disk::Holds;
        world.administer_held(|request| Input::Pause { request, paused: false });
        if world.in_flight.as_ref().is_some_and(|plan| plan.supersede) {
            world.answer_commit(Commit::Refused(Refusal::Unavailable));
            break;
        }
        world.disk = Disk::Commits;
        world.answer_commit(Commit::Committed);
    }
    world.disk = Disk::Commits;
    world.wait(secs(2));
    assert_eq!(world.records.len(), 1, "it is durable now");
    world.crash(false);
    world.connect(2);
    assert_eq!(offsets(&world.wait(secs(3))), [2, 3]);
}
