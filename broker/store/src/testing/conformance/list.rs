//! The list of all checks, written once: as data, and as one test each.

use super::{Broken, StoreFactory};
use crate::contract::BoxFuture;

/// A check by its name.
pub struct Check {
    /// The module and the name.
    pub name: &'static str,
    /// Runs it.
    pub run: for<'a> fn(&'a dyn StoreFactory) -> BoxFuture<'a, Result<(), Broken>>,
}

/// Hands the list of all checks, by module, to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_checks {
    ([$($then:tt)*] $($with:tt)*) => {
        $($then)*! {
            { $($with)* }
            order {
                a_new_store_is_empty events_come_back_in_their_order accepted_at_never_goes_back the_tail_is_what_can_be_read
                an_answered_write_is_visible_at_once many_appenders_share_one_order a_dropped_write_harms_nobody
            }
            dedup {
                a_duplicate_is_stored_once an_identity_is_source_and_id duplicates_are_found_after_reopening a_window_ends
                without_a_window_there_are_no_duplicates ids_outlive_their_events dedup_since_tells_what_is_remembered
                one_of_many_at_once_is_first a_duplicate_waits_for_the_first
            }
            commit {
                an_answered_commit_is_whole a_crash_never_splits_a_commit a_crash_never_splits_an_append
                a_conflict_refuses_the_whole_commit a_conflict_within_one_commit_is_one records_need_a_claim
                errors_come_in_their_order
            }
            claim {
                records_come_back_in_order epochs_only_rise an_earlier_claim_is_fenced a_claim_is_of_one_name
                supersede_replaces_the_records of_many_claims_at_once_the_highest_holds
            }
            read {
                every_selection_finds_its_events limits_cut_a_read_and_lose_nothing an_event_beyond_the_limit_is_returned_alone
                offset_at_is_the_first_at_or_after
            }
            rows { a_scan_is_in_key_order changes_apply_in_order tables_do_not_mix a_large_row_comes_back }
            room {
                a_full_store_drains_and_resumes the_reserve_ends_at_the_cap what_is_too_large_is_named a_row_too_large_is_named
            }
            trim { a_trim_takes_whole_segments_and_no_more a_trim_over_reopening segments_cover_the_log damage_is_a_gap }
            random { random_histories_agree_with_the_model }
        }
    };
}

macro_rules! table {
    ({} $($module:ident { $($check:ident)+ })+) => {
        /// Every check.
        pub const CHECKS: &[Check] = &[$($(Check {
            name: concat!(stringify!($module), "::", stringify!($check)),
            run: |factory| Box::pin(super::$module::$check(factory)),
        },)+)+];
    };
}

__conformance_checks!([table]);

/// Makes a test of every check, for the engine of a factory: an expression that is evaluated in each test.
#[macro_export]
macro_rules! conformance_tests {
    ($factory:expr) => {
        $crate::__conformance_checks! { [$crate::__conformance_test] $factory }
    };
}

/// One module of tests per module of checks.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_test {
    (@module $factory:tt $module:ident { $($check:ident)+ }) => {
        mod $module {
            #[allow(unused_imports, reason = "the factory's expression may need them")]
            use super::*;
            $($crate::__conformance_test! { @test $factory $module $check })+
        }
    };
    (@test $factory:tt $module:ident $check:ident) => {
        #[tokio::test]
        async fn $check() -> Result<(), $crate::testing::conformance::Broken> {
            let factory = $factory;
            $crate::testing::conformance::$module::$check(&factory).await
        }
    };
    ($factory:tt $($module:ident $checks:tt)+) => {
        $($crate::__conformance_test! { @module $factory $module $checks })+
    };
}
