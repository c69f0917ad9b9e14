//! Finding duplicates: which segment may hold an id.
//!
//! Constraints:
//! - One probe per generation answers for an id that was never seen, from memory. Only a likely duplicate is looked up in the index of
//!   its segment, which verifies it: a chance collision costs a lookup and nothing else.
//! - Bounded: beyond the most ids, the oldest generation is forgotten as a whole, and `since` says so.
//! - 8 bytes a slot: 44 bits of the key, 20 bits of which segment of the generation. Nothing is ever removed from a generation.

use std::{collections::VecDeque, sync::Arc};

use super::{
    home::{Damage, Form, Home},
    ids::{IdEntry, key_of},
};
use crate::contract::Micros;

const HOME_BITS: u32 = 20;
const HOME_MASK: u64 = (1 << HOME_BITS) - 1;
const SMALLEST: usize = 1024;

/// A table of keys that only grows.
struct Generation {
    slots: Vec<u64>,
    used: usize,
    homes: Vec<Arc<Home>>,
    newest: Micros,
}

impl Generation {
    fn new() -> Self {
        Self { slots: vec![0; SMALLEST], used: 0, homes: Vec::new(), newest: 0 }
    }

    fn place(&self, key: u64) -> usize {
        // The high bits: keys that come sorted then walk through the table in order.
        let bits = self.slots.len().trailing_zeros();
        super::wire::index(key >> (u64::BITS - bits))
    }

    fn insert(&mut self, key: u64, home: usize) {
        if (self.used + 1) * 4 > self.slots.len() * 3 {
            let doubled = vec![0; self.slots.len() * 2];
            for slot in std::mem::replace(&mut self.slots, doubled).into_iter().filter(|slot| *slot != 0) {
                self.put(slot);
            }
        }
        self.used += 1;
        self.put((key & !HOME_MASK) | ((home as u64 + 1) & HOME_MASK));
    }

    fn put(&mut self, slot: u64) {
        let mut place = self.place(slot);
        while self.slots[place] != 0 {
            place = (place + 1) & (self.slots.len() - 1);
        }
        self.slots[place] = slot;
    }

    /// The homes that may hold a key, newest first.
    fn candidates(&self, key: u64) -> Vec<usize> {
        let mut found = Vec::new();
        let mut place = self.place(key);
        while self.slots[place] != 0 {
            if (self.slots[place] ^ key) & !HOME_MASK == 0 {
                found.push(super::wire::index((self.slots[place] & HOME_MASK) - 1));
            }
            place = (place + 1) & (self.slots.len() - 1);
        }
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.dedup();
        found
    }
}

/// Which segments may hold which ids.
pub(super) struct Dedup {
    /// Oldest first.
    generations: VecDeque<Generation>,
    most: usize,
    /// Everything accepted after this is remembered.
    pub(super) since: Micros,
}

/// Into how many generations the most ids are divided: so much is forgotten at once.
const GENERATIONS: usize = 10;

impl Dedup {
    pub(super) fn new(most: usize, since: Micros) -> Self {
        Self { generations: VecDeque::from([Generation::new()]), most, since }
    }

    /// Starts a segment: what is inserted from now on is there.
    pub(super) fn start(&mut self, home: Arc<Home>) {
        let per_generation = (self.most / GENERATIONS).max(1);
        let is_full =
            self.generations.back().is_none_or(|newest| newest.used >= per_generation || newest.homes.len() as u64 >= HOME_MASK - 1);
        if is_full {
            self.generations.push_back(Generation::new());
        }
        if let Some(newest) = self.generations.back_mut() {
            newest.homes.push(home);
        }
        self.forget();
    }

    /// Lets go of generations that are of no use any more, and of those beyond the bound.
    fn forget(&mut self) {
        let total = |generations: &VecDeque<Generation>| generations.iter().map(|generation| generation.used).sum::<usize>();
        while self.generations.len() > 1
            && let Some(oldest) = self.generations.front()
        {
            let is_useless = oldest.homes.iter().all(|home| matches!(home.form(), Form::Forgotten));
            if !is_useless && total(&self.generations) <= self.most {
                return;
            }
            if !is_useless {
                self.since = self.since.max(oldest.newest);
                oldest.homes.iter().for_each(|home| home.cut());
            }
            self.generations.pop_front();
        }
    }

    pub(super) fn insert(&mut self, key: u64, accepted_at: Micros) {
        if let Some(newest) = self.generations.back_mut() {
            let home = newest.homes.len().saturating_sub(1);
            newest.newest = newest.newest.max(accepted_at);
            newest.insert(key, home);
        }
    }

    /// Inserts all ids of a sealed segment.
    pub(super) fn load(&mut self, home: Arc<Home>, keys: &[u8], newest: Micros) {
        self.start(home);
        for key in keys.chunks_exact(8) {
            self.insert(super::wire::Cursor::new(key).u64().unwrap_or_default(), newest);
        }
    }

    /// The newest event of this id that is remembered.
    pub(super) fn find(&self, hash: u128, damage: &Damage) -> Option<IdEntry> {
        for generation in self.generations.iter().rev() {
            for home in generation.candidates(key_of(hash)) {
                let Some(home) = generation.homes.get(home) else { continue };
                match home.find_id(hash) {
                    Ok(Some(found)) => return Some(found),
                    Ok(None) => {}
                    Err(error) => damage.report(&super::segment::index_name(home.id), &format!("a duplicate may be stored: {error}")),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64) -> IdEntry {
        let hash = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number);
        IdEntry { hash, fingerprint: 0, offset: number, accepted_at: number, until: number + 1 }
    }

    fn fill(dedup: &mut Dedup, numbers: std::ops::Range<u64>, per_segment: usize) {
        let numbers: Vec<u64> = numbers.collect();
        for chunk in numbers.chunks(per_segment) {
            let home = Arc::new(Home::writing(chunk[0]));
            dedup.start(home.clone());
            for number in chunk {
                home.ids().push(entry(*number));
                dedup.insert(key_of(entry(*number).hash), *number);
            }
        }
    }

    #[test]
    fn p7_every_id_is_found_and_no_other() {
        let (mut dedup, damage) = (Dedup::new(100_000, 0), Damage::default());
        fill(&mut dedup, 1..20_000, 700);
        for number in 1..20_000 {
            assert_eq!(dedup.find(entry(number).hash, &damage), Some(entry(number)));
        }
        assert_eq!(dedup.find(entry(20_001).hash, &damage), None);
    }

    #[test]
    fn p7_the_bound_is_kept_and_told() {
        let (mut dedup, damage) = (Dedup::new(1_000, 0), Damage::default());
        fill(&mut dedup, 1..5_001, 50);
        let since = dedup.since;
        assert!((3_900..=4_150).contains(&since), "{since}");
        for number in since + 1..5_001 {
            assert_eq!(dedup.find(entry(number).hash, &damage), Some(entry(number)));
        }
        assert_eq!(dedup.find(entry(100).hash, &damage), None);
    }
}
