//! Letting go, and gaps.

use super::{
    Broken, StoreFactory,
    sample::{Sample, T0, matches, types},
    stand::{ALL, End, Stand, ensure, ensure_eq},
};
use crate::{
    contract::{Gap, GapCause, Offset, Selection},
    event::StoredEvent,
};

/// Half a megabyte, in segments of 64 KiB.
async fn filled(stand: &Stand) -> Result<Vec<StoredEvent>, Broken> {
    let mut events = Vec::new();
    for k in 0..100_u64 {
        let event_type = if k % 10 == 3 { "rare" } else { "common" };
        events.extend(stand.append_each(T0 + k, [Sample::new(k).event_type(event_type).body_bytes(5_000)]).await?);
    }
    Ok(events)
}

/// What a store tells of itself after it let go of everything before `first`.
async fn check_trimmed(stand: &Stand, events: &[StoredEvent], first: Offset, when: &str) -> Result<(), Broken> {
    let tail = *stand.store().tail().borrow();
    let disk = stand.store().disk();
    ensure_eq!((disk.first, disk.next), (first, tail), "first and next, {when}");
    ensure_eq!(disk.segments.first().map(|segment| segment.first), Some(first), "the first offset of the first segment, {when}");
    for selection in [Selection::All, types(&["rare"], &[]), types(&[], &["comm"])] {
        for from in [0, 1, first / 2, first.saturating_sub(1), first, first + 1] {
            let (found, gaps) = stand.read_all(from, &selection, ALL).await?;
            let left = events.iter().filter(|event| event.offset >= from.max(first) && matches(&selection, &event.head));
            ensure_eq!(found, left.cloned().collect::<Vec<_>>(), "events of {selection:?} from {from}, {when}");
            let gap = Gap { from: from.max(1), to: first, cause: GapCause::Trimmed };
            let expected = if gap.from < first { vec![gap] } else { vec![] };
            ensure_eq!(gaps, expected, "gaps from {from}, {when}");
        }
    }
    for time in [0, T0, T0 + 50, T0 + 1_000] {
        let at = events.iter().find(|event| event.offset >= first && event.accepted_at >= time).map_or(tail, |event| event.offset);
        ensure_eq!(stand.store().offset_at(time).await?, at, "offset_at({time}), {when}");
    }
    Ok(())
}

/// A trim takes whole segments, nothing at or after `before`, and never goes back; what went is a gap, and what is left is whole.
pub async fn a_trim_takes_whole_segments_and_no_more(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let events = filled(&stand).await?;
    check_trimmed(&stand, &events, 1, "before any trim").await?;
    let (tail, before_any) = (stand.store().disk().next, stand.store().disk());
    ensure!(before_any.segments.len() >= 5, "half a megabyte in segments of 64 KiB made {} of them", before_any.segments.len());
    let mut last = 1;
    for before in [0, 1, 2, tail / 4, tail / 4 - 5, tail / 2, 1, tail - 10, tail, tail + 1_000] {
        let first = stand.store().trim(before).await?;
        ensure!(first <= before.max(last), "a trim before {before} took everything before {first}; before, it was {last}");
        ensure!(first >= last, "a trim before {before} went back from {last} to {first}");
        // Whole segments: the one that holds `before` stays, those before it go.
        let segment = before_any.segments.iter().rfind(|segment| segment.first <= before);
        let expected = segment.map_or(1, |segment| segment.first).max(last);
        ensure_eq!(first, expected, "the first offset after a trim before {before}");
        check_trimmed(&stand, &events, first, &format!("after a trim before {before}")).await?;
        last = first;
    }
    ensure!(last <= events[99].offset, "the segment being written went, too");
    let (was, is) = (before_any.used, stand.store().disk().used);
    ensure!(is < was, "{was} bytes were in use before everything was trimmed, and {is} after it");
    Ok(())
}

