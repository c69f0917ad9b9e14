//! Deliberate defects: each promise is broken on purpose, and some seed must notice.
//!
//! Constraint: at least one for each promise; one that no seed notices fails, for a checker that is blind proves nothing.

use waypost_broker::defect::{self, Defect as Broker};
use waypost_delivery::Defect as Machine;
use waypost_store::testing::Defect as Store;

use crate::run::run;

/// What is broken in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    None,
    Store(Store),
    Broker(Broker),
}

impl Plan {
    pub(crate) fn store(self) -> Option<Store> {
        match self {
            Self::Store(defect) => Some(defect),
            Self::None | Self::Broker(_) => None,
        }
    }

    /// For this thread, until another is switched on.
    pub(crate) fn switch_on(self) {
        defect::switch_on(match self {
            Self::Broker(defect) => Some(defect),
            Self::None | Self::Store(_) => None,
        });
    }
}

const fn machine(defect: Machine) -> Plan {
    Plan::Broker(Broker::Machine(defect))
}

/// By the promise that is broken.
const DEFECTS: [(&str, Plan); 38] = [
    ("P1", Plan::Store(Store::AnswerBeforeDurable)),
    ("P2", Plan::Broker(Broker::HubMissesPrefixes)),
    ("P2", machine(Machine::SnapshotForgetsLeased)),
    ("P3", machine(Machine::SecondLease)),
    ("P3", machine(Machine::OutstandingUnlimited)),
    ("P3", Plan::Broker(Broker::StaleFetch)),
    ("P3", Plan::Store(Store::EpochsNotRestored)),
    ("P4", machine(Machine::AnsweredBeforeCommit)),
    ("P4", machine(Machine::LateAckRefused)),
    ("P4", machine(Machine::SeekKeepsTokens)),
    ("P4", Plan::Broker(Broker::BatchFailsWhole)),
    ("P4", Plan::Broker(Broker::StreamOutOfOrder)),
    ("P5", machine(Machine::AttemptsNotPersisted)),
    ("P5", machine(Machine::DeadLetterTwice)),
    ("P5", machine(Machine::LossesNotCounted)),
    ("P5", machine(Machine::LeaseTotalIgnored)),
    ("P5", Plan::Store(Store::CommitInPart)),
    ("P6", machine(Machine::GraceIgnored)),
    ("P6", machine(Machine::SecondStreamKept)),
    ("P6", machine(Machine::AdoptionForgotten)),
    ("P6", machine(Machine::DrainCounted)),
    ("P7", Plan::Store(Store::DedupNotRestored)),
    ("P7", Plan::Broker(Broker::NoWindow)),
    ("P8", machine(Machine::KeyOrderIgnored)),
    ("P9", machine(Machine::OutputsOfSettledInput)),
    ("P9", Plan::Broker(Broker::OutputIdByChance)),
    ("P10", Plan::Broker(Broker::HopsNotCounted)),
    ("P11", Plan::Store(Store::TrimTooFar)),
    ("P11", Plan::Broker(Broker::SleepersIgnored)),
    ("P11", Plan::Store(Store::ReserveForAll)),
    ("P11", Plan::Broker(Broker::BacklogTooEager)),
    ("P11", Plan::Broker(Broker::BacklogUntold)),
    ("P11", Plan::Broker(Broker::PresenceIgnored)),
    ("P12", machine(Machine::UnsettledUnbounded)),
    ("P12", Plan::Broker(Broker::PaceOfTheSlowest)),
    ("P14", Plan::Broker(Broker::ReadSilent)),
    ("P14", machine(Machine::GapSilent)),
    ("P14", Plan::Store(Store::SilentGaps)),
];

/// Seeds that are tried for each.
const SEEDS: u64 = 12;

#[test]
fn every_defect_is_noticed_by_some_seed() {
    let mut blind = Vec::new();
    for (promise, plan) in DEFECTS {
        let found = (0..SEEDS).find_map(|seed| {
            let outcome = run(seed, 6_000, plan);
            outcome.broken.map(|broken| (seed, outcome.steps, broken))
        });
        match found {
            Some((seed, steps, broken)) => println!("{promise:4} {plan:?}: seed {seed}, step {steps}: {broken}"),
            None => blind.push((promise, plan)),
        }
    }
    assert!(blind.is_empty(), "no seed of {SEEDS} notices {blind:?}");
}

#[test]
fn p13_a_run_by_chance_is_noticed() {
    let plan = machine(Machine::JitterByChance);
    // What lies elsewhere in memory is what differs.
    let traces: std::collections::BTreeSet<u64> = (0..4_usize)
        .map(|round| {
            let _elsewhere = vec![0_u8; 1_000_003 * round];
            run(1, 400, plan).trace
        })
        .collect();
    assert!(traces.len() > 1, "waits by chance, and every run went the same way");
}
