//! The ids of neighbouring sealed segments in one table: which of them may hold an id.
//!
//! Constraints:
//! - It is made once, when a segment is sealed, and stored in that segment's index. Opening reads it as it is: nothing is inserted.
//! - 4 to 5 bytes an id. A probe is two reads of memory, however many segments it covers.
//! - It may name a segment that does not hold the id (once in some 10,000 probes): the index of the segment has the last word.

use bytes::BufMut;

use super::wire::{Cursor, index, narrow};
use crate::contract::Micros;

/// The most ids in a run of more than one segment: what one sealing may have to put together.
pub(super) const MOST_IDS: usize = 2 << 20;

/// Segments are numbered with 16 bits within a run.
const MOST_SPAN: u64 = 1 << 16;

/// Entries in a bucket on average, at most.
const BUCKET: usize = 8;
const HEADER: usize = 8 + 8 + 8 + 4;

/// A table of the ids of segments `first..=last`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) first: u64,
    pub(super) last: u64,
    /// When the last of its ids may be forgotten.
    pub(super) until: Micros,
    /// Where the entries of each bucket end.
    ends: Vec<u32>,
    /// 16 bits of the key above the number of the segment within the run, in the order of the segments within a bucket.
    entries: Vec<u32>,
}

/// The keys of one segment, u64 each.
pub(super) struct Keys {
    pub(super) segment: u64,
    pub(super) keys: Vec<u8>,
}

/// Which bucket a key belongs to, and what of it is kept there.
fn place(key: u64, buckets: usize) -> (usize, u32) {
    let bits = buckets.trailing_zeros();
    let bucket = key.checked_shr(u64::BITS - bits).unwrap_or(0);
    (index(bucket), narrow(index((key << bits) >> 48)))
}

fn buckets_for(count: usize) -> usize {
    count.div_ceil(BUCKET).next_power_of_two()
}

fn each(keys: &[u8]) -> impl Iterator<Item = u64> + '_ {
    keys.chunks_exact(8).filter_map(|key| Cursor::new(key).u64())
}

impl Run {
    /// A run of the segments in `lists`, oldest first, which are all that have remembered ids among `first..=last`.
    pub(super) fn build(first: u64, last: u64, until: Micros, lists: &[Keys]) -> Self {
        let count = lists.iter().map(|list| list.keys.len() / 8).sum();
        let buckets = buckets_for(count);
        let mut ends = vec![0_u32; buckets];
        for key in lists.iter().flat_map(|list| each(&list.keys)) {
            ends[place(key, buckets).0] += 1;
        }
        let mut start = 0;
        for end in &mut ends {
            // The place of the bucket's next entry, until all are in.
            start += std::mem::replace(end, start);
        }
        let mut entries = vec![0; count];
        for list in lists {
            let segment = narrow(index(list.segment.saturating_sub(first).min(MOST_SPAN - 1)));
            for key in each(&list.keys) {
                let (bucket, tag) = place(key, buckets);
                entries[index(u64::from(ends[bucket]))] = (tag << 16) | segment;
                ends[bucket] += 1;
            }
        }
        Self { first, last, until, ends, entries }
    }

    /// How many ids it has.
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// Whether a run that begins with segment `first` can reach as far as `last`.
    pub(super) fn can_span(first: u64, last: u64) -> bool {
        last - first < MOST_SPAN
    }

    /// The segments that may hold a key, newest first.
    pub(super) fn candidates(&self, key: u64) -> impl Iterator<Item = u64> + '_ {
        let (bucket, tag) = place(key, self.ends.len());
        let end = |bucket: usize| self.ends.get(bucket).map_or(0, |end| index(u64::from(*end)));
        let start = bucket.checked_sub(1).map_or(0, end);
        let entries = self.entries.get(start..end(bucket)).unwrap_or_default();
        let found = entries.iter().rev().filter(move |entry| **entry >> 16 == tag);
        found.map(|entry| self.first + u64::from(entry & 0xffff))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::bytes_for(self.count()));
        bytes.put_u64_le(self.first);
        bytes.put_u64_le(self.last);
        bytes.put_u64_le(self.until);
        bytes.put_u32_le(narrow(self.count()));
        self.ends.iter().chain(&self.entries).for_each(|number| bytes.put_u32_le(*number));
        bytes
    }

    /// Bytes of a run of so many ids.
    pub(super) fn bytes_for(count: usize) -> usize {
        HEADER + (buckets_for(count) + count) * 4
    }

    /// Reads a run whose checksum was verified.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let (first, last, until) = (cursor.u64()?, cursor.u64()?, cursor.u64()?);
        let count = usize::try_from(cursor.u32()?).ok()?;
        if bytes.len() != Self::bytes_for(count) || first > last {
            return None;
        }
        let (ends, entries) = cursor.rest().split_at_checked(buckets_for(count) * 4)?;
        let numbers = |bytes: &[u8]| bytes.chunks_exact(4).filter_map(|number| Cursor::new(number).u32()).collect();
        Some(Self { first, last, until, ends: numbers(ends), entries: numbers(entries) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn keys(segment: u64, keys: &[u64]) -> Keys {
        Keys { segment, keys: keys.iter().flat_map(|key| key.to_le_bytes()).collect() }
    }

    proptest! {
        #[test]
        fn p7_a_run_names_every_segment_that_holds_a_key_newest_first(
            lists in proptest::collection::vec(proptest::collection::vec(any::<u64>(), 0..60), 0..6),
        ) {
            let all: Vec<Keys> = lists.iter().zip(10..).map(|(list, segment)| keys(segment, list)).collect();
            let built = Run::build(10, 15, 7, &all);
            let run = Run::decode(&built.encode()).unwrap();
            prop_assert_eq!(&run, &built);
            prop_assert_eq!(run.count(), lists.iter().map(Vec::len).sum::<usize>());
            for (list, segment) in lists.iter().zip(10..) {
                for key in list {
                    let found: Vec<u64> = run.candidates(*key).collect();
                    prop_assert!(found.contains(&segment) && found.is_sorted_by(|newer, older| newer >= older), "{:?}", found);
                }
            }
        }

        #[test]
        fn no_bytes_make_a_run_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), key: u64) {
            let _ = Run::decode(&bytes).map(|run| run.candidates(key).count());
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_rarely_looked_up() {
        let spread = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (number << 40);
        let list: Vec<u64> = (0..100_000).map(spread).collect();
        let run = Run::build(1, 1, 0, &[keys(1, &list)]);
        let wrong = (200_000..300_000).filter(|number| run.candidates(spread(*number)).next().is_some()).count();
        assert!(wrong < 60, "{wrong} of 100,000");
    }
}
