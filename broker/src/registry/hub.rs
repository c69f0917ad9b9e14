//! The tail hub: what became durable wakes those whom it may concern, and nobody else.
//!
//! Constraints:
//! - New events are looked at once, whoever many subscriptions there are; posting lists by type find who may want them. A subscription
//!   that nobody is waiting on costs nothing here, and if nobody waits at all nothing is read.
//! - Waking is a hint: a dispatcher reads for itself. A hint may come for nothing, but none is ever missing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use waypost_store::{EventStore, Offset, ReadLimits, Selection};

use crate::{
    defect::{self, Defect},
    filter::{Filter, SYSTEM_PREFIX},
    limits,
};

/// One task's view of the tail, and who waits for it.
#[derive(Debug, Default)]
pub struct TailHub {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Everything before it was looked at.
    position: Offset,
    armed: usize,
    watchers: Vec<Option<Watcher>>,
    free: Vec<usize>,
    by_name: HashMap<Arc<str>, Vec<usize>>,
    by_prefix: HashMap<Arc<str>, Vec<usize>>,
    everything: Vec<usize>,
}

#[derive(Debug)]
struct Watcher {
    armed: bool,
    wake: Arc<Notify>,
    names: Vec<Arc<str>>,
    prefixes: Vec<Arc<str>>,
    everything: bool,
}

/// A place in the posting lists, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    hub: Arc<TailHub>,
    id: usize,
}

