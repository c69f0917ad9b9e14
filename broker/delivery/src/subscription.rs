//! The machine of one subscription. Interface only, for now: the rules follow.

use crate::{Config, Input, Offset, Outputs, Record, RecordError, Time};

/// One subscription.
#[derive(Debug)]
pub struct Subscription {
    incarnation: u64,
}

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

impl Subscription {
    /// A new subscription that begins at `start`, and the record that makes it durable. The shell commits it before it uses the machine.
    #[must_use]
    pub fn create(_epoch: u64, incarnation: u64, _start: Offset, _config: Config, _filter: Vec<u8>) -> (Self, Record) {
        (Self { incarnation }, Record::Deleted)
    }

    /// The subscription that these records (encoded, oldest first) tell of; `None` if there are none or the last incarnation was deleted.
    /// `epoch` is the claim's. Events before `tail` may still be held by clients of before the restart: they wait out one resume grace.
    ///
    /// # Errors
    /// See [`RestoreError`]. A record that cannot be read is never passed over.
    pub fn restore<'a>(
        _now: Time,
        _epoch: u64,
        _tail: Offset,
        _records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<Self>, RestoreError> {
        Ok(None)
    }

    /// Takes one input in. Answers that need no commit come out at once; everything else with [`advance`](Self::advance).
    pub fn handle(&mut self, _now: Time, _input: Input, _outputs: &mut Outputs) {}

    /// Fires what is due, hands out what can be, gathers what was decided into one commit if none is in flight, and asks for more events.
    /// Called once after the inputs that were ready, and when [`next_timeout`](Self::next_timeout) passed.
    pub fn advance(&mut self, _now: Time, _outputs: &mut Outputs) {}

    /// When [`advance`](Self::advance) is due without any input; `None` if never.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        None
    }

    /// Tells this creation from others under the same name.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The filters that still decide about something, with their numbers and the offset that each begins at, oldest first.
    pub fn filters(&self) -> impl Iterator<Item = (u32, Offset, &[u8])> {
        std::iter::empty()
    }

    /// The limits in force.
    #[must_use]
    pub fn config(&self) -> Option<&Config> {
        None
    }

    /// The lowest offset that the subscription still needs: unsettled, or not yet examined. Retention keeps what matches from here on.
    #[must_use]
    pub fn floor(&self) -> Offset {
        0
    }
}
