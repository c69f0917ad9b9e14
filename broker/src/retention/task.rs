//! Looks after the log, the subscriptions, the dead letters and the quarantine, at an interval.
//!
//! Constraint: an error of one step is logged and the step is made again at the next interval; nothing here ends the broker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use waypost_store::{Commit, Micros, Offset, ReadLimits, RowChange, Selection, Table, TypeSet};

use super::{
    RetentionRules,
    policy::{self, Absence, Gauge},
};
use crate::{
    dead_letters,
    defect::{self, Defect},
    dispatcher::{Change, Command, Shared},
    error::Fault,
    filter::Filter,
    grpc::convert::incarnation,
    ingress::{Mending, quarantine},
    limits,
    publisher::Publisher,
    registry::{Handle, Info, Registry},
    system::{Topic, Untold},
};

/// What is remembered between two rounds.
struct Keeper {
    registry: Arc<Registry>,
    publisher: Arc<Publisher>,
    rules: RetentionRules,
    mending: Arc<Mending>,
    started: Micros,
    gauge: Gauge,
    /// Whose end was told of.
    warned: BTreeSet<u64>,
    dead_letters_at: Micros,
    untold: Untold,
}

/// Looks after it until the broker ends.
pub(crate) async fn run(
    registry: Arc<Registry>,
    publisher: Arc<Publisher>,
    rules: RetentionRules,
    mending: Arc<Mending>,
    stop: CancellationToken,
) {
    let started = registry.shared().clock.now();
    let gauge = Gauge::default();
    let (warned, untold) = (BTreeSet::new(), Untold::default());
    let mut keeper = Keeper { registry, publisher, rules, mending, started, gauge, warned, dead_letters_at: started, untold };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = async {
                sleep(rules.interval).await;
                keeper.round().await;
            } => {}
        }
    }
}

/// The lowest offset that somebody needs, and who.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pin {
    offset: Offset,
    subscription: Arc<str>,
}

impl Keeper {
    async fn round(&mut self) {
        self.subscriptions().await;
        if let Err(fault) = self.log().await {
            tracing::warn!(%fault, "retention of the log failed; it is tried again");
        }
        if let Err(fault) = self.dead_letters().await {
            tracing::warn!(%fault, "retention of dead letters failed; it is tried again");
        }
        self.quarantine().await;
        self.untold.tell(&self.publisher).await;
    }

    fn shared(&self) -> &Arc<Shared> {
        self.registry.shared()
    }

    /// Lets go of what is settled and old enough, and tells who pins the rest when it gets full.
    async fn log(&mut self) -> Result<(), Fault> {
        let store = Arc::clone(&self.shared().store);
        let disk = store.disk();
        let wish = policy::wish(&disk, self.shared().clock.now(), self.rules.settled);
        let warning = self.gauge.update(policy::percent(&disk));
        if wish <= disk.first && warning.is_none() {
            return Ok(());
        }
        let still = self.registry.hold_still().await;
        // For a warning it is of interest who pins anything at all.
        let pin = self.pin(if warning.is_some() { disk.next } else { wish }).await?;
        let end = pin.as_ref().map_or(wish, |pin| pin.offset.min(wish));
        if end > disk.first {
            let first = store.trim(end).await?;
            tracing::info!(before = end, first, "settled events were let go");
        }
        drop(still);
        if let Some(percent) = warning {
            let facts = json!({
                "percent": percent,
                "used": disk.used,
                "cap": disk.cap,
                "reserve": disk.reserve,
                "pinned_by": pin.as_ref().map(|pin| &*pin.subscription),
                "pinned_from": pin.as_ref().map(|pin| pin.offset),
            });
            self.untold.add(Topic::StorageLow, &"".into(), facts);
        }
        Ok(())
    }

    /// Who needs the oldest of what lies before `end`.
    async fn pin(&self, end: Offset) -> Result<Option<Pin>, Fault> {
        let mut lowest: Option<Pin> = None;
        for handle in self.registry.list() {
            let end = lowest.as_ref().map_or(end, |pin| pin.offset);
            if let Some(offset) = self.needs(&handle, end).await? {
                lowest = Some(Pin { offset, subscription: Arc::clone(&handle.name) });
            }
        }
        Ok(lowest)
    }

