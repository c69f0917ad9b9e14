//! Deliberate defects, at least one for each promise that the machine keeps.
//!
//! Constraint: they exist for the tests alone, which must catch every one of them. Without the feature `defects` none can be switched
//! on, and the compiler removes them.

/// One way to break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// P2: a snapshot leaves out what is under lease, though its frontier is past it.
    SnapshotForgetsLeased,
    /// P3: an event is handed to two sessions.
    SecondLease,
    /// P3: the subscription's limit on what is outstanding is ignored.
    OutstandingUnlimited,
    /// P4: a settlement is answered before its commit.
    AnsweredBeforeCommit,
    /// P4: an ack whose lease is over is refused.
    LateAckRefused,
    /// P4: tokens of before a seek settle events after it.
    SeekKeepsTokens,
    /// P5: failures are not in the log.
    AttemptsNotPersisted,
    /// P5: a dead letter is written twice.
    DeadLetterTwice,
    /// P5: lost sessions do not count, so that an event which kills its agents comes back for ever.
    LossesNotCounted,
    /// P5: a lease can be extended for ever.
    LeaseTotalIgnored,
    /// P6: a broken stream is a lost session at once.
    GraceIgnored,
    /// P6: an earlier stream of a session is left open.
    SecondStreamKept,
    /// P6: what clients held over a restart is not theirs any more.
    AdoptionForgotten,
    /// P6: a session that said goodbye is counted as lost.
    DrainCounted,
    /// P8: events of one key overtake each other.
    KeyOrderIgnored,
    /// P9: outputs are published though another completion settled the input.
    OutputsOfSettledInput,
    /// P11: a gap is passed over without a word.
    GapSilent,
    /// P12: reading goes on at the bound.
    UnsettledUnbounded,
    /// P13: the jitter depends on something else than the history.
    JitterByChance,
}

impl Defect {
    /// Every defect.
    pub const ALL: [Self; 19] = [
        Self::SnapshotForgetsLeased,
        Self::SecondLease,
        Self::OutstandingUnlimited,
        Self::AnsweredBeforeCommit,
        Self::LateAckRefused,
        Self::SeekKeepsTokens,
        Self::AttemptsNotPersisted,
        Self::DeadLetterTwice,
        Self::LossesNotCounted,
        Self::LeaseTotalIgnored,
        Self::GraceIgnored,
        Self::SecondStreamKept,
        Self::AdoptionForgotten,
        Self::DrainCounted,
        Self::KeyOrderIgnored,
        Self::OutputsOfSettledInput,
        Self::GapSilent,
        Self::UnsettledUnbounded,
        Self::JitterByChance,
    ];
}
