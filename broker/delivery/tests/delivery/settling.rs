//! P4 and P9: every settlement is answered once it is durable, with the outputs that go with it.

use waypost_delivery::{
    Action, Commit, Config, Input, Output, Record, Refusal, RevokeReason, SessionId, SessionLimits, SettleOutcome, Settlement, Token,
};

use crate::world::*;

#[test]
pub(crate) fn p4_nothing_is_answered_before_it_is_durable() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Holds;
    assert_eq!(world.settle_all(token, ACK).0, None);
    let out = world.answer_commit(Commit::Committed);
    assert!(matches!(out[..], [Output::Settled { outcome: SettleOutcome::Done, .. }]), "{out:?}");
}

#[test]
pub(crate) fn p4_settling_twice_is_harmless_and_says_so() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    assert_eq!(world.ack(token), SettleOutcome::Done);
    assert_eq!(world.ack(token), SettleOutcome::AlreadySettled);
    assert_eq!(world.settle(token, nack()), SettleOutcome::AlreadySettled);
    world.crash(false);
    assert_eq!(world.ack(token), SettleOutcome::AlreadySettled, "also after a restart");
}

#[test]
pub(crate) fn p4_settling_twice_in_one_batch_decides_once() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    let request = world.request();
    let settlements = vec![Settlement { token, action: ACK }, Settlement { token, action: nack() }];
    let out = world.input(Input::Settle { request, settlements });
    let answer = |index, outcome| Output::Settled { request, index, outcome };
    assert_eq!(out, [answer(0, SettleOutcome::Done), answer(1, SettleOutcome::AlreadySettled)]);
}

#[test]
pub(crate) fn p4_one_bad_id_does_not_fail_the_others() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    let request = world.request();
    let bad = [
        Token { incarnation: 1, ..token },
        Token { seek: 9, ..token },
        Token { epoch: 9, ..token },
        Token { delivery: 99, ..token },
        Token { delivery: 0, ..token },
        Token { offset: 99, delivery: 1, ..token },
    ];
    let settlements = bad.into_iter().chain([token]).map(|token| Settlement { token, action: ACK }).collect();
    let out = world.input(Input::Settle { request, settlements });
    let outcomes = (0..7).map(|index| {
        let is = |output: &&Output| matches!(output, Output::Settled { index: of, .. } if *of == index);
        let Some(Output::Settled { outcome, .. }) = out.iter().find(is) else { panic!("no answer to {index}") };
        *outcome
    });
    assert_eq!(outcomes.collect::<Vec<_>>(), [vec![SettleOutcome::Stale; 6], vec![SettleOutcome::Done]].concat());
}

#[test]
pub(crate) fn p4_late_ack_is_accepted() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    let out = world.wait(secs(30));
    assert_eq!(revoked(&out), [(SessionId(1), token, RevokeReason::Expired)]);
    assert_eq!(world.ack(token), SettleOutcome::Done);
    assert_eq!(offsets(&world.wait(secs(1_000))), [] as [u64; 0]);
}

#[test]
pub(crate) fn p4_late_ack_takes_the_event_from_its_new_holder() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    let again = delivery(&world.wait(secs(35))).token;
    let (answer, out) = world.settle_all(first, ACK);
    assert_eq!(answer, Some(SettleOutcome::Done));
    assert_eq!(revoked(&out), [(SessionId(1), again, RevokeReason::SettledElsewhere)]);
    assert_eq!(world.ack(again), SettleOutcome::AlreadySettled);
}

#[test]
pub(crate) fn p4_late_reject_is_accepted() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    let again = delivery(&world.wait(secs(35))).token;
    let (answer, out) = world.settle_all(first, reject());
    assert_eq!(answer, Some(SettleOutcome::Done));
    assert_eq!(revoked(&out), [(SessionId(1), again, RevokeReason::SettledElsewhere)]);
    assert_eq!(world.machine.status().dead_letters, 1);
}