    /// The first offset before `end` that a subscription still needs.
    async fn needs(&self, handle: &Arc<Handle>, end: Offset) -> Result<Option<Offset>, Fault> {
        let inspection = match handle.inspect(self.shared()).await {
            Ok(inspection) => inspection,
            // One whose state cannot be read loses nothing until an operator decides.
            Err(_) if handle.failure().is_some() => return Ok(Some(0)),
            Err(_) if handle.is_deleted() => return Ok(None),
            Err(fault) => return Err(fault),
        };
        let floor = inspection.floor;
        if floor >= end {
            return Ok(None);
        }
        if floor < inspection.status.frontier {
            return Ok(Some(floor));
        }
        // It sleeps: does anything that it wants lie between where it stands and the end?
        let selection = wanted(&inspection.filters);
        let batch = self.shared().store.read(floor, &selection, ReadLimits { events: 1, bytes: 1 }).await?;
        let first = batch.events.first().map_or(batch.next, |event| event.offset);
        Ok((first < end && !defect::is_on(Defect::SleepersIgnored)).then_some(first))
    }

    /// Backlog policies, and subscriptions that nobody uses.
    async fn subscriptions(&mut self) {
        for handle in self.registry.list() {
            let info = handle.info();
            let result = self.backlog(&handle, &info).await;
            let result = match result {
                Ok(()) => self.absence(&handle, info).await,
                Err(fault) => Err(fault),
            };
            if let Err(fault) = result {
                tracing::warn!(subscription = &*handle.name, %fault, "looking after a subscription failed; it is tried again");
            }
            // At once: what waits is lost with the process, and only so much may wait.
            self.untold.tell(&self.publisher).await;
        }
    }

    async fn backlog(&mut self, handle: &Arc<Handle>, info: &Info) -> Result<(), Fault> {
        let spec = &info.spec;
        if spec.backlog_age.is_none() && spec.backlog_bytes.is_none() {
            return Ok(());
        }
        let inspection = handle.inspect(self.shared()).await?;
        let store = &self.shared().store;
        let mut cut = 0;
        if let Some(age) = spec.backlog_age {
            let age = if defect::is_on(Defect::BacklogTooEager) { age / 4 } else { age };
            let before = self.shared().clock.now().saturating_sub(micros(age));
            cut = store.offset_at(before).await?;
        }
        if let Some(bytes) = spec.backlog_bytes {
            cut = cut.max(self.cut_by_bytes(inspection.status.frontier, spec.filter(), bytes).await?);
        }
        // Of interest only if something that it wants is before it.
        let Some(from) = self.needs(handle, cut).await? else { return Ok(()) };
        handle.send(self.shared(), Command::Gap { from, to: cut }).await?;
        let facts = json!({ "subscription": &*handle.name, "from_offset": from, "to_offset": cut, "reason": "backlog_policy" });
        if !defect::is_on(Defect::BacklogUntold) {
            self.untold.add(Topic::Gap, &handle.name, facts);
        }
        Ok(())
    }

    /// The offset before which the oldest events go so that no more than `max` bytes that match are left.
    async fn cut_by_bytes(&self, frontier: Offset, filter: &Filter, max: u64) -> Result<Offset, Fault> {
        // An upper bound that costs nothing.
        let segments = self.shared().store.disk().segments;
        if segments.iter().filter(|segment| segment.next > frontier).map(|segment| segment.bytes).sum::<u64>() <= max {
            return Ok(0);
        }
        let total = self.matching_bytes(frontier, filter, u64::MAX).await?.0;
        if total <= max {
            return Ok(0);
        }
        Ok(self.matching_bytes(frontier, filter, total - max).await?.1)
    }

    /// How many bytes match from an offset on, up to `enough`; and the offset after the last of them.
    async fn matching_bytes(&self, from: Offset, filter: &Filter, enough: u64) -> Result<(u64, Offset), Fault> {
        let (store, selection) = (&self.shared().store, filter.selection());
        let (mut at, mut bytes) = (from, 0);
        while bytes < enough && at < *store.tail().borrow() {
            let limits = ReadLimits { events: limits::READ_EVENTS, bytes: limits::READ_BYTES };
            let batch = store.read(at, &selection, limits).await?;
            for event in batch.events.iter().filter(|event| filter.matches(event)) {
                bytes += event.body.len() as u64;
                if bytes >= enough {
                    return Ok((bytes, event.offset + 1));
                }
            }
            at = batch.next;
        }
        Ok((bytes, at))
    }

