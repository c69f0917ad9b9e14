//! Random histories with reopenings and crashes, against a naive model.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;

use super::{
    Broken, StoreFactory,
    model::{Expected, Model},
    sample::{Sample, T0, types},
    stand::{ALL, End, Stand, ensure, ensure_eq},
};
use crate::contract::{Claim, Commit, Duplicate, Micros, ReadLimits, Row, RowChange, Selection, Table};

/// Thirty histories of three hundred steps.
pub async fn random_histories_agree_with_the_model(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut covered = Coverage::new();
    for seed in 0..30 {
        for (what, times) in random_history(factory, seed, 300).await? {
            *covered.entry(what).or_default() += times;
        }
    }
    for what in ["duplicate", "other content", "conflict", "fenced", "trimmed", "gap", "closed", "crashed", "supersede"] {
        ensure!(covered.contains_key(what), "the histories never had this, so they prove nothing about it: {what} ({covered:?})");
    }
    Ok(())
}

/// How often something happened.
pub type Coverage = BTreeMap<&'static str, u64>;

/// One history. Answers what happened in it.
///
/// # Errors
/// What is broken, with the seed and the step.
pub async fn random_history(factory: &dyn StoreFactory, seed: u64, steps: u64) -> Result<Coverage, Broken> {
    let mut history = History {
        stand: Stand::new(factory).await?,
        model: Model::new(),
        rng: Rng::with_seed(seed),
        now: T0,
        claims: Vec::new(),
        covered: Coverage::new(),
    };
    for step in 0..steps {
        history = history.step().await.map_err(|broken| Broken(format!("seed {seed}, step {step}: {broken}")))?;
    }
    Ok(history.covered)
}

struct History {
    stand: Stand,
    model: Model,
    rng: Rng,
    now: Micros,
    /// All that were ever given: old ones are tried again.
    claims: Vec<Claim>,
    covered: Coverage,
}

impl History {
    async fn step(mut self) -> Result<Self, Broken> {
        // Mostly on, sometimes not at all, sometimes back.
        self.now = (self.now + self.rng.u64(0..400)).saturating_sub(self.rng.u64(0..60));
        match self.rng.u8(0..100) {
            0..=29 => self.append().await?,
            30..=54 => self.commit().await?,
            55..=61 => self.claim().await?,
            62..=77 => self.read().await?,
            78..=85 => self.scan().await?,
            86..=90 => self.offset_at().await?,
            91..=94 => self.trim().await?,
            95..=97 => self = self.reopen(End::Close).await?,
            _ => self = self.reopen(End::Crash).await?,
        }
        ensure_eq!(*self.stand.store().tail().borrow(), self.model.tail(), "the tail");
        Ok(self)
    }

    fn cover(&mut self, what: &'static str) {
        *self.covered.entry(what).or_default() += 1;
    }

    /// One window per source, as the contract asks.
    fn event(&mut self) -> Result<crate::NewEvent, Broken> {
        let (source, window, ids) = [("short", 2_000, 12), ("long", 40_000, 60), ("none", 0, 5)][self.rng.usize(0..3)];
        let event_type = ["a.v1.X", "a.v1.Y", "a.v2.X", "b"][self.rng.usize(0..4)];
        let content = u64::from(self.rng.u8(0..8) == 0);
        let sample = Sample::new(self.rng.u32(0..ids)).source(source).window(window).event_type(event_type).content(content);
        let body = if self.rng.u8(0..10) == 0 { self.rng.usize(0..20_000) } else { self.rng.usize(0..200) };
        sample.correlation(["", "s1", "s2"][self.rng.usize(0..3)]).body_bytes(body).build()
    }

    fn events(&mut self, most: usize) -> Result<Vec<crate::NewEvent>, Broken> {
        (0..self.rng.usize(0..=most)).map(|_| self.event()).collect()
    }

    async fn append(&mut self) -> Result<(), Broken> {
        let commit = Commit { events: self.events(6)?, ..Commit::default() };
        let answers = self.stand.store().append(self.now, commit.events.clone()).await?;
        for answer in &answers {
            match answer.duplicate {
                Some(Duplicate::SameContent) => self.cover("duplicate"),
                Some(Duplicate::OtherContent) => self.cover("other content"),
                None => {}
            }
        }
        self.model.answered(self.now, &commit, false, &answers)
    }