#[test]
pub(crate) fn p4_late_nack_release_and_extend_are_stale() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    let again = delivery(&world.wait(secs(35))).token;
    for action in [nack(), Action::Release, Action::Extend { by: None }] {
        assert_eq!(world.settle(first, action), SettleOutcome::Stale);
    }
    assert_eq!(world.ack(again), SettleOutcome::Done, "its holder was not disturbed");
}

#[test]
pub(crate) fn p4_ack_of_a_dead_letter_says_so() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    assert_eq!(world.settle(token, reject()), SettleOutcome::Done);
    assert_eq!(world.ack(token), SettleOutcome::DeadLettered);
    world.crash(false);
    assert_eq!(world.ack(token), SettleOutcome::DeadLettered);
}

#[test]
pub(crate) fn p4_after_a_restart_an_ack_settles_what_was_not_read_again() {
    let mut world = World::new(config());
    world.connect(1);
    let out = world.publish(3);
    world.crash(false);
    assert_eq!(world.settle(tokens(&out)[1], nack()), SettleOutcome::Stale);
    assert_eq!(world.settle(tokens(&out)[1], Action::Extend { by: None }), SettleOutcome::Stale);
    assert_eq!(world.ack(tokens(&out)[1]), SettleOutcome::Done);
    assert_eq!(world.ack(tokens(&out)[1]), SettleOutcome::AlreadySettled);
    assert_eq!(world.settle(tokens(&out)[2], reject()), SettleOutcome::Done);
    world.connect(2);
    assert_eq!(offsets(&world.wait(secs(3))), [1]);
}

#[test]
pub(crate) fn p4_an_event_is_not_read_again_while_its_late_ack_is_on_its_way() {
    let mut world = World::new(config());
    world.connect(1);
    let out = world.publish(3);
    world.crash(false);
    world.disk = Disk::Holds;
    assert_eq!(world.settle_all(tokens(&out)[1], ACK).0, None);
    world.connect(2);
    assert_eq!(offsets(&world.wait(secs(3))), [1], "not beyond it");
    world.disk = Disk::Commits;
    assert_eq!(offsets(&world.answer_commit(Commit::Committed)), [3]);
}

#[test]
pub(crate) fn p4_release_gives_back_uncounted() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1)).token;
    let (answer, out) = world.settle_all(first, Action::Release);
    assert_eq!(answer, Some(SettleOutcome::Done));
    let again = delivery(&out);
    assert_eq!((again.token.offset, again.attempt), (1, 1));
    assert_ne!(again.token, first);
    assert!(world.plans.is_empty(), "nothing durable changed");
}

#[test]
pub(crate) fn p4_extend_prolongs_and_never_shortens() {
    let mut world = World::new(config());
    world.connect(1);
    let first = delivery(&world.publish(1));
    world.wait(secs(20));
    assert_eq!(world.settle(first.token, Action::Extend { by: Some(secs(1)) }), SettleOutcome::Extended(first.deadline));
    assert_eq!(world.settle(first.token, Action::Extend { by: None }), SettleOutcome::Extended(world.now + secs(30)));
    assert_eq!(revoked(&world.wait(secs(29))), []);
    assert_eq!(revoked(&world.wait(secs(1))).len(), 1);
}

#[test]
pub(crate) fn p4_a_refused_settlement_changes_nothing() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Refuses;
    for action in [ACK, nack(), reject()] {
        assert_eq!(world.settle(token, action), SettleOutcome::Unavailable);
    }
    assert!(matches!(world.settle(token, Action::Extend { by: None }), SettleOutcome::Extended(_)), "the lease goes on");
    world.disk = Disk::Commits;
    assert_eq!(world.ack(token), SettleOutcome::Done);
}

#[test]
pub(crate) fn p4_a_lease_that_ended_while_its_settlement_was_refused_expires() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Holds;
    world.settle_all(token, ACK);
    assert_eq!(world.wait(secs(31)), [], "no clock runs while it is decided");
    world.disk = Disk::Commits;
    let out = world.answer_commit(Commit::Refused(Refusal::Unavailable));
    assert_eq!(revoked(&out), [(SessionId(1), token, RevokeReason::Expired)]);
}