    async fn absence(&mut self, handle: &Arc<Handle>, info: Info) -> Result<(), Fault> {
        let now = self.shared().clock.now();
        let last = info.last_session_at.unwrap_or(info.created_at);
        let is_used = handle.is_running() && !handle.inspect(self.shared()).await?.sessions.is_empty();
        if is_used && !defect::is_on(Defect::PresenceIgnored) {
            self.warned.remove(&handle.incarnation);
            // So that a crash does not make a long session look like a long absence.
            if now.saturating_sub(last) > micros(Duration::from_secs(3_600)) {
                handle.tell(Command::Seen).await;
            }
            return Ok(());
        }
        let facts = json!({ "subscription": &*handle.name, "incarnation": incarnation(handle.incarnation), "last_session_at": last });
        match policy::absence(now, last, self.started, info.spec.expire_after) {
            Absence::Kept => {}
            Absence::Expiring if self.warned.insert(handle.incarnation) => {
                self.untold.add(Topic::Expiring, &handle.name, facts);
            }
            Absence::Expiring => {}
            Absence::Expired => {
                self.registry.delete(handle).await?;
                self.warned.remove(&handle.incarnation);
                self.untold.add(Topic::Expired, &handle.name, facts);
            }
        }
        Ok(())
    }

    /// Quarantined webhooks that were kept for long enough.
    async fn quarantine(&self) {
        let now = self.shared().clock.now();
        let before = now.saturating_sub(micros(self.rules.quarantine));
        match quarantine::expire(&*self.shared().store, now, before).await {
            Ok(0) => {}
            Ok(count) => {
                self.mending.expired(count);
                tracing::warn!(count, "quarantined webhooks were let go: nobody mended their mapping within retention.quarantine");
            }
            Err(error) => tracing::warn!(%error, "retention of quarantined webhooks failed; it is tried again"),
        }
    }

    /// Dead letters that were kept for long enough.
    async fn dead_letters(&mut self) -> Result<(), Fault> {
        let now = self.shared().clock.now();
        // All are looked at, so not at every interval.
        if now.saturating_sub(self.dead_letters_at) < micros(self.rules.dead_letters / 720) {
            return Ok(());
        }
        self.dead_letters_at = now;
        let mut old: BTreeMap<u64, Vec<Offset>> = BTreeMap::new();
        let age = micros(self.rules.dead_letters);
        let store = Arc::clone(&self.shared().store);
        dead_letters::for_each(&*store, |row| {
            if !row.redriving && now.saturating_sub(row.dead_lettered_at) >= age {
                old.entry(row.incarnation).or_default().push(row.offset);
            }
        })
        .await?;
        for (incarnation, offsets) in old {
            for offsets in offsets.chunks(limits::DEAD_LETTERS_PER_STEP) {
                match self.registry.by_incarnation(incarnation) {
                    Some(handle) => drop(handle.change(self.shared(), Change::Discard(offsets.to_vec())).await?),
                    None => {
                        let key = |&offset: &Offset| dead_letters::DeadLetterKey { incarnation, offset }.bytes();
                        let rows = offsets.iter().map(|offset| RowChange::Delete(Table::DeadLetters, key(offset))).collect();
                        store.commit(now, Commit { rows, ..Commit::default() }).await?;
                    }
                }
            }
            tracing::info!(incarnation, "dead letters were let go");
        }
        Ok(())
    }
}

/// Everything that any of the filters may match.
fn wanted(filters: &[(Offset, Filter)]) -> Selection {
    let mut types = TypeSet::default();
    for (_, filter) in filters {
        let Some(wanted) = filter.types() else { return Selection::All };
        types.names.extend(wanted.names.iter().cloned());
        types.prefixes.extend(wanted.prefixes.iter().cloned());
    }
    Selection::Types(types)
}

fn micros(span: Duration) -> Micros {
    u64::try_from(span.as_micros()).unwrap_or(Micros::MAX)
}
