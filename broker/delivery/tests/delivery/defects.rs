//! Every deliberate defect is noticed: by the test that bears its promise's name, and, where a random history can show it, by the model.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use waypost_delivery::Defect;

use crate::{admin, failures, histories, holding, reading, sessions, settling, world::DEFECT};

/// Whether the test fails with the defect. What it prints about that is no news.
fn is_noticed(defect: Defect, test: impl FnOnce()) -> bool {
    DEFECT.set(Some(defect));
    let result = catch_unwind(AssertUnwindSafe(test));
    DEFECT.set(None);
    result.is_err()
}

#[test]
fn every_defect_is_noticed_by_the_test_of_its_promise() {
    for defect in Defect::ALL {
        let test: fn() = match defect {
            Defect::SnapshotForgetsLeased => holding::p2_what_was_not_settled_comes_again_after_a_snapshot_and_a_restart,
            Defect::SecondLease => holding::p3_one_lease_at_a_time,
            Defect::OutstandingUnlimited => holding::p3_no_session_and_no_subscription_holds_more_than_its_limit,
            Defect::AnsweredBeforeCommit => settling::p4_nothing_is_answered_before_it_is_durable,
            Defect::LateAckRefused => settling::p4_late_ack_is_accepted,
            Defect::SeekKeepsTokens => admin::p4_after_a_seek_earlier_deliveries_settle_nothing,
            Defect::AttemptsNotPersisted => failures::p5_attempts_survive_a_restart,
            Defect::DeadLetterTwice => failures::p5_nacks_back_off_exponentially_and_end_as_a_dead_letter,
            Defect::LossesNotCounted => failures::p5_an_agent_that_dies_of_an_event_gets_it_no_more_than_max_losses_times,
            Defect::LeaseTotalIgnored => failures::p5_no_lease_outlives_its_total,
            Defect::GraceIgnored => sessions::p6_within_the_grace_held_deliveries_go_on_and_the_others_come_again_uncounted,
            Defect::SecondStreamKept => sessions::p6_second_stream_replaces_the_first,
            Defect::AdoptionForgotten => sessions::p6_after_a_restart_held_deliveries_are_adopted,
            Defect::DrainCounted => sessions::p6_drained_sessions_get_nothing_new_and_give_back_uncounted,
            Defect::KeyOrderIgnored => admin::p8_one_delivery_per_key_in_offset_order_through_backoff_and_dead_letter,
            Defect::OutputsOfSettledInput => settling::p9_outputs_go_with_the_settlement_that_settles_and_no_other,
            Defect::GapSilent => reading::p11_a_loss_is_recorded_before_it_is_passed,
            Defect::UnsettledUnbounded => reading::p12_at_the_bound_nothing_more_is_read_and_it_says_so,
            Defect::JitterByChance => failures::p13_the_same_history_backs_off_for_the_same_time,
        };
        test();
        assert!(is_noticed(defect, test), "{defect:?} is not noticed");
    }
}

#[test]
fn every_defect_that_a_history_shows_is_noticed_by_the_model() {
    // The model does not demand that a claim is granted, and one history alone does not show chance.
    let is_shown = |defect: &Defect| !matches!(defect, Defect::AdoptionForgotten | Defect::JitterByChance);
    for defect in Defect::ALL.into_iter().filter(is_shown) {
        let mut runner = TestRunner::deterministic();
        let history = histories::history();
        let noticed = (0..5_000).any(|_| {
            let history = history.new_tree(&mut runner).unwrap().current();
            is_noticed(defect, || drop(histories::run(history)))
        });
        assert!(noticed, "{defect:?} is not noticed");
    }
}