    fn random_commit(&mut self) -> Result<Commit, Broken> {
        let claim = match self.claims.len() {
            0 => None,
            // Mostly one of the newest, which may still hold.
            count if self.rng.u8(0..4) > 0 => Some(self.claims[count - 1 - self.rng.usize(0..count.min(3))].clone()),
            count if self.rng.bool() => Some(self.claims[self.rng.usize(0..count)].clone()),
            _ => None,
        };
        let mut commit = Commit { claim, events: self.events(2)?, ..Commit::default() };
        for _ in 0..self.rng.usize(0..4) {
            let table = Table::ALL[self.rng.usize(0..2)];
            let key = self.key();
            let value = Bytes::from(vec![self.rng.u8(..); self.rng.usize(0..300)]);
            let put = self.rng.u8(0..3) > 0;
            commit.rows.push(if put { RowChange::Put(table, Row { key, value }) } else { RowChange::Delete(table, key) });
        }
        if commit.claim.is_some() {
            commit.records = (0..self.rng.usize(0..4)).map(|_| Bytes::from(self.rng.u64(..).to_string())).collect();
            commit.supersede = self.rng.u8(0..8) == 0;
        }
        Ok(commit)
    }

    fn key(&mut self) -> Bytes {
        Bytes::from((0..self.rng.usize(0..3)).map(|_| [0, 7, 255][self.rng.usize(0..3)]).collect::<Vec<u8>>())
    }

    async fn commit(&mut self) -> Result<(), Broken> {
        let commit = self.random_commit()?;
        match (self.stand.store().commit(self.now, commit.clone()).await, self.model.expect(self.now, &commit, true)) {
            (Ok(answers), _) => {
                if commit.supersede {
                    self.cover("supersede");
                }
                self.model.answered(self.now, &commit, true, &answers)
            }
            (Err(error), Expected::Error(expected)) => {
                ensure_eq!(error, expected, "the refusal of {commit:?}");
                self.cover(if matches!(error, crate::CommitError::Fenced { .. }) { "fenced" } else { "conflict" });
                Ok(())
            }
            (Err(error), Expected::Answers(_)) => Err(error.into()),
        }
    }

    async fn claim(&mut self) -> Result<(), Broken> {
        let claimed = self.stand.store().claim(["one", "two", "three"][self.rng.usize(0..3)]).await?;
        let claim = self.model.claimed(&claimed)?;
        self.claims.push(claim);
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Broken> {
        let from = self.rng.u64(0..=self.model.tail() + 3);
        let selection = match self.rng.u8(0..6) {
            0 => Selection::All,
            1 => types(&["a.v1.Y", "b"], &[]),
            2 => types(&["b"], &["a.v1."]),
            3 => types(&[], &["a."]),
            4 => Selection::Correlation("s1".into()),
            _ => Selection::Id { source: "long".into(), id: self.rng.u32(0..60).to_string().into() },
        };
        let limits = if self.rng.bool() { ALL } else { ReadLimits { events: self.rng.usize(0..5), bytes: self.rng.usize(0..10_000) } };
        let found = self.stand.read_all(from, &selection, limits).await?;
        if !found.1.is_empty() {
            self.cover("gap");
        }
        ensure_eq!(found, self.model.read(from, &selection), "{selection:?} from {from} in reads of {limits:?}");
        Ok(())
    }

    async fn scan(&mut self) -> Result<(), Broken> {
        let (table, from, limit) = (Table::ALL[self.rng.usize(0..3)], self.key(), self.rng.usize(0..20));
        let rows = self.stand.store().scan(table, &from, limit).await?;
        ensure_eq!(rows, self.model.scan(table, &from, limit), "rows of {table:?} from {from:?}");
        Ok(())
    }

    async fn offset_at(&mut self) -> Result<(), Broken> {
        let time = self.rng.u64(T0..=self.now + 100);
        ensure_eq!(self.stand.store().offset_at(time).await?, self.model.offset_at(time), "offset_at({time})");
        Ok(())
    }

    async fn trim(&mut self) -> Result<(), Broken> {
        let before = self.rng.u64(0..=self.model.tail());
        let was = self.model.first;
        self.model.trimmed(before, self.stand.store().trim(before).await?)?;
        if self.model.first > was {
            self.cover("trimmed");
        }
        Ok(())
    }

    async fn reopen(mut self, end: End) -> Result<Self, Broken> {
        self.cover(if end == End::Close { "closed" } else { "crashed" });
        self.stand = self.stand.reopen(end).await?;
        let first = self.stand.store().disk().first;
        ensure!(first == self.model.first || (end == End::Crash && first < self.model.first), "first is {first} after {end:?}");
        self.model.first = first;
        let found = self.stand.read_all(0, &Selection::All, ALL).await?;
        ensure_eq!(found, self.model.read(0, &Selection::All), "all events after {end:?}");
        for table in Table::ALL {
            ensure_eq!(self.stand.rows(table).await?, self.model.scan(table, b"", usize::MAX), "rows of {table:?} after {end:?}");
        }
        Ok(self)
    }
}
