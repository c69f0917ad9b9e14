//! What can be seen of single events and sessions, for operators and for those who follow a story.
//!
//! Constraint: it only looks; nothing is kept for it. So of what is past it cannot say whether it was settled, unmatched or lost.

use super::Subscription;
use crate::{Offset, SessionId, Time};

/// How far a subscription is with one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Not examined yet: the filter of its offset decides whether it is wanted.
    Ahead,
    /// Known and with nobody: it waits for a session, for its backoff, or for its ordering key.
    Waiting {
        /// How many attempts and losses it has behind it.
        attempts: u32,
    },
    /// A session has it.
    Leased {
        /// Which attempt this is.
        attempts: u32,
        /// Who.
        session: SessionId,
    },
    /// A dead letter.
    Dead,
    /// Settled, unmatched, lost, or before the start.
    Past,
}

/// What one session holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// How many events.
    pub events: u32,
    /// How many bytes of events.
    pub bytes: u64,
    /// Since when it has had the oldest of them.
    pub since: Option<Time>,
}

impl Subscription {
    /// How far it is with an event.
    #[must_use]
    pub fn progress(&self, offset: Offset) -> Progress {
        match self.state.unsettled.get(offset) {
            Some(entry) => match entry.lease {
                Some(lease) => Progress::Leased { attempts: entry.next_attempt(), session: lease.session },
                None => Progress::Waiting { attempts: entry.next_attempt() - 1 },
            },
            None if self.state.dead_letters.contains(&offset) => Progress::Dead,
            None if self.state.is_past(offset) => Progress::Past,
            None => Progress::Ahead,
        }
    }

    /// What a session holds. Costs in proportion to it.
    #[must_use]
    pub fn holding(&self, session: SessionId) -> Holding {
        let load = self.state.unsettled.load_of(session);
        let held = self.state.unsettled.held_by(session);
        let since = held.into_iter().filter_map(|offset| self.state.unsettled.get(offset)?.lease).map(|lease| lease.started).min();
        Holding { events: load.count(), bytes: load.bytes, since }
    }
}
