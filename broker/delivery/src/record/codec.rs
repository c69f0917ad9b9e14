//! The bytes of a record: version, kind, fields.
//!
//! ```text
//!   record   = version (1 byte, 1) kind (1 byte) fields
//!   number   = LEB128, 1 to 10 bytes        span, time = number of microseconds
//!   bytes    = number (length), so many bytes
//!   list     = number (count), so many items
//!   optional = 0, or 1 and the value        flag = 0 or 1
//!   offset   = in lists the difference to the one before it (at first to 0), zigzag
//! ```
//!
//! Constraints: frozen, see the tests. Decoding never panics, and allocates no more than a small multiple of its input.

use std::time::Duration;

use super::{Attempt, AttemptOutcome, DeadLetter, DeadLetterCause, Failure, Record, RecordError, Redriven, Snapshot, UnsettledEvent};
use crate::{Config, Offset, RetryPolicy, Time};

/// The version that is written.
const VERSION: u8 = 1;

/// The kinds, frozen.
mod kind {
    pub(super) const CREATED: u8 = 1;
    pub(super) const UPDATED: u8 = 2;
    pub(super) const PAUSED: u8 = 3;
    pub(super) const SOUGHT: u8 = 4;
    pub(super) const FAILED: u8 = 5;
    pub(super) const SETTLED: u8 = 6;
    pub(super) const DEAD_LETTERED: u8 = 7;
    pub(super) const REDRIVEN: u8 = 8;
    pub(super) const DISCARDED: u8 = 9;
    pub(super) const GAP: u8 = 10;
    pub(super) const SNAPSHOT: u8 = 11;
    pub(super) const DELETED: u8 = 12;
}

impl Record {
    /// The bytes to be stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(2 + self.weight()));
        writer.byte(VERSION);
        writer.record(self);
        writer.0
    }

    /// The record that [`encode`](Self::encode) made these bytes of.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(RecordError::Version(other)),
        }
        let record = reader.record()?;
        if reader.0.is_empty() { Ok(record) } else { Err(RecordError::Malformed("bytes after the end")) }
    }

    /// About how many bytes it takes: what is cheap to know without encoding it.
    pub(crate) fn weight(&self) -> usize {
        let histories = |history: &[Attempt]| history.iter().map(Attempt::weight).sum::<usize>();
        match self {
            Self::Created { filter, .. } | Self::Updated { filter, .. } => 96 + filter.len(),
            Self::Paused(_) | Self::Sought { .. } | Self::Gap { .. } | Self::Deleted => 24,
            Self::Failed(failure) => 40 + failure.attempt.weight(),
            Self::Settled(offsets) | Self::Discarded(offsets) => 8 + 3 * offsets.len(),
            Self::DeadLettered(dead) => 24 + histories(&dead.history),
            Self::Redriven(events) => 8 + 16 * events.len(),
            Self::Snapshot(snapshot) => {
                let filters: usize = snapshot.filters.iter().map(|(_, filter)| 10 + filter.len()).sum();
                let unsettled: usize = snapshot.unsettled.iter().map(|event| 28 + histories(&event.history)).sum();
                128 + filters + unsettled + 6 * snapshot.settled_ahead.len() + 3 * snapshot.dead_letters.len()
            }
        }
    }
}

impl Attempt {
    pub(crate) fn weight(&self) -> usize {
        16 + self.reason.len()
    }
}

/// Writes fields one after another.
struct Writer(Vec<u8>);

