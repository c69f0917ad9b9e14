//! Writes the fields of a record, in their frozen order.

use std::time::Duration;

use super::kind;
use crate::{
    Config, Offset, Time,
    record::{Attempt, AttemptOutcome, DeadLetter, DeadLetterCause, Record, Snapshot},
};

/// Writes fields one after another.
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn record(&mut self, record: &Record) {
        match record {
            Record::Created { incarnation, start, config, filter } => {
                self.byte(kind::CREATED);
                self.number(*incarnation);
                self.number(*start);
                self.config(config);
                self.bytes(filter);
            }
            Record::Updated { from, config, filter } => {
                self.byte(kind::UPDATED);
                self.number(*from);
                self.config(config);
                self.bytes(filter);
            }
            Record::Paused(paused) => {
                self.byte(kind::PAUSED);
                self.flag(*paused);
            }
            Record::Sought { seek, to } => {
                self.byte(kind::SOUGHT);
                self.number(u64::from(*seek));
                self.number(*to);
            }
            Record::Failed(failure) => {
                self.byte(kind::FAILED);
                self.event(failure.offset, failure.bytes, failure.key);
                self.time(failure.retry_at);
                self.attempt(&failure.attempt);
            }
            Record::Settled(offsets) => {
                self.byte(kind::SETTLED);
                self.offsets(offsets);
            }
            Record::DeadLettered(dead) => {
                self.byte(kind::DEAD_LETTERED);
                self.dead_letter(dead);
            }
            Record::Redriven(events) => {
                self.byte(kind::REDRIVEN);
                self.list(events, |writer, event| writer.event(event.offset, event.bytes, event.key));
            }
            Record::Discarded(offsets) => {
                self.byte(kind::DISCARDED);
                self.offsets(offsets);
            }
            Record::Gap { from, to } => {
                self.byte(kind::GAP);
                self.number(*from);
                self.number(*to);
            }
            Record::Snapshot(snapshot) => {
                self.byte(kind::SNAPSHOT);
                self.snapshot(snapshot);
            }
            Record::Deleted => self.byte(kind::DELETED),
        }
    }

    fn config(&mut self, config: &Config) {
        self.span(config.ack_deadline);
        self.span(config.max_lease_total);
        self.span(config.retry.min_backoff);
        self.span(config.retry.max_backoff);
        self.number(u64::from(config.retry.max_attempts));
        self.number(u64::from(config.retry.max_losses));
        self.number(u64::from(config.max_outstanding));
        self.number(config.max_outstanding_bytes);
        self.number(u64::from(config.max_unsettled));
        self.span(config.resume_grace);
        self.flag(config.ordered);
        self.flag(config.ephemeral);
        self.0.extend_from_slice(&config.jitter_seed.to_le_bytes());
    }

    fn snapshot(&mut self, snapshot: &Snapshot) {
        self.number(snapshot.incarnation);
        self.number(u64::from(snapshot.seek));
        self.flag(snapshot.paused);
        self.config(&snapshot.config);
        self.number(u64::from(snapshot.first_filter));
        self.list(&snapshot.filters, |writer, (begins, filter)| {
            writer.number(*begins);
            writer.bytes(filter);
        });
        self.number(snapshot.frontier);
        self.list(&snapshot.unsettled, |writer, event| {
            writer.event(event.offset, event.bytes, event.key);
            writer.time(event.retry_at);
            writer.number(u64::from(event.attempts));
            writer.number(u64::from(event.losses));
            writer.history(&event.history);
            writer.flag(event.redriven);
        });
        self.list(&snapshot.settled_ahead, |writer, (from, to)| {
            writer.number(*from);
            writer.number(*to);
        });
        self.offsets(&snapshot.dead_letters);
    }

    fn dead_letter(&mut self, dead: &DeadLetter) {
        self.number(dead.offset);
        self.byte(match dead.cause {
            DeadLetterCause::Attempts => 1,
            DeadLetterCause::Losses => 2,
            DeadLetterCause::Rejected => 3,
        });
        self.number(u64::from(dead.attempts));
        self.number(u64::from(dead.losses));
        self.history(&dead.history);
    }

    fn history(&mut self, history: &[Attempt]) {
        self.list(history, Self::attempt);
    }

    fn attempt(&mut self, attempt: &Attempt) {
        self.time(attempt.at);
        self.byte(match attempt.outcome {
            AttemptOutcome::Nacked => 1,
            AttemptOutcome::Expired => 2,
            AttemptOutcome::Lost => 3,
            AttemptOutcome::Rejected => 4,
        });
        self.bytes(attempt.reason.as_bytes());
    }

    fn event(&mut self, offset: Offset, bytes: u32, key: Option<u64>) {
        self.number(offset);
        self.number(u64::from(bytes));
        self.flag(key.is_some());
        if let Some(key) = key {
            self.0.extend_from_slice(&key.to_le_bytes());
        }
    }

    fn offsets(&mut self, offsets: &[Offset]) {
        let mut before = 0_u64;
        self.list(offsets, |writer, &offset| {
            let step = offset.wrapping_sub(std::mem::replace(&mut before, offset)).cast_signed();
            writer.number(((step << 1) ^ (step >> 63)).cast_unsigned());
        });
    }

    fn list<'a, T: 'a>(&mut self, items: &'a [T], mut write: impl FnMut(&mut Self, &'a T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|item| write(self, item));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn time(&mut self, time: Time) {
        self.number(time.as_micros());
    }

    /// Longer than 500,000 years is for ever.
    fn span(&mut self, span: Duration) {
        self.number(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
    }

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.byte((number & 0x7f) as u8);
    }

    fn flag(&mut self, flag: bool) {
        self.byte(u8::from(flag));
    }

    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
}
