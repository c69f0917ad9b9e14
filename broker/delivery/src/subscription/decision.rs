//! What is to become durable: a fact, who wants it, and what it costs.
//!
//! Constraint: the cost counts what the shell adds as well, as far as the machine knows it.

use crate::{Completion, Offset, Record, RequestId, Token};

/// About the most bytes of the event that tells of a dead letter: names, and the reason that an agent gave.
const NOTICE_BYTES: u64 = 8 * 1024;

/// A fact that is to become durable, and who wants it.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub(super) fact: Fact,
    /// The event that it is about: nothing else is decided about it before this is known. `None` stands alone: nothing else is decided
    /// at all.
    pub(super) event: Option<Offset>,
    pub(super) asked: Option<Asked>,
    /// Outputs of an ack.
    pub(super) outputs: usize,
    /// What the shell adds for dead letters: rows that it writes or deletes, events that tell of them.
    extras: usize,
    /// Bytes that the shell adds: of the outputs, or of the copy that a dead letter keeps.
    bytes: u64,
}

/// What a decision says. Almost all settle one event: that needs no memory of its own.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    Settled(Offset),
    Other(Box<Record>),
}

impl Fact {
    fn weight(&self) -> usize {
        match self {
            Self::Settled(_) => size_of::<Offset>(),
            Self::Other(record) => record.weight(),
        }
    }
}

/// Who asked for a decision. What nobody asked for is tried until it is durable.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// A settlement, by the delivery that it named.
    Settlement(Completion, Token),
    /// An administrative step, about these offsets.
    Admin(RequestId, Vec<Offset>),
}

impl Decision {
    /// About more than one event.
    pub(super) fn alone(fact: Record) -> Self {
        Self::of(None, Fact::Other(Box::new(fact)))
    }

    pub(super) fn about(event: Offset, fact: Record) -> Self {
        Self::of(Some(event), Fact::Other(Box::new(fact)))
    }

    /// An event is done.
    pub(super) fn settled(event: Offset) -> Self {
        Self::of(Some(event), Fact::Settled(event))
    }

    fn of(event: Option<Offset>, fact: Fact) -> Self {
        Self { fact, event, asked: None, outputs: 0, extras: 0, bytes: 0 }
    }

    pub(super) fn asked_by(self, who: Completion, token: Token) -> Self {
        Self { asked: Some(Asked::Settlement(who, token)), ..self }
    }

    pub(super) fn administrative(request: RequestId, offsets: Vec<Offset>, fact: Record) -> Self {
        let extras = if matches!(fact, Record::Discarded(_)) { offsets.len() } else { 0 };
        Self { asked: Some(Asked::Admin(request, offsets)), extras, ..Self::alone(fact) }
    }

    pub(super) fn with_outputs(self, count: u32, bytes: u64) -> Self {
        Self { outputs: usize::try_from(count).unwrap_or(usize::MAX), bytes, ..self }
    }

    /// With a new dead letter: its row, which has so many bytes, and the event that tells of it.
    pub(super) fn with_dead_letter(self, bytes: u64) -> Self {
        Self { extras: 2, bytes: bytes + NOTICE_BYTES, ..self }
    }

    /// With the end of a dead letter: its row goes.
    pub(super) fn ending_dead_letter(self) -> Self {
        Self { extras: 1, ..self }
    }

    /// The items and bytes that it adds to a commit. What is settled becomes one record together.
    pub(super) fn cost(&self) -> (usize, u64) {
        let records = usize::from(!matches!(self.fact, Fact::Settled(_)));
        (self.outputs.saturating_add(self.extras + records), self.bytes.saturating_add(self.fact.weight() as u64))
    }

    pub(super) fn completion(&self) -> Option<Completion> {
        match self.asked {
            Some(Asked::Settlement(who, _)) if self.outputs > 0 => Some(who),
            _ => None,
        }
    }

    pub(super) fn token(&self) -> Option<Token> {
        match self.asked {
            Some(Asked::Settlement(_, token)) => Some(token),
            _ => None,
        }
    }
}
