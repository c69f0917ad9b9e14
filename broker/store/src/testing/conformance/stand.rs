//! A store on its place, to be written, read, reopened and crashed; and how a check says what is broken.

use std::sync::Arc;

use super::{Broken, Place, Sizes, StoreFactory, sample::Sample};
use crate::{
    contract::{Appended, Commit, EventStore, Gap, Micros, Offset, ReadLimits, Row, Selection, Table},
    event::StoredEvent,
};

/// Returns what is broken unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::testing::conformance::Broken(format!($($what)+)));
        }
    };
}

/// Returns what is broken unless two values are equal.
macro_rules! ensure_eq {
    ($is:expr, $should:expr, $($what:tt)+) => {
        match (&$is, &$should) {
            (is, should) => {
                if is != should {
                    let what = format!($($what)+);
                    return Err($crate::testing::conformance::Broken(format!("{what}:\n   is: {is:?}\n  not: {should:?}")));
                }
            }
        }
    };
}

pub(super) use {ensure, ensure_eq};

/// No limits.
pub(super) const ALL: ReadLimits = ReadLimits { events: usize::MAX, bytes: usize::MAX };

/// How a store comes to an end before it is opened again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    Crash,
}

impl End {
    pub(super) const BOTH: [Self; 2] = [Self::Close, Self::Crash];
}

pub(super) struct Stand {
    place: Box<dyn Place>,
    store: Arc<dyn EventStore>,
}

impl Stand {
    pub(super) async fn new(factory: &dyn StoreFactory) -> Result<Self, Broken> {
        Self::with(factory, Sizes::default()).await
    }

    pub(super) async fn with(factory: &dyn StoreFactory, sizes: Sizes) -> Result<Self, Broken> {
        let mut place = factory.fresh(sizes);
        let store = place.open().await?;
        Ok(Self { place, store })
    }

    pub(super) fn store(&self) -> &dyn EventStore {
        &*self.store
    }

    /// A handle for a task of its own. It must be gone before the store is closed in good order.
    pub(super) fn handle(&self) -> Arc<dyn EventStore> {
        self.store.clone()
    }

    pub(super) async fn reopen(self, end: End) -> Result<Self, Broken> {
        let Self { mut place, store } = self;
        match end {
            End::Close => place.close(store).await?,
            End::Crash => place.crash(store).await?,
        }
        let store = place.open().await?;
        Ok(Self { place, store })
    }

    /// Closes the store, damages an event, and opens it again. Whether the engine can do this.
    pub(super) async fn damage(self, offset: Offset) -> Result<(Self, bool), Broken> {
        let Self { mut place, store } = self;
        place.close(store).await?;
        let done = place.damage(offset).await;
        let store = place.open().await?;
        Ok((Self { place, store }, done))
    }

    pub(super) async fn append_one(&self, now: Micros, sample: Sample) -> Result<Appended, Broken> {
        one(&self.store.append(now, vec![sample.build()?]).await?)
    }

    /// Appends samples one by one, each in a call of its own.
    pub(super) async fn append_each(&self, now: Micros, samples: impl IntoIterator<Item = Sample>) -> Result<Vec<StoredEvent>, Broken> {
        let mut all = Vec::new();
        for sample in samples {
            all.push(super::sample::stored(&sample.build()?, self.append_one(now, sample).await?));
        }
        Ok(all)
    }

    pub(super) async fn commit(&self, now: Micros, commit: Commit) -> Result<Vec<Appended>, Broken> {
        Ok(self.store.commit(now, commit).await?)
    }

    /// Everything of a selection from an offset on, in reads of these limits, each of which is checked by itself.
    pub(super) async fn read_all(
        &self,
        mut from: Offset,
        selection: &Selection,
        limits: ReadLimits,
    ) -> Result<(Vec<StoredEvent>, Vec<Gap>), Broken> {
        let (mut events, mut gaps): (Vec<StoredEvent>, Vec<Gap>) = (Vec::new(), Vec::new());
        loop {
            let batch = self.store.read(from, selection, limits).await?;
            let bytes: usize = batch.events.iter().map(|event| event.head.encoded().len() + event.body.len()).sum();
            ensure!(
                batch.events.len() <= 1 || (batch.events.len() <= limits.events && bytes <= limits.bytes),
                "a read from {from} passes its limits {limits:?}: {} events, {bytes} bytes",
                batch.events.len()
            );
            for event in &batch.events {
                let in_order = events.last().is_none_or(|last| last.offset < event.offset && last.accepted_at <= event.accepted_at);
                ensure!(in_order, "offset {} is out of order in {selection:?}", event.offset);
                ensure!((from..batch.next).contains(&event.offset), "{} is not in {from}..{}", event.offset, batch.next);
                ensure!(super::sample::matches(selection, &event.head), "{event:?} does not match {selection:?}");
                events.push(event.clone());
            }
            for gap in &batch.gaps {
                ensure!(gap.from < gap.to && gaps.last().is_none_or(|last| last.to <= gap.from), "{gap:?} overlaps or is empty");
                ensure!(from.max(1) <= gap.from && gap.to <= batch.next, "{gap:?} is not within {from}..{}", batch.next);
                gaps.push(*gap);
            }
            let tail = *self.store.tail().borrow();
            if batch.next >= tail {
                ensure_eq!(batch.next, from.max(tail), "next, when all of {selection:?} was read from {from}");
                return Ok((events, gaps));
            }
            ensure!(batch.next > from, "a read from {from} does not get on, though the tail is {tail}");
            ensure!(!batch.events.is_empty() || !batch.gaps.is_empty(), "a read from {from} stops at {} with nothing", batch.next);
            from = batch.next;
        }
    }

    /// All events that can be read, and no gap before them.
    pub(super) async fn events(&self) -> Result<Vec<StoredEvent>, Broken> {
        let (events, gaps) = self.read_all(0, &Selection::All, ALL).await?;
        ensure!(gaps.is_empty(), "nothing was trimmed or damaged, but there are gaps: {gaps:?}");
        Ok(events)
    }

    pub(super) async fn rows(&self, table: Table) -> Result<Vec<Row>, Broken> {
        Ok(self.store.scan(table, b"", usize::MAX).await?)
    }
}

/// The one answer to a write of one event.
pub(super) fn one(answers: &[Appended]) -> Result<Appended, Broken> {
    match answers {
        [answer] => Ok(*answer),
        other => Err(Broken(format!("one event was written, and {} answers came", other.len()))),
    }
}