impl Writer {
    fn record(&mut self, record: &Record) {
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

    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

type Read<T> = Result<T, RecordError>;

impl<'a> Reader<'a> {
    fn record(&mut self) -> Read<Record> {
        Ok(match self.byte()? {
            kind::CREATED => Record::Created {
                incarnation: self.number()?,
                start: self.number()?,
                config: self.config()?,
                filter: self.bytes()?.to_vec(),
            },
            kind::UPDATED => Record::Updated { from: self.number()?, config: self.config()?, filter: self.bytes()?.to_vec() },
            kind::PAUSED => Record::Paused(self.flag()?),
            kind::SOUGHT => Record::Sought { seek: self.small()?, to: self.number()? },
            kind::FAILED => {
                let (offset, bytes, key) = self.event()?;
                Record::Failed(Failure { offset, bytes, key, retry_at: self.time()?, attempt: self.attempt()? })
            }
            kind::SETTLED => Record::Settled(self.offsets()?),
            kind::DEAD_LETTERED => Record::DeadLettered(self.dead_letter()?),
            kind::REDRIVEN => Record::Redriven(self.list(|reader| {
                let (offset, bytes, key) = reader.event()?;
                Ok(Redriven { offset, bytes, key })
            })?),
            kind::DISCARDED => Record::Discarded(self.offsets()?),
            kind::GAP => Record::Gap { from: self.number()?, to: self.number()? },
            kind::SNAPSHOT => Record::Snapshot(Box::new(self.snapshot()?)),
            kind::DELETED => Record::Deleted,
            other => return Err(RecordError::Kind(other)),
        })
    }

    fn config(&mut self) -> Read<Config> {
        Ok(Config {
            ack_deadline: self.span()?,
            max_lease_total: self.span()?,
            retry: RetryPolicy {
                min_backoff: self.span()?,
                max_backoff: self.span()?,
                max_attempts: self.small()?,
                max_losses: self.small()?,
            },
            max_outstanding: self.small()?,
            max_outstanding_bytes: self.number()?,
            max_unsettled: self.small()?,
            resume_grace: self.span()?,
            ordered: self.flag()?,
            ephemeral: self.flag()?,
            jitter_seed: self.fixed()?,
        })
    }

    fn snapshot(&mut self) -> Read<Snapshot> {
        let (incarnation, seek, paused, config, first_filter) =
            (self.number()?, self.small()?, self.flag()?, self.config()?, self.small()?);
        let filters = self.list(|reader| Ok((reader.number()?, reader.bytes()?.to_vec())))?;
        if filters.is_empty() {
            return Err(RecordError::Malformed("a snapshot without a filter"));
        }
        let frontier = self.number()?;
        let unsettled = self.list(|reader| {
            let (offset, bytes, key) = reader.event()?;
            Ok(UnsettledEvent {
                offset,
                bytes,
                key,
                retry_at: reader.time()?,
                attempts: reader.small()?,
                losses: reader.small()?,
                history: reader.history()?,
                redriven: reader.flag()?,
            })
        })?;
        let settled_ahead = self.list(|reader| Ok((reader.number()?, reader.number()?)))?;
        let dead_letters = self.offsets()?;
        Ok(Snapshot { incarnation, seek, paused, config, filters, first_filter, frontier, unsettled, settled_ahead, dead_letters })
    }

    fn dead_letter(&mut self) -> Read<DeadLetter> {
        let offset = self.number()?;
        let cause = match self.byte()? {
            1 => DeadLetterCause::Attempts,
            2 => DeadLetterCause::Losses,
            3 => DeadLetterCause::Rejected,
            _ => return Err(RecordError::Malformed("no such cause of a dead letter")),
        };
        Ok(DeadLetter { offset, cause, attempts: self.small()?, losses: self.small()?, history: self.history()? })
    }

    fn history(&mut self) -> Read<Vec<Attempt>> {
        self.list(Self::attempt)
    }

    fn attempt(&mut self) -> Read<Attempt> {
        let at = self.time()?;
        let outcome = match self.byte()? {
            1 => AttemptOutcome::Nacked,
            2 => AttemptOutcome::Expired,
            3 => AttemptOutcome::Lost,
            4 => AttemptOutcome::Rejected,
            _ => return Err(RecordError::Malformed("no such outcome of an attempt")),
        };
        let reason = std::str::from_utf8(self.bytes()?).map_err(|_| RecordError::Malformed("a reason that is not UTF-8"))?;
        Ok(Attempt { at, outcome, reason: reason.to_owned() })
    }

    fn event(&mut self) -> Read<(Offset, u32, Option<u64>)> {
        let (offset, bytes) = (self.number()?, self.small()?);
        let key = if self.flag()? { Some(self.fixed()?) } else { None };
        Ok((offset, bytes, key))
    }

    fn offsets(&mut self) -> Read<Vec<Offset>> {
        let mut before = 0_u64;
        self.list(|reader| {
            let zigzag = reader.number()?;
            let step = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
            before = before.wrapping_add(step);
            Ok(before)
        })
    }

    /// Every item takes a byte at least, so a count beyond what is left is a lie, and nothing is allocated for it.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.length()?;
        (0..count).map(|_| read(self)).collect()
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(RecordError::Malformed("it ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    fn length(&mut self) -> Read<usize> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length <= self.0.len() { Ok(length) } else { Err(RecordError::Malformed("a length beyond the end")) }
    }

    fn time(&mut self) -> Read<Time> {
        Ok(Time::from_micros(self.number()?))
    }

    fn span(&mut self) -> Read<Duration> {
        Ok(Duration::from_micros(self.number()?))
    }

    fn small(&mut self) -> Read<u32> {
        u32::try_from(self.number()?).map_err(|_| RecordError::Malformed("a number beyond 32 bits"))
    }

    fn number(&mut self) -> Read<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(RecordError::Malformed("a number beyond 64 bits"))
    }

    fn fixed(&mut self) -> Read<u64> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(RecordError::Malformed("it ends early"))?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(RecordError::Malformed("a flag that is neither 0 nor 1")),
        }
    }

    fn byte(&mut self) -> Read<u8> {
        let (&byte, rest) = self.0.split_first().ok_or(RecordError::Malformed("it ends early"))?;
        self.0 = rest;
        Ok(byte)
    }
}
