//! Offsets, times, the tail, many appenders at once.

use std::collections::BTreeSet;

use super::{
    Broken, StoreFactory,
    sample::{Sample, T0, build_all, stored},
    stand::{ALL, End, Stand, ensure, ensure_eq},
};
use crate::contract::{Commit, Selection};

/// A new store is empty, and its first offset is 1 at the earliest.
pub async fn a_new_store_is_empty(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    ensure_eq!(stand.events().await?, vec![], "the events of a new store");
    ensure_eq!(*stand.store().tail().borrow(), 1, "the tail of a new store");
    let disk = stand.store().disk();
    ensure_eq!((disk.first, disk.next), (1, 1), "first and next of a new store");
    ensure_eq!(stand.store().offset_at(0).await?, 1, "offset_at in a new store");
    ensure_eq!(stand.store().append(T0, vec![]).await?, vec![], "the answer to an append of nothing");
    ensure!(stand.append_one(T0, Sample::new(1)).await?.offset >= 1, "the first offset is 0");
    Ok(())
}

/// Offsets increase in the order of the calls, and within each call; what is read is what was written; all of it over both ends.
pub async fn events_come_back_in_their_order(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let mut written = Vec::new();
    for (round, end) in [End::Close, End::Crash, End::Close].into_iter().enumerate() {
        for call in 0..20 {
            let events = build_all((0..=call % 4).map(|k| Sample::new(format!("{round}.{call}.{k}")).body_bytes(call * 50)))?;
            let answers = stand.store().append(T0 + call as u64, events.clone()).await?;
            ensure_eq!(answers.len(), events.len(), "answers to one call");
            written.extend(events.iter().zip(answers).map(|(event, answer)| stored(event, answer)));
            ensure_eq!(stand.store().disk().next, written.last().map_or(1, |last| last.offset + 1), "next after an append");
        }
        ensure_eq!(stand.events().await?, written, "the events of round {round}");
        stand = stand.reopen(end).await?;
        ensure_eq!(stand.events().await?, written, "the events of round {round}, after {end:?}");
    }
    Ok(())
}

/// The time of acceptance never goes back: not with the clock, not over a reopening, and it is the same in answers and reads.
pub async fn accepted_at_never_goes_back(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    let mut last = 0;
    for (step, now) in [T0, T0 + 10, T0 + 5, T0, T0 + 11, 0, T0 + 11].into_iter().enumerate() {
        let answer = stand.append_one(now, Sample::new(step)).await?;
        ensure_eq!(answer.accepted_at, now.max(last), "accepted_at of step {step}");
        last = answer.accepted_at;
        let commit = Commit { events: vec![Sample::new(format!("c{step}")).build()?], ..Commit::default() };
        let answers = stand.commit(now - now.min(3), commit).await?;
        ensure_eq!(answers[0].accepted_at, last, "accepted_at of the commit of step {step}");
        stand = stand.reopen(End::BOTH[step % 2]).await?;
        let read = stand.events().await?;
        ensure_eq!(read.last().map(|event| event.accepted_at), Some(last), "accepted_at after reopening");
    }
    Ok(())
}

/// Nothing is visible before it is durable; a wake of the tail means that everything before it can be read.
pub async fn the_tail_is_what_can_be_read(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let mut tail = stand.store().tail();
    let store = stand.handle();
    let writer = tokio::spawn(async move {
        for id in 0..200 {
            store.append(T0, vec![Sample::new(id).build()?]).await?;
        }
        Ok::<_, Broken>(())
    });
    let (mut seen, mut count) = (*tail.borrow_and_update(), 0);
    while count < 200 {
        tail.changed().await?;
        let next = *tail.borrow_and_update();
        ensure!(next > seen, "the tail woke at {next} after {seen}");
        let (events, _) = stand.read_all(seen, &Selection::All, ALL).await?;
        ensure!(events.iter().any(|event| event.offset + 1 == next), "the tail is {next}, but the event before it cannot be read");
        count += events.iter().filter(|event| event.offset < next).count();
        seen = next;
    }
    writer.await??;
    Ok(())
}

