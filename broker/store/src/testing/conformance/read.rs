//! Selections, limits, where to go on, times.

use super::{
    Broken, StoreFactory,
    sample::{Sample, T0, matches, types},
    stand::{ALL, End, Stand, ensure, ensure_eq},
};
use crate::{
    contract::{ReadLimits, Selection},
    event::StoredEvent,
};

/// A few hundred events of several types, stories and sources, over several segments.
async fn varied(stand: &Stand) -> Result<Vec<StoredEvent>, Broken> {
    let samples = (0..300_u64).map(|k| {
        let event_type = match k % 10 {
            0..=4 => "orders.v1.Placed",
            5..=7 => "orders.v1.Paid",
            8 => "orders.v10.Placed",
            _ if k == 149 => "rare",
            _ => "ordersish",
        };
        let sample = Sample::new(k / 2).source(if k % 2 == 0 { "even" } else { "odd" }).event_type(event_type);
        sample.correlation(&format!("story {}", k % 7)).body_bytes(usize::try_from(k % 5).unwrap_or(0) * 300)
    });
    let mut events = Vec::new();
    for (k, sample) in samples.enumerate() {
        events.extend(stand.append_each(T0 + k as u64, [sample]).await?);
    }
    Ok(events)
}

fn selections() -> Vec<Selection> {
    vec![
        Selection::All,
        types(&["orders.v1.Placed"], &[]),
        types(&["rare", "ordersish"], &[]),
        types(&[], &["orders.v1."]),
        types(&[], &["orders"]),
        types(&["orders.v1.Paid", "rare", "nothing"], &["orders.v1.", "orders.v1.Pa"]),
        types(&[], &[""]),
        types(&[], &[]),
        types(&["orders.v1."], &["unknown."]),
        Selection::Correlation("story 3".into()),
        Selection::Correlation("story".into()),
        Selection::Id { source: "odd".into(), id: "42".into() },
        Selection::Id { source: "neither".into(), id: "42".into() },
    ]
}

/// Every selection finds exactly what matches, from every offset, and `next` leads through it: while open and after both ends.
pub async fn every_selection_finds_its_events(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let events = varied(&stand).await?;
    for end in [None, Some(End::Close), Some(End::Crash)] {
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        let tail = *stand.store().tail().borrow();
        for selection in selections() {
            for from in [0, 1, 2, tail / 3, tail / 2, tail - 1, tail, tail + 7] {
                let expected: Vec<_> =
                    events.iter().filter(|event| event.offset >= from && matches(&selection, &event.head)).cloned().collect();
                let (found, gaps) = stand.read_all(from, &selection, ALL).await?;
                ensure_eq!(found, expected, "events of {selection:?} from {from} ({end:?})");
                ensure!(gaps.is_empty(), "nothing is lost, but there are gaps: {gaps:?}");
            }
        }
    }
    Ok(())
}

/// However small the limits, reads go on one after the other until everything was read, once; each returns an event if there is one.
pub async fn limits_cut_a_read_and_lose_nothing(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let events = varied(&stand).await?;
    let limits = [(0, 0), (1, usize::MAX), (7, usize::MAX), (usize::MAX, 0), (usize::MAX, 500), (usize::MAX, 5_000), (3, 2_000)];
    for selection in selections() {
        let expected: Vec<_> = events.iter().filter(|event| matches(&selection, &event.head)).cloned().collect();
        for (most_events, most_bytes) in limits {
            let limits = ReadLimits { events: most_events, bytes: most_bytes };
            let (found, _) = stand.read_all(0, &selection, limits).await?;
            ensure_eq!(found, expected, "events of {selection:?} in reads of {limits:?}");
        }
    }
    Ok(())
}

/// An event that alone is beyond the limit of bytes is returned, alone.
pub async fn an_event_beyond_the_limit_is_returned_alone(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let events = stand.append_each(T0, [10, 1_000_000, 10].map(|bytes| Sample::new(bytes).window(0).body_bytes(bytes))).await?;
    let limits = ReadLimits { events: 10, bytes: 1_000 };
    let batch = stand.store().read(events[1].offset, &Selection::All, limits).await?;
    ensure_eq!(batch.events, events[1..2], "what a read of 1,000 bytes returns of an event of a million");
    let (found, _) = stand.read_all(0, &Selection::All, limits).await?;
    ensure_eq!(found, events, "all of them");
    Ok(())
}

/// `offset_at` is the first event accepted at or after a time, also among equal times and after reopening.
pub async fn offset_at_is_the_first_at_or_after(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let mut events = Vec::new();
    for k in 0..60_u64 {
        events.extend(stand.append_each(T0 + k / 3 * 10, [Sample::new(k).body_bytes(3_000)]).await?);
    }
    for end in [None, Some(End::Close), Some(End::Crash)] {
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        let tail = *stand.store().tail().borrow();
        for time in (T0 - 1..T0 + 202).chain([0, u64::MAX]) {
            let expected = events.iter().find(|event| event.accepted_at >= time).map_or(tail, |event| event.offset);
            ensure_eq!(stand.store().offset_at(time).await?, expected, "offset_at({time}) ({end:?})");
        }
    }
    Ok(())
}
