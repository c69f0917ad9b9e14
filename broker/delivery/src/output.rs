//! Everything that a subscription asks of its shell.

use crate::{Offset, Record, RequestId, SessionId, StreamId, Time, Token};

/// Effects, in the order in which they were decided.
pub type Outputs = Vec<Output>;

/// One thing for the shell to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Look for matching events. A standing wish until it is answered by [`Input::Candidates`](crate::Input::Candidates); a later read
    /// replaces it.
    Read(Read),
    /// Make this durable, then answer with [`Input::Commit`](crate::Input::Commit). There is never more than one in flight.
    Commit(CommitPlan),
    /// The stream is part of its session; what it holds is settled between the two sides.
    Opened {
        /// The session.
        session: SessionId,
        /// Its stream.
        stream: StreamId,
        /// The held deliveries that go on, and until when.
        adopted: Vec<(Token, Time)>,
        /// The held deliveries that do not: settled, or somebody else's by now.
        dropped: Vec<Token>,
    },
    /// Hand an event to a session.
    Deliver(Deliver),
    /// A session's hold on a delivery ended without its doing. Its stream may be broken by now: it hears of it when it is back.
    Revoke {
        /// Whose hold.
        session: SessionId,
        /// On what.
        token: Token,
        /// Why.
        reason: RevokeReason,
    },
    /// Tell every session: this span is lost to the subscription (P11, P14).
    Gap {
        /// The first offset.
        from: Offset,
        /// The first after them.
        to: Offset,
    },
    /// End a stream.
    Close {
        /// Whose.
        session: SessionId,
        /// Which.
        stream: StreamId,
        /// Why.
        reason: CloseReason,
    },
    /// Answers one settlement of an [`Input::Settle`](crate::Input::Settle). What it says is durable.
    Settled {
        /// Who waits.
        request: RequestId,
        /// Which of the request's settlements.
        index: usize,
        /// What became of it.
        outcome: SettleOutcome,
    },
    /// Answers an administrative input. What it says is durable.
    Done {
        /// Who waits.
        request: RequestId,
        /// The offsets it was about, where it names some (redriven, discarded; of an update the first that it decides about). Nothing changed if it is an error.
        result: Result<Vec<Offset>, NotDone>,
    },
}

/// A wish for candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where to begin.
    pub from: Offset,
    /// Where to stop: beyond it another filter decides.
    pub until: Option<Offset>,
    /// How many matching events at the most.
    pub limit: u32,
    /// Which filter decides: counts the filters of this incarnation, the one it was created with being 0.
    pub filter: u32,
}

/// One durable step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPlan {
    /// The facts.
    pub records: Vec<Record>,
    /// Whether they replace all earlier records.
    pub supersede: bool,
    /// Acks whose outputs are to be appended in this step, in order.
    pub completions: Vec<Completion>,
    /// Dead letters that end with this step, discarded or settled after a redrive: what is kept of them goes with it.
    pub ended_dead_letters: Vec<Offset>,
}

/// An ack with outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which request.
    pub request: RequestId,
    /// Which of its settlements.
    pub index: usize,
}

/// One delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deliver {
    /// To whom.
    pub session: SessionId,
    /// Its identity, and the event's offset.
    pub token: Token,
    /// Which try this is, from 1: failures and losses so far, plus one.
    pub attempt: u32,
    /// How many of them were lost sessions.
    pub losses: u32,
    /// When the lease ends unless it is extended.
    pub deadline: Time,
    /// Whether the event comes out of the dead letters: its bytes are with its dead letter, and may be gone from the log.
    pub redriven: bool,
}

/// Why a session's hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeReason {
    /// The ack deadline, or the longest total lease, passed.
    Expired,
    /// Another holder of an earlier delivery settled the event.
    SettledElsewhere,
    /// The subscription was moved to another position.
    Sought,
    /// The event can no longer be served.
    Gone,
}

/// Why a stream is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The session opened another stream.
    Replaced,
    /// The subscription was deleted.
    Deleted,
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleOutcome {
    /// It is done as asked.
    Done,
    /// The lease now ends then.
    Extended(Time),
    /// The event was settled before; nothing changed.
    AlreadySettled,
    /// The event is a dead letter. An ack is noted there by the shell.
    DeadLettered,
    /// A nack, release or extension whose lease is lost, or any settlement of a delivery of before a seek or of another incarnation.
    Stale,
    /// An output's id is taken by an event of other content; nothing was settled or published.
    OutputRefused,
    /// The store refused for now; nothing changed. Try again.
    Unavailable,
}

/// Why an administrative input changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The store refused for now.
    #[error("the store is unavailable; try again")]
    Unavailable,
    /// Too many filters wait for their offset to be reached.
    #[error("{MAX_FILTERS} filters still wait for the subscription to be read up to where they begin; seek, or read on first")]
    TooManyFilters,
    /// The subscription was deleted.
    #[error("the subscription was deleted")]
    Deleted,
}

/// The most filters that may wait for their beginning.
pub const MAX_FILTERS: usize = 32;
