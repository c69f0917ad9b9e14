//! Reads the fields of a record back. Whatever the bytes say, it neither panics nor allocates more than they justify.

use std::time::Duration;

use super::kind;
use crate::{
    Config, Offset, RetryPolicy, Time,
    record::{Attempt, AttemptOutcome, DeadLetter, DeadLetterCause, Failure, Record, RecordError, Redriven, Snapshot, UnsettledEvent},
};

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

type Read<T> = Result<T, RecordError>;

impl<'a> Reader<'a> {
    pub(super) fn record(&mut self) -> Read<Record> {
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

    pub(super) fn byte(&mut self) -> Read<u8> {
        let (&byte, rest) = self.0.split_first().ok_or(RecordError::Malformed("it ends early"))?;
        self.0 = rest;
        Ok(byte)
    }
}
