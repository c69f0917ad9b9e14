//! How a machine comes back after a restart.

use super::{Subscription, commit::Journal};
use crate::{Offset, Record, RecordError, Time, state::State};

/// Why the records do not make a subscription.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// They do not begin with Created or a Snapshot.
    #[error("the records do not begin with a creation or a snapshot")]
    NoBeginning,
    /// One of them is not a record.
    #[error("record {index}: {error}")]
    Record {
        /// Which.
        index: usize,
        /// Why.
        error: RecordError,
    },
}

/// What was before the restart: clients may still hold it, and have one grace to say so.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Restart {
    /// The first offset that nobody can hold.
    pub(super) tail: Offset,
    grace: Time,
}

impl Restart {
    /// How long an event has to wait for its holder of before the restart, if it has.
    pub(super) fn wait(&self, now: Time, offset: Offset) -> Option<Time> {
        (offset < self.tail && now < self.grace).then_some(self.grace)
    }
}

impl Subscription {
    /// The subscription that these records (encoded, oldest first) tell of; `None` if there are none or the last incarnation was deleted.
    /// `epoch` is that of a fresh claim, so that no delivery is named twice. Events before `tail` may still be held by clients of before the restart: they wait out one resume grace.
    ///
    /// # Errors
    /// See [`RestoreError`]. A record that cannot be read is never passed over.
    pub fn restore<'a>(
        now: Time,
        epoch: u64,
        tail: Offset,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, RestoreError> {
        let (mut state, mut journal): (Option<State>, _) = (None, Journal::default());
        for (index, bytes) in records.into_iter().enumerate() {
            let record = Record::decode(bytes).map_err(|error| RestoreError::Record { index, error })?;
            journal.found(&record, bytes.len());
            state = match (record, state) {
                (Record::Created { incarnation, start, config, filter }, _) => Some(State::created(incarnation, start, config, filter)),
                (Record::Snapshot(snapshot), _) => Some(State::restored(*snapshot)),
                // A deletion may be all that is left of an incarnation.
                (Record::Deleted, _) => None,
                (_, None) => return Err(RestoreError::NoBeginning),
                (fact, Some(mut state)) => {
                    state.apply(fact, &mut Vec::new());
                    Some(state)
                }
            };
        }
        Ok(state.map(|mut state| {
            let restart = Restart { tail, grace: now + state.config.resume_grace };
            clamp_waits(now, &restart, &mut state);
            Self::running(epoch, state, restart, journal)
        }))
    }
}

/// A wait is at most the policy's longest from now, should the clock have gone back or the policy be another; and at least the grace.
fn clamp_waits(now: Time, restart: &Restart, state: &mut State) {
    let longest = now + state.config.retry.max_backoff;
    let offsets: Vec<_> = state.unsettled.iter().map(|(offset, _)| offset).collect();
    for offset in offsets {
        let grace = restart.wait(now, offset);
        state.unsettled.update(offset, |entry| {
            let wait = entry.wait.map(|wait| wait.min(longest));
            entry.wait = wait.max(grace);
        });
    }
}