impl TailHub {
    /// A hub that has seen nothing.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Enters the posting lists of the types that these filters ask for. The notifier is woken by events that may match, once for each
    /// time that the watch is armed.
    #[must_use]
    pub fn watch<'a>(self: &Arc<Self>, filters: impl IntoIterator<Item = &'a Filter>, wake: Arc<Notify>) -> Watch {
        let mut watcher = Watcher { armed: false, wake, names: Vec::new(), prefixes: Vec::new(), everything: false };
        for filter in filters {
            match filter.types() {
                Some(types) => {
                    watcher.names.extend(types.names.iter().cloned());
                    watcher.prefixes.extend(types.prefixes.iter().cloned());
                }
                None => watcher.everything = true,
            }
        }
        Watch { hub: Arc::clone(self), id: self.lock().enter(watcher) }
    }

    /// Looks at what becomes durable until `stop` is cancelled.
    pub async fn run(&self, store: Arc<dyn EventStore>, stop: CancellationToken) {
        let mut tail = store.tail();
        loop {
            let end = *tail.borrow_and_update();
            if let Some(from) = self.begin(end) {
                self.look(&*store, from, end).await;
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = tail.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Where to look from; `None` if nobody waits.
    fn begin(&self, end: Offset) -> Option<Offset> {
        let mut inner = self.lock();
        if defect::is_on(Defect::PaceOfTheSlowest) && inner.armed < inner.watchers.iter().flatten().count() {
            return None;
        }
        let from = inner.position;
        if inner.armed == 0 {
            inner.position = from.max(end);
        }
        (from < inner.position.max(end) && inner.armed > 0).then_some(from)
    }

    async fn look(&self, store: &dyn EventStore, from: Offset, end: Offset) {
        let limits = ReadLimits { events: limits::READ_EVENTS, bytes: limits::READ_BYTES };
        let mut at = from;
        while at < end {
            match store.read(at, &Selection::All, limits).await {
                Ok(batch) if batch.gaps.is_empty() => {
                    let types = batch.events.iter().map(|event| event.head.event_type());
                    self.lock().seen(types, batch.next);
                    at = batch.next;
                }
                // What cannot be looked at concerns everybody: each finds out for itself.
                _ => return self.lock().wake_all(end),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Asks to be woken by the first event from `from` on that may match. `false`: something was stored there already; read again.
    #[must_use]
    pub fn arm(&self, from: Offset) -> bool {
        let mut inner = self.hub.lock();
        if inner.position > from {
            return false;
        }
        if let Some(Some(watcher)) = inner.watchers.get_mut(self.id)
            && !watcher.armed
        {
            watcher.armed = true;
            inner.armed += 1;
        }
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.hub.lock().leave(self.id);
    }
}

impl Inner {
    fn enter(&mut self, watcher: Watcher) -> usize {
        let id = self.free.pop().unwrap_or(self.watchers.len());
        watcher.names.iter().for_each(|name| self.by_name.entry(Arc::clone(name)).or_default().push(id));
        watcher.prefixes.iter().for_each(|prefix| self.by_prefix.entry(Arc::clone(prefix)).or_default().push(id));
        if watcher.everything {
            self.everything.push(id);
        }
        if id == self.watchers.len() {
            self.watchers.push(Some(watcher));
        } else {
            self.watchers[id] = Some(watcher);
        }
        id
    }

    fn leave(&mut self, id: usize) {
        let Some(watcher) = self.watchers.get_mut(id).and_then(Option::take) else { return };
        self.armed -= usize::from(watcher.armed);
        watcher.names.iter().for_each(|name| unpost(&mut self.by_name, name, id));
        watcher.prefixes.iter().for_each(|prefix| unpost(&mut self.by_prefix, prefix, id));
        self.everything.retain(|&other| other != id);
        self.free.push(id);
    }

    fn seen<'a>(&mut self, types: impl Iterator<Item = &'a str>, next: Offset) {
        self.position = self.position.max(next);
        let mut last = "";
        for event_type in types {
            if self.armed == 0 {
                return;
            }
            // Whom the type concerns was woken by the event before.
            if event_type != last {
                self.wake(event_type);
                last = event_type;
            }
        }
    }

    fn wake(&mut self, event_type: &str) {
        let Self { watchers, armed, by_name, by_prefix, everything, .. } = self;
        let mut wake = |ids: &[usize]| ids.iter().for_each(|&id| wake_one(watchers, armed, id));
        wake(by_name.get(event_type).map_or(&[], Vec::as_slice));
        if !by_prefix.is_empty() && !defect::is_on(Defect::HubMissesPrefixes) {
            for (dot, _) in event_type.match_indices('.') {
                wake(by_prefix.get(&event_type[..=dot]).map_or(&[], Vec::as_slice));
            }
        }
        if !event_type.starts_with(SYSTEM_PREFIX) {
            wake(everything);
        }
    }

    fn wake_all(&mut self, end: Offset) {
        self.position = self.position.max(end);
        for id in 0..self.watchers.len() {
            wake_one(&mut self.watchers, &mut self.armed, id);
        }
    }
}

fn wake_one(watchers: &mut [Option<Watcher>], armed: &mut usize, id: usize) {
    if let Some(Some(watcher)) = watchers.get_mut(id)
        && watcher.armed
    {
        watcher.armed = false;
        *armed -= 1;
        watcher.wake.notify_one();
    }
}

fn unpost(lists: &mut HashMap<Arc<str>, Vec<usize>>, name: &Arc<str>, id: usize) {
    if let Some(list) = lists.get_mut(name) {
        list.retain(|&other| other != id);
        if list.is_empty() {
            lists.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use waypost_proto::v1;

    use super::*;

    fn watch(hub: &Arc<TailHub>, types: &[&str]) -> (Watch, Arc<Notify>) {
        let filter = v1::Filter { types: types.iter().map(|&name| name.to_owned()).collect(), ..v1::Filter::default() };
        let wake = Arc::new(Notify::new());
        (hub.watch([&Filter::compile(&filter).unwrap()], Arc::clone(&wake)), wake)
    }

    fn is_woken(wake: &Notify) -> bool {
        let mut notified = std::pin::pin!(wake.notified());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        notified.as_mut().poll(&mut context).is_ready()
    }

    #[test]
    fn p12_an_event_wakes_only_those_whom_it_may_concern() {
        let hub = TailHub::new();
        let exact = watch(&hub, &["a.b"]);
        let prefix = watch(&hub, &["a.*", "a.b"]);
        let all = watch(&hub, &[]);
        let other = watch(&hub, &["c.*"]);
        let idle = watch(&hub, &["a.b"]);
        for (watch, _) in [&exact, &prefix, &all, &other] {
            assert!(watch.arm(1));
        }
        hub.lock().seen(["a.b", "a.b"].into_iter(), 3);
        assert_eq!([&exact, &prefix, &all, &other, &idle].map(|(_, wake)| is_woken(wake)), [true, true, true, false, false]);
        assert_eq!(hub.lock().armed, 1);
    }

    #[test]
    fn what_came_between_reading_and_waiting_is_not_missed() {
        let hub = TailHub::new();
        let (watch, _) = watch(&hub, &["a"]);
        hub.lock().seen(["b"].into_iter(), 5);
        assert!(!watch.arm(4), "offset 4 was looked at before");
        assert!(watch.arm(5));
    }

    #[test]
    fn who_left_is_forgotten() {
        let hub = TailHub::new();
        let (gone, wake) = watch(&hub, &["a", "b.*"]);
        assert!(gone.arm(1));
        drop(gone);
        hub.lock().seen(["a"].into_iter(), 2);
        assert!(!is_woken(&wake));
        let inner = hub.lock();
        assert_eq!((inner.armed, inner.by_name.len(), inner.by_prefix.len()), (0, 0, 0));
    }

    #[test]
    fn the_brokers_own_events_do_not_wake_who_wants_everything() {
        let hub = TailHub::new();
        let (all, wake) = watch(&hub, &[]);
        assert!(all.arm(1));
        hub.lock().seen(["waypost.storage.low"].into_iter(), 2);
        assert!(!is_woken(&wake));
    }
}