/// After a clean close, what was trimmed stays away. A crash may bring it back, but whole. Appends go on where they were.
pub async fn a_trim_over_reopening(factory: &dyn StoreFactory) -> Result<(), Broken> {
    for end in End::BOTH {
        let stand = Stand::new(factory).await?;
        let mut events = filled(&stand).await?;
        let first = stand.store().trim(stand.store().disk().next / 2).await?;
        let stand = stand.reopen(end).await?;
        let now = stand.store().disk().first;
        ensure!(now <= first, "first was {first}, and is {now} after {end:?}");
        ensure!(end == End::Crash || now == first, "what was trimmed before {first} is back from {now} on after a clean close");
        check_trimmed(&stand, &events, now, &format!("after a trim and {end:?}")).await?;
        events.extend(stand.append_each(T0, [Sample::new("after")]).await?);
        ensure_eq!(events[100].accepted_at, T0 + 99, "accepted_at after a trim and {end:?}");
        ensure!(events[100].offset > events[99].offset, "an offset was given twice after a trim and {end:?}");
        check_trimmed(&stand, &events, now, &format!("after a trim, {end:?} and an append")).await?;
    }
    Ok(())
}

/// Segments tell the truth: in order, without holes that hold events, with the time of their newest event, and they grow with the log.
pub async fn segments_cover_the_log(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let events = filled(&stand).await?;
    for end in [None, Some(End::Close), Some(End::Crash)] {
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        let disk = stand.store().disk();
        let mut covered = 0;
        for segment in &disk.segments {
            let inside: Vec<_> = events.iter().filter(|event| (segment.first..segment.next).contains(&event.offset)).collect();
            covered += inside.len();
            if let Some(newest) = inside.last() {
                ensure_eq!(segment.newest, newest.accepted_at, "when the newest event of {segment:?} was accepted ({end:?})");
                ensure!(segment.bytes > 0, "a segment with events has no size ({end:?}): {segment:?}");
            }
        }
        ensure_eq!(covered, events.len(), "events that are in one of the segments {:?} ({end:?})", disk.segments);
        ensure!(disk.segments.windows(2).all(|two| two[0].next == two[1].first), "segments do not follow each other: {:?}", disk.segments);
        ensure!(disk.used >= disk.segments.iter().map(|segment| segment.bytes).sum(), "used is less than the segments: {disk:?}");
    }
    Ok(())
}

/// A damaged event is a gap to whoever it may concern, is counted, and costs nothing but its surroundings: never wrong data, never
/// silence. Only for engines that can be damaged.
pub async fn damage_is_a_gap(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let events = filled(&stand).await?;
    let victim = &events[43];
    let (stand, damaged) = stand.damage(victim.offset).await?;
    if !damaged {
        return Ok(());
    }
    let rare = events.iter().filter(|event| event.head.event_type() == "rare").count();
    for (selection, all) in [(Selection::All, events.len()), (types(&["rare"], &[]), rare)] {
        let (found, gaps) = stand.read_all(0, &selection, ALL).await?;
        ensure!(gaps.iter().any(|gap| (gap.from..gap.to).contains(&victim.offset)), "no gap holds {}: {gaps:?}", victim.offset);
        ensure!(gaps.iter().all(|gap| gap.cause == GapCause::Damaged), "a damaged event was trimmed? {gaps:?}");
        ensure!(found.iter().all(|event| events.contains(event)), "a damaged event is served");
        let expected = events.iter().filter(|event| matches(&selection, &event.head));
        let missing: Vec<_> = expected.filter(|event| !found.contains(event)).collect();
        let told = missing.iter().all(|event| gaps.iter().any(|gap| (gap.from..gap.to).contains(&event.offset)));
        ensure!(told, "events are missing without a gap: {gaps:?}");
        ensure!(missing.len() * 4 <= all, "one damaged event cost {} of {all}", missing.len());
    }
    ensure!(stand.store().disk().damage > 0, "damage was found, and is not counted");
    let after = stand.append_one(T0, Sample::new("after")).await?;
    ensure!(after.offset > events[99].offset, "an offset was given twice after damage");
    Ok(())
}
