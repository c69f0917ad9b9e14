//! What the runs went through.
//!
//! Constraint: a counter that stays at zero over all seeds fails, with its name: a simulation that never does a thing proves nothing
//! about it.

use std::collections::BTreeMap;

macro_rules! counters {
    ($($name:ident),* $(,)?) => {
        /// One thing that can happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Seen { $($name),* }

        impl Seen {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

counters! {
    // Publishing.
    Published, Duplicate, DuplicateAfterUnknown, WindowOver, Conflict, PublishRefusedFull, PublishUnknown, PublishedInStream,
    RefusedInStream,
    // Deliveries.
    Delivered, Redelivered, Attempts3, Redriven, OrderedDelivery, Gap, Revoked, RevokedExpired, RevokedSettled, RevokedSought,
    // Settling.
    AckDone, AckLate, AckTwice, AckOfDeadLetter, AckOfOldSeek, NackDone, NackDelayed, RejectDone, ReleaseDone, ExtendDone, Stale,
    UnknownToken, Invalid, Unavailable, OutputsPublished, OutputRefused, OutputsRepeated,
    // Sessions.
    Opened, Resumed, Adopted, HeldDropped, Replaced, SlowReader, Vanished, EphemeralOpened, Lost,
    // Reading the log.
    ReadBounded, ReadGap, ReadCutOff,
    // Durable facts.
    Created, Updated, FilterChanged, Paused, Sought, Failed, DeadByAttempts, DeadByLosses, DeadByRejection, RedriveDone, DiscardDone,
    Snapshot, Deleted, Recreated, GapRecorded,
    // The store.
    CommitUnknown, CommitResolvedDone, CommitResolvedLost, AppendFoundAfterCrash, Trimmed, Damaged, StoreFull, StoreSlow,
    StoreShort, StoreDown,
    // Retention.
    ReallyFull, SettledWhileFull, ResumedAfterFull, PressureTold, GapByPolicy, GapTold, Expiring, Expired,
    // Others' slowness.
    PromptBesideHung,
    // The broker.
    Crash, CrashWithWritesQueued, Drained, Restored, UnsettledFull,
}

/// How often each thing happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coverage(BTreeMap<Seen, u64>);

impl Coverage {
    pub(crate) fn hit(&mut self, seen: Seen) {
        self.add(seen, 1);
    }

    pub(crate) fn add(&mut self, seen: Seen, count: u64) {
        *self.0.entry(seen).or_default() += count;
    }

    pub(crate) fn count(&self, seen: Seen) -> u64 {
        self.0.get(&seen).copied().unwrap_or(0)
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        other.0.iter().for_each(|(&seen, &count)| self.add(seen, count));
    }

    pub(crate) fn missing(&self) -> Vec<Seen> {
        Seen::ALL.iter().copied().filter(|&seen| self.count(seen) == 0).collect()
    }
}

impl std::fmt::Display for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Seen::ALL.iter().try_for_each(|&seen| writeln!(f, "  {:>9}  {seen:?}", self.count(seen)))
    }
}