#[test]
pub(crate) fn p4_whoever_waits_for_a_refused_decision_is_told() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    world.disk = Disk::Refuses;
    world.wait(secs(30));
    assert_eq!(world.ack(token), SettleOutcome::Unavailable, "its expiry is not durable yet");
    world.disk = Disk::Commits;
    assert_eq!(world.ack(token), SettleOutcome::Done, "and is tried at once when somebody waits for it");
}

#[test]
pub(crate) fn p4_what_is_decided_meanwhile_goes_into_the_next_commit() {
    let mut world = World::new(config());
    world.connect(1);
    let out = world.publish(5);
    world.disk = Disk::Holds;
    for token in tokens(&out) {
        world.settle_all(token, ACK);
    }
    world.disk = Disk::Commits;
    world.answer_commit(Commit::Committed);
    let settled: Vec<_> = world.plans.iter().map(|plan| plan.records.clone()).collect();
    assert_eq!(settled, [vec![Record::Settled(vec![1])], vec![Record::Settled(vec![2, 3, 4, 5])]]);
}

#[test]
pub(crate) fn p9_outputs_go_with_the_settlement_that_settles_and_no_other() {
    let mut world = World::new(config());
    world.connect(1);
    let token = delivery(&world.publish(1)).token;
    let with_outputs = Action::Ack { outputs: 2, output_bytes: 500 };
    assert_eq!(world.settle(token, with_outputs.clone()), SettleOutcome::Done);
    assert_eq!(world.settle(token, with_outputs), SettleOutcome::AlreadySettled);
    assert_eq!(world.plans.iter().map(|plan| plan.completions.len()).sum::<usize>(), 1);
}

#[test]
pub(crate) fn p9_a_refused_output_is_told_to_its_completion_alone() {
    let mut world = World::new(config());
    world.connect(1);
    let out = world.publish(4);
    world.disk = Disk::Holds;
    let with_outputs = Action::Ack { outputs: 1, output_bytes: 10 };
    world.settle_all(tokens(&out)[0], ACK);
    world.settle_all(tokens(&out)[1], with_outputs.clone());
    world.settle_all(tokens(&out)[2], with_outputs);
    world.settle_all(tokens(&out)[3], nack());
    world.answer_commit(Commit::Committed);
    world.disk = Disk::Commits;
    let answered = world.answer_commit(Commit::Refused(Refusal::Output { completion: 1 }));
    let outcomes: Vec<_> =
        answered.iter().filter_map(|output| if let Output::Settled { outcome, .. } = output { Some(*outcome) } else { None }).collect();
    assert_eq!(outcomes, [SettleOutcome::OutputRefused, SettleOutcome::Done, SettleOutcome::Done]);
    assert_eq!(world.machine.status().unsettled, 2, "the refused one and the nacked one");
    assert_eq!(world.ack(tokens(&out)[2]), SettleOutcome::Done, "nothing was settled");
}

#[test]
fn commits_are_bounded_in_items_and_in_bytes() {
    let mut world = World::new(Config { max_outstanding: 5_000, max_unsettled: 5_000, ..config() });
    world.connect_with(1, SessionLimits { max_outstanding: 5_000, ..LIMITS }, &[]);
    let out = world.publish(200);
    world.disk = Disk::Holds;
    for (index, token) in tokens(&out).into_iter().enumerate() {
        let outputs = if index % 2 == 0 { 20 } else { 1 };
        world.settle_all(token, Action::Ack { outputs, output_bytes: 200_000 });
    }
    world.disk = Disk::Commits;
    world.answer_commit(Commit::Committed);
    assert_eq!(world.machine.status().unsettled, 0);
    let most = world.plans.iter().map(|plan| plan.completions.len()).max().unwrap();
    assert_eq!(most, 15, "3 MiB of outputs");
}