/// After an answer, everything sees the write; and the tail sleeps while no event comes.
pub async fn an_answered_write_is_visible_at_once(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let claim = stand.store().claim("owner").await?.claim;
    let mut tail = stand.store().tail();
    for id in 0..50 {
        tail.mark_unchanged();
        let offset = stand.append_one(T0, Sample::new(id)).await?.offset;
        ensure_eq!(*tail.borrow(), offset + 1, "the tail after an answer");
        ensure!(tail.has_changed()?, "the tail did not wake");
        let batch = stand.store().read(offset, &Selection::All, ALL).await?;
        ensure_eq!(batch.events.len(), 1, "events read at the offset that was answered");
        tail.mark_unchanged();
        stand.commit(T0, Commit { claim: Some(claim.clone()), records: vec!["r".into()], ..Commit::default() }).await?;
        stand.append_one(T0, Sample::new(id)).await?;
        ensure!(!tail.has_changed()?, "the tail woke though no event came");
    }
    let tail = *tail.borrow();
    let stand = stand.reopen(End::Crash).await?;
    ensure_eq!(*stand.store().tail().borrow(), tail, "the tail after reopening");
    Ok(())
}

/// Many appenders at once: each gets places of its own, in the order of its calls, and the events of one call stay together.
pub async fn many_appenders_share_one_order(factory: &dyn StoreFactory) -> Result<(), Broken> {
    const WRITERS: usize = 8;
    const CALLS: usize = 30;
    let stand = Stand::new(factory).await?;
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = stand.handle();
        writers.push(tokio::spawn(async move {
            let mut written = Vec::new();
            for call in 0..CALLS {
                let events = build_all((0..3).map(|k| Sample::new(format!("{writer}.{call}.{k}"))))?;
                let answers = store.append(T0 + call as u64, events.clone()).await?;
                written.extend(events.iter().zip(answers).map(|(event, answer)| stored(event, answer)));
            }
            Ok::<_, Broken>(written)
        }));
    }
    let mut all = Vec::new();
    for writer in writers {
        let written = writer.await??;
        ensure!(written.is_sorted_by_key(|event| event.offset), "the calls of one writer are out of order");
        all.extend(written);
    }
    all.sort_by_key(|event| event.offset);
    ensure_eq!(all.iter().map(|event| event.offset).collect::<BTreeSet<_>>().len(), all.len(), "distinct offsets");
    ensure_eq!(stand.events().await?, all, "what all writers were answered");
    for call in all.chunks(3) {
        let calls: BTreeSet<_> = call.iter().map(|event| event.head.id().rsplit_once('.').map(|(call, _)| call)).collect();
        ensure!(calls.len() == 1, "the events of several calls are mixed: {calls:?}");
    }
    let stand = stand.reopen(End::Crash).await?;
    ensure_eq!(stand.events().await?, all, "what all writers were answered, after a crash");
    Ok(())
}

/// Dropping the future of a write leaves the store as if the write had happened or not; the next one works.
pub async fn a_dropped_write_harms_nobody(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    for id in 0..20 {
        let store = stand.handle();
        let event = Sample::new(format!("dropped {id}")).build()?;
        let writer = tokio::spawn(async move {
            let _ = store.append(T0, vec![event]).await;
        });
        for _ in 0..id % 4 {
            tokio::task::yield_now().await;
        }
        writer.abort();
        let _ = writer.await;
        stand.append_one(T0, Sample::new(id)).await?;
    }
    let events = stand.events().await?;
    let kept = events.iter().filter(|event| !event.head.id().starts_with("dropped")).count();
    ensure_eq!(kept, 20, "events that were answered");
    let stand = stand.reopen(End::Close).await?;
    let again = stand.events().await?;
    ensure!(again.len() >= events.len() && again[..events.len()] == events[..], "events are gone after reopening");
    Ok(())
}
