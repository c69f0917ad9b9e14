//! What a store can do wrong on purpose, so that suites can show that they notice.
//!
//! Constraint: only the feature `testing` can switch one on.

/// One deliberate defect of a store in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Writes are answered without a sync: a crash loses everything since the store was opened. (P1)
    AnswerBeforeDurable,
    /// The memory of ids is empty after a reopening. (P7)
    DedupNotRestored,
    /// Duplicates are stored again, also inside their window. (P7)
    DedupIgnored,
    /// An earlier claim goes on committing. (P3)
    FencingIgnored,
    /// Epochs begin anew after a reopening, so that an old claim may equal a new one. (P3)
    EpochsNotRestored,
    /// A crash loses the rows of the last commit and keeps its records and events. (P5)
    CommitInPart,
    /// A trim takes one segment more than it may. (P11)
    TrimTooFar,
    /// A read passes over what was trimmed or damaged without a word. (P14)
    SilentGaps,
    /// Appends use the reserve. (P11)
    ReserveForAll,
    /// Events are stamped with the time they are given, even if it went back.
    TimeGoesBack,
    /// A superseding commit appends its records to the earlier ones.
    SupersedeAppends,
}

impl Defect {
    /// All of them.
    #[cfg(feature = "testing")]
    pub const ALL: [Self; 11] = [
        Self::AnswerBeforeDurable,
        Self::DedupNotRestored,
        Self::DedupIgnored,
        Self::FencingIgnored,
        Self::EpochsNotRestored,
        Self::CommitInPart,
        Self::TrimTooFar,
        Self::SilentGaps,
        Self::ReserveForAll,
        Self::TimeGoesBack,
        Self::SupersedeAppends,
    ];
}
