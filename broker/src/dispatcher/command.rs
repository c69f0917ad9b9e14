//! What can be asked of a dispatcher.
//!
//! Constraint: every question is answered, whatever happens to the dispatcher: one that ends drops the answers' senders, and whoever waits
//! takes that for an unknown outcome.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use waypost_delivery::{
    Action, Candidate, Config, Held, Holding, Progress, SessionId, SessionLimits, SettleOutcome, Status, StreamId, Subscription, Token,
};
use waypost_proto::v1;
use waypost_store::{Micros, NewEvent, Offset};

use super::{outbox::Outbox, reader};
use crate::{error::Fault, filter::Filter, registry::Info, trace::Resumed};

/// One question.
#[derive(Debug)]
pub enum Command {
    /// Settle deliveries of this subscription, in this order.
    Settle {
        /// What.
        settlements: Vec<SettleItem>,
        /// An answer for each.
        reply: oneshot::Sender<Vec<Settled>>,
    },
    /// Open a stream.
    Connect(Box<Connect>),
    /// Change something.
    Admin {
        /// What.
        change: Change,
        /// The offsets it was about, where it names some.
        reply: oneshot::Sender<Result<Vec<Offset>, Fault>>,
    },
    /// Tell how the subscription is doing.
    Inspect {
        /// The events to look at in particular.
        events: Vec<Offset>,
        /// What is seen.
        reply: oneshot::Sender<Result<Inspection, Fault>>,
    },
    /// End a session, and give back what it holds, uncounted.
    End {
        /// Which.
        session: SessionId,
        /// Who it was, if it had a stream.
        reply: oneshot::Sender<Option<SessionInfo>>,
    },
    /// A span that retention lets go by the subscription's own policy.
    Gap {
        /// The first offset.
        from: Offset,
        /// The first after them.
        to: Offset,
    },
    /// It has had a session for long: keep that, so that a crash does not make it look like a long absence.
    Seen,
    /// The broker ends: hand out nothing more, and tell the streams.
    Drain(std::time::Duration),
    /// The grace is over: end the streams.
    Close,
}

/// One settlement.
#[derive(Debug)]
pub struct SettleItem {
    /// Of which delivery.
    pub token: Token,
    /// What to do.
    pub action: Action,
    /// The sealed outputs of an ack.
    pub outputs: Vec<NewEvent>,
}

/// What became of one settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// What the machine says.
    Outcome(SettleOutcome),
    /// An output's id is taken: which output, and by which event.
    OutputConflict {
        /// Which output.
        output: usize,
        /// The event that has its id; 0 if it is another output of the same step.
        first: Offset,
    },
    /// The commit's outcome is not known, or the subscription could not be read.
    Unknown,
    /// The subscription is gone.
    Gone,
}

/// A stream that opens.
#[derive(Debug)]
pub struct Connect {
    /// Whose.
    pub session: SessionId,
    /// Which.
    pub stream: StreamId,
    /// How much it takes.
    pub limits: SessionLimits,
    /// The deliveries that the client holds, with their tokens.
    pub held: Vec<(Held, Bytes)>,
    /// Held tokens that are none of this subscription's.
    pub unknown: Vec<Bytes>,
    /// Of the deliveries that the client holds, those whose trace is sampled.
    pub resumed: Vec<Resumed>,
    /// Where its messages go.
    pub outbox: Arc<Outbox>,
    /// The answer, but for what only the dispatcher knows.
    pub opened: v1::Opened,
    /// What the client calls itself.
    pub client: String,
    /// Where it connects from.
    pub peer: String,
    /// Whose token it has; empty without one.
    pub principal: String,
    /// The most sessions of one subscription.
    pub max_sessions: u32,
    /// Whether it is open.
    pub reply: oneshot::Sender<Result<(), Fault>>,
}

/// An administrative change.
#[derive(Debug)]
pub enum Change {
    /// Stop or go on.
    Pause {
        /// Whether to stop.
        paused: bool,
        /// What is kept about the subscription afterwards.
        info: Info,
    },
    /// Begin again elsewhere.
    Seek(Offset),
    /// Other rules.
    Update {
        /// The first offset that a new filter decides about.
        from: Offset,
        /// The new limits.
        config: Config,
        /// What is kept about the subscription afterwards.
        info: Info,
    },
    /// Send dead letters again.
    Redrive(Vec<Candidate>),
    /// Throw dead letters away.
    Discard(Vec<Offset>),
    /// The end.
    Delete,
}

/// How a subscription is doing.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// As the machine counts.
    pub status: Status,
    /// The lowest offset that it still needs.
    pub floor: Offset,
    /// The filters that decide from the frontier on, each with the offset from which it does.
    pub filters: Vec<(Offset, Filter)>,
    /// How far it is with each event that was asked about.
    pub progress: Vec<Progress>,
    /// Its sessions, by id.
    pub sessions: Vec<SessionInfo>,
}

impl Inspection {
    /// What a machine tells of itself.
    #[must_use]
    pub fn of(name: &str, machine: &Subscription, mut sessions: Vec<SessionInfo>, events: &[Offset]) -> Self {
        let filters = machine.filters().map(|(_, begins, bytes)| (begins, reader::compile(name, bytes))).collect();
        let progress = events.iter().map(|&offset| machine.progress(offset)).collect();
        sessions.iter_mut().for_each(|session| session.holding = machine.holding(session.id));
        Self { status: machine.status(), floor: machine.floor(), filters, progress, sessions }
    }
}

/// A session with an open stream.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Its id.
    pub id: SessionId,
    /// What it calls itself.
    pub client: String,
    /// Where it connects from.
    pub peer: String,
    /// Whose token it has; empty without one.
    pub principal: String,
    /// When its stream was opened.
    pub connected_at: Micros,
    /// What it can hold.
    pub limits: SessionLimits,
    /// What it holds.
    pub holding: Holding,
    /// Whether it drains.
    pub draining: bool,
}
