//! Everything that can happen to a subscription.

use std::time::Duration;

use crate::{Config, Offset, Read, RequestId, SessionId, StreamId, Token};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The answer to [`Output::Read`](crate::Output::Read). Given once there is something to tell: a matching event, a gap, or the end
    /// of the span that was asked for. Ignored if it does not answer the standing read.
    Candidates {
        /// What was asked.
        read: Read,
        /// Matching events in offset order.
        events: Vec<Candidate>,
        /// Everything before it was examined.
        next: Offset,
        /// Spans (first, first after) that the store can no longer serve.
        gaps: Vec<(Offset, Offset)>,
    },
    /// The store can no longer serve a span, as found elsewhere than in a read for candidates: when an event was to be handed out.
    /// Nothing happens if nothing in it is lost to the subscription, so it may be told more than once.
    Gap {
        /// The first offset.
        from: Offset,
        /// The first after them.
        to: Offset,
    },
    /// What became of the commit in flight. A commit of unknown outcome is not told: the shell drops the machine and restores it.
    Commit(Commit),
    /// A stream opened. Answered by [`Output::Opened`](crate::Output::Opened).
    Connect {
        /// Whose stream it is. Replaces an earlier stream of the same session.
        session: SessionId,
        /// The new stream.
        stream: StreamId,
        /// How much this session takes at a time.
        limits: SessionLimits,
        /// The deliveries that the client still holds.
        held: Vec<Held>,
    },
    /// A stream ended without saying goodbye: its session may come back within the grace. Ignored for a stream that was replaced.
    Disconnect {
        /// Whose stream it was.
        session: SessionId,
        /// The stream.
        stream: StreamId,
    },
    /// A session says goodbye, or the broker drains: nothing more is handed to it; what it holds may still be settled until its stream
    /// ends, and is then given back uncounted.
    Drain {
        /// The session; `None` for all.
        session: Option<SessionId>,
    },
    /// Whether a stream can take more. A stream that cannot is handed nothing.
    Writable {
        /// Whose stream it is.
        session: SessionId,
        /// Whether it can.
        writable: bool,
    },
    /// Settlements, of any sessions of this subscription. Each is answered by an [`Output::Settled`](crate::Output::Settled).
    Settle {
        /// Who waits for the answers.
        request: RequestId,
        /// What is to be settled.
        settlements: Vec<Settlement>,
    },
    /// Stop or go on handing out events; settling goes on. Answered by [`Output::Done`](crate::Output::Done), like all that follow.
    Pause {
        /// Who waits for the answer.
        request: RequestId,
        /// Whether to stop.
        paused: bool,
    },
    /// Begin again at an offset: a new seek generation. All leases are revoked, all that was unsettled is forgotten; dead letters stay.
    Seek {
        /// Who waits for the answer.
        request: RequestId,
        /// The new frontier.
        to: Offset,
    },
    /// Another configuration at once, and another filter from an offset on.
    Update {
        /// Who waits for the answer.
        request: RequestId,
        /// The first offset that the new filter decides about. Taken as the frontier if it is before it: what was examined stays as
        /// it was. The same filter again changes the configuration alone.
        from: Offset,
        /// The new configuration.
        config: Config,
        /// The new filter, opaque.
        filter: Vec<u8>,
    },
    /// Deliver dead letters again. Offsets that are no dead letters, or already on their way, are passed over; so is what exceeds one
    /// commit or the room among the unsettled events. The answer names those that are on their way.
    Redrive {
        /// Who waits for the answer.
        request: RequestId,
        /// The dead letters.
        events: Vec<Candidate>,
    },
    /// Forget dead letters for good. Offsets that are no dead letters, or on their way, are passed over; so is what exceeds one commit.
    /// The answer names those that are forgotten.
    Discard {
        /// Who waits for the answer.
        request: RequestId,
        /// The dead letters.
        offsets: Vec<Offset>,
    },
    /// The end of this incarnation. All streams are closed.
    Delete {
        /// Who waits for the answer.
        request: RequestId,
    },
}

/// An event that matches the filter, as far as the machine needs to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place.
    pub offset: Offset,
    /// Its size, for the limits that count bytes.
    pub bytes: u32,
    /// A hash of its ordering key, if it has one. Two keys of one hash are kept in one order, which is harmless.
    pub key: Option<u64>,
}

/// A delivery that a returning client still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The delivery.
    pub token: Token,
    /// Its event.
    pub event: Candidate,
}

/// How much one session takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// The most live leases.
    pub max_outstanding: u32,
    /// The most bytes of events under lease. One event is handed out even if it alone is larger.
    pub max_outstanding_bytes: u64,
}

/// One settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Of which delivery.
    pub token: Token,
    /// What to do with its event.
    pub action: Action,
}

/// What to do with a delivered event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Done. With outputs: they are appended in the same commit (P9); how many and how large they are, so that commits stay bounded. Those
    /// that exceed a commit are the shell's to refuse beforehand: 900, or 3 MiB.
    Ack {
        /// Number of outputs. Their content waits with the shell.
        outputs: u32,
        /// Their bytes.
        output_bytes: u64,
    },
    /// Failed; deliver it again after the delay, or after the backoff.
    Nack {
        /// An exact wait instead of the backoff.
        delay: Option<Duration>,
        /// Kept in the history.
        reason: String,
    },
    /// Never deliver it again: a dead letter, with a reason. Late, it is accepted like an ack: no attempt can help, whoever holds it.
    Reject {
        /// Kept in the history.
        reason: String,
    },
    /// Not used; deliver it to whom it may concern, uncounted.
    Release,
    /// Hold it longer: until `by` from now, or for another ack deadline.
    Extend {
        /// How long from now.
        by: Option<Duration>,
    },
}

/// What became of the commit in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It is durable.
    Committed,
    /// It certainly did not happen.
    Refused(Refusal),
}

/// Why a commit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// An output of one completion cannot be stored (another event has its id). That completion is answered so; the rest is
    /// committed again without it.
    Output {
        /// Which of [`CommitPlan::completions`](crate::CommitPlan::completions).
        completion: usize,
    },
    /// The store is full or recovering. Who asked is told; what nobody asked for is tried again.
    Unavailable,
}
