//! The durable facts of a subscription and their frozen encoding.
//!
//! Constraints: a record is written once and read by every later version. Kinds and field orders below are frozen; a new field needs
//! a new version byte. Decoding never panics and never allocates more than the input's size justifies.

mod codec;
#[cfg(test)]
mod tests;

use crate::{Config, Offset, Time};

/// One durable fact. The order of the log is the order in which they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The beginning of an incarnation.
    Created {
        /// Tells this creation from others under the same name.
        incarnation: u64,
        /// The first offset that it is about.
        start: Offset,
        /// Its limits.
        config: Config,
        /// Its filter, opaque to the machine.
        filter: Vec<u8>,
    },
    /// Another configuration, and another filter from an offset on.
    Updated {
        /// The first offset that the new filter decides about.
        from: Offset,
        /// The new limits.
        config: Config,
        /// The new filter.
        filter: Vec<u8>,
    },
    /// Stopped or going on.
    Paused(bool),
    /// Begun again at an offset.
    Sought {
        /// The new seek generation.
        seek: u32,
        /// The new frontier.
        to: Offset,
    },
    /// An attempt that failed, or was lost with its session.
    Failed(Failure),
    /// Events that are done.
    Settled(Vec<Offset>),
    /// An event set aside, for good until somebody redrives it. There is no Failed for its last attempt: this tells it.
    DeadLettered(DeadLetter),
    /// Dead letters on their way again, with a fresh count.
    Redriven(Vec<Redriven>),
    /// Dead letters that were given up.
    Discarded(Vec<Offset>),
    /// Offsets that can no longer be served.
    Gap {
        /// The first.
        from: Offset,
        /// The first after them.
        to: Offset,
    },
    /// Everything there is to know. Replaces all earlier records.
    Snapshot(Box<Snapshot>),
    /// The end of the incarnation.
    Deleted,
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The event.
    pub offset: Offset,
    /// Its size.
    pub bytes: u32,
    /// A hash of its ordering key.
    pub key: Option<u64>,
    /// Not to be delivered before.
    pub retry_at: Time,
    /// What happened.
    pub attempt: Attempt,
}

/// An event set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which.
    pub offset: Offset,
    /// Why.
    pub cause: DeadLetterCause,
    /// How often it failed.
    pub attempts: u32,
    /// How many sessions it lost.
    pub losses: u32,
    /// The latest of what was tried, oldest first. The last line is what set it aside.
    pub history: Vec<Attempt>,
}

/// One line of an event's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: Time,
    /// How.
    pub outcome: AttemptOutcome,
    /// What the agent said, cut to [`MAX_REASON_BYTES`].
    pub reason: String,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The agent gave it back as failed.
    Nacked,
    /// Nobody settled it in time.
    Expired,
    /// The session was lost.
    Lost,
    /// The agent rejected it.
    Rejected,
}

/// Why an event became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterCause {
    /// It failed `max_attempts` times.
    Attempts,
    /// It lost `max_losses` sessions.
    Losses,
    /// An agent rejected it.
    Rejected,
}

/// A dead letter on its way again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redriven {
    /// The event.
    pub offset: Offset,
    /// Its size.
    pub bytes: u32,
    /// A hash of its ordering key.
    pub key: Option<u64>,
}

/// The whole durable state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Tells this creation from others under the same name.
    pub incarnation: u64,
    /// The seek generation.
    pub seek: u32,
    /// Whether it is stopped.
    pub paused: bool,
    /// Its limits.
    pub config: Config,
    /// The filters that still decide about something, with the offset that each begins at, oldest first; and the number of the first.
    pub filters: Vec<(Offset, Vec<u8>)>,
    /// The number of the first of `filters`.
    pub first_filter: u32,
    /// Everything before it is settled, unmatched, or in `unsettled`.
    pub frontier: Offset,
    /// What is not settled before the frontier, and what has a history after it.
    pub unsettled: Vec<UnsettledEvent>,
    /// Spans (first, first after) after the frontier that are settled already.
    pub settled_ahead: Vec<(Offset, Offset)>,
    /// Dead letters that are not on their way.
    pub dead_letters: Vec<Offset>,
}

/// An unsettled event in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsettledEvent {
    /// The event.
    pub offset: Offset,
    /// Its size.
    pub bytes: u32,
    /// A hash of its ordering key.
    pub key: Option<u64>,
    /// Not to be delivered before; [`Time::default`] if at once.
    pub retry_at: Time,
    /// How often it failed.
    pub attempts: u32,
    /// How many sessions it lost.
    pub losses: u32,
    /// The latest of what was tried, oldest first.
    pub history: Vec<Attempt>,
    /// Whether it came out of the dead letters.
    pub redriven: bool,
}

/// The most bytes of a reason that are kept.
pub const MAX_REASON_BYTES: usize = 512;

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a later version.
    #[error("record version {0} is not known to this build; it was written by a later one")]
    Version(u8),
    /// No such kind.
    #[error("record kind {0} is not known")]
    Kind(u8),
    /// The bytes end early or go on too long, or a value is out of its range.
    #[error("malformed record: {0}")]
    Malformed(&'static str),
}
