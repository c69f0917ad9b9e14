//! Duplicates in every variation.

use super::{
    Broken, Sizes, StoreFactory,
    sample::{Sample, T0, WINDOW, build_all},
    stand::{End, Stand, ensure, ensure_eq},
};
use crate::contract::{Appended, Commit, Duplicate};

/// The answer to a duplicate of a first.
fn duplicate_of(first: Appended, content: Duplicate) -> Appended {
    Appended { duplicate: Some(content), ..first }
}

/// A duplicate is answered with the first one's place and stored once, within one call and across calls, and its body is the first's.
pub async fn a_duplicate_is_stored_once(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let events = build_all([Sample::new("a"), Sample::new("b"), Sample::new("a"), Sample::new("a").content(2), Sample::new("b")])?;
    let answers = stand.store().append(T0, events).await?;
    ensure_eq!(answers.len(), 5, "answers");
    let (a, b) = (answers[0], answers[1]);
    ensure_eq!((a.duplicate, b.duplicate), (None, None), "duplicates among the first ones");
    ensure!(a.offset < b.offset, "offsets do not increase");
    let (same, other) = (Duplicate::SameContent, Duplicate::OtherContent);
    ensure_eq!(
        answers[2..],
        [duplicate_of(a, same), duplicate_of(a, other), duplicate_of(b, same)],
        "the answers to duplicates within one call"
    );
    let answers = stand.store().append(T0 + 5, build_all([Sample::new("c"), Sample::new("a"), Sample::new("b").content(3)])?).await?;
    ensure_eq!(answers[0].duplicate, None, "a new event between duplicates");
    ensure_eq!(answers[1..], [duplicate_of(a, same), duplicate_of(b, other)], "the answers to duplicates across calls");
    let events = stand.events().await?;
    ensure_eq!(events.iter().map(|event| event.head.id()).collect::<Vec<_>>(), ["a", "b", "c"], "what is stored");
    ensure_eq!(&events[0].body[..], b"suite a 0", "the body that is kept");
    Ok(())
}

/// The identity is the pair of source and id, not their concatenation.
pub async fn an_identity_is_source_and_id(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let pairs = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("a", "b"), ("b", "a")];
    let answers = stand.store().append(T0, build_all(pairs.map(|(source, id)| Sample::new(id).source(source)))?).await?;
    ensure!(answers.iter().all(|answer| answer.duplicate.is_none()), "different pairs are taken for duplicates: {answers:?}");
    for ((source, id), first) in pairs.into_iter().zip(answers) {
        let again = stand.append_one(T0, Sample::new(id).source(source)).await?;
        ensure_eq!(again, duplicate_of(first, Duplicate::SameContent), "the answer to {source:?} {id:?} again");
    }
    Ok(())
}

/// The memory of ids is there after a clean close and after a crash, with places, times and content.
pub async fn duplicates_are_found_after_reopening(factory: &dyn StoreFactory) -> Result<(), Broken> {
    for end in End::BOTH {
        let mut stand = Stand::new(factory).await?;
        let first = stand.append_one(T0, Sample::new("a")).await?;
        let commit = Commit { events: vec![Sample::new("b").build()?], ..Commit::default() };
        let second = stand.commit(T0 + 1, commit).await?[0];
        for _ in 0..2 {
            stand = stand.reopen(end).await?;
            let answers = stand.store().append(T0 + 9, build_all([Sample::new("a").content(1), Sample::new("b")])?).await?;
            let expected = [duplicate_of(first, Duplicate::OtherContent), duplicate_of(second, Duplicate::SameContent)];
            ensure_eq!(answers[..], expected, "the answers to duplicates after {end:?}");
        }
        ensure_eq!(stand.events().await?.len(), 2, "events after {end:?}");
    }
    Ok(())
}

/// Exactly at the end of the window a duplicate is one; after it, it is a new event, and the first from then on.
pub async fn a_window_ends(factory: &dyn StoreFactory) -> Result<(), Broken> {
    for end in [None, Some(End::Close), Some(End::Crash)] {
        let mut stand = Stand::new(factory).await?;
        let first = stand.append_one(T0, Sample::new("a")).await?;
        // Moves the clock of the store, and must not prolong the window.
        stand.append_one(T0 + WINDOW / 2, Sample::new("a")).await?;
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        let at_end = stand.append_one(T0 + WINDOW, Sample::new("a")).await?;
        ensure_eq!(at_end, duplicate_of(first, Duplicate::SameContent), "the answer at the end of the window");
        let after = stand.append_one(T0 + WINDOW + 1, Sample::new("a").content(1)).await?;
        ensure_eq!((after.duplicate, after.accepted_at), (None, T0 + WINDOW + 1), "the answer after the window ({end:?})");
        ensure!(after.offset > first.offset, "the new event has the offset {} of an old one", after.offset);
        if let Some(end) = end {
            stand = stand.reopen(end).await?;
        }
        let again = stand.append_one(T0 + 2 * WINDOW + 1, Sample::new("a").content(1)).await?;
        ensure_eq!(again, duplicate_of(after, Duplicate::SameContent), "the answer in the window of the second ({end:?})");
        ensure_eq!(stand.events().await?.len(), 2, "events");
    }
    Ok(())
}

/// A window of 0 finds nothing, also within one call.
pub async fn without_a_window_there_are_no_duplicates(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    let events = build_all([Sample::new("a").window(0), Sample::new("a").window(0)])?;
    let mut answers = stand.store().append(T0, events.clone()).await?;
    answers.extend(stand.commit(T0, Commit { events, ..Commit::default() }).await?);
    ensure!(answers.iter().all(|answer| answer.duplicate.is_none()), "duplicates without a window: {answers:?}");
    ensure_eq!(stand.events().await?.len(), 4, "events");
    Ok(())
}

/// A trim does not make the store forget ids, nor does reopening after it.
pub async fn ids_outlive_their_events(factory: &dyn StoreFactory) -> Result<(), Broken> {
    for end in End::BOTH {
        let stand = Stand::new(factory).await?;
        let first = stand.append_one(T0, Sample::new("first")).await?;
        stand.append_each(T0 + 1, (0..40).map(|id| Sample::new(id).body_bytes(10_000))).await?;
        let left = stand.store().trim(stand.store().disk().next).await?;
        ensure!(left > first.offset, "400 KB in segments of 64 KB, and nothing could be trimmed: the first is {left}");
        let again = stand.append_one(T0 + 2, Sample::new("first")).await?;
        ensure_eq!(again, duplicate_of(first, Duplicate::SameContent), "the answer after a trim");
        let stand = stand.reopen(end).await?;
        let again = stand.append_one(T0 + WINDOW, Sample::new("first")).await?;
        ensure_eq!(again, duplicate_of(first, Duplicate::SameContent), "the answer after a trim and {end:?}");
        let after = stand.append_one(T0 + WINDOW + 1, Sample::new("first")).await?;
        ensure_eq!(after.duplicate, None, "the answer after the window of a trimmed event");
    }
    Ok(())
}

/// With more ids than fit, the store says how far back it remembers, and what it says is true.
pub async fn dedup_since_tells_what_is_remembered(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::with(factory, Sizes { dedup_ids: 500, ..Sizes::default() }).await?;
    ensure_eq!(stand.store().disk().dedup_since, 0, "dedup_since while nothing had to be forgotten");
    for step in 0..2_000_u64 {
        stand.append_one(T0 + step, Sample::new(step)).await?;
    }
    let since = stand.store().disk().dedup_since;
    ensure!(since < T0 + 2_000, "nothing is remembered");
    let remembered = (T0 + 2_000).saturating_sub(since.max(T0));
    ensure!(remembered >= 250, "of 500 ids that fit, only {remembered} are vouched for");
    for step in (since + 1).max(T0) - T0..2_000 {
        let answer = stand.append_one(T0 + 2_000, Sample::new(step)).await?;
        ensure!(answer.duplicate.is_some(), "the event accepted at {} is after dedup_since {since}, and was forgotten", T0 + step);
    }
    Ok(())
}

/// Of many at once with one id, one is first, and all others are answered with its place.
pub async fn one_of_many_at_once_is_first(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let stand = Stand::new(factory).await?;
    for round in 0..10 {
        let mut writers = Vec::new();
        for _ in 0..8 {
            let store = stand.handle();
            let event = Sample::new(format!("id {round}")).build()?;
            writers.push(tokio::spawn(async move { store.append(T0, vec![event]).await }));
        }
        let mut answers = Vec::new();
        for writer in writers {
            answers.extend(writer.await??);
        }
        let firsts = answers.iter().filter(|answer| answer.duplicate.is_none()).count();
        ensure_eq!(firsts, 1, "of eight at once, first ones");
        ensure!(answers.iter().all(|answer| answer.offset == answers[0].offset), "several places for one id: {answers:?}");
    }
    ensure_eq!(stand.events().await?.len(), 10, "events");
    Ok(())
}

/// A duplicate is not answered before the first is durable: if a crash takes the first, no duplicate of it was answered.
pub async fn a_duplicate_waits_for_the_first(factory: &dyn StoreFactory) -> Result<(), Broken> {
    let mut stand = Stand::new(factory).await?;
    for round in 0..16_usize {
        let mut writers = Vec::new();
        for _ in 0..4 {
            let (store, event) = (stand.handle(), Sample::new(round).build()?);
            writers.push(tokio::spawn(async move { store.append(T0, vec![event]).await }));
        }
        for _ in 0..round % 6 {
            tokio::task::yield_now().await;
        }
        stand = stand.reopen(End::Crash).await?;
        let found = stand.events().await?.iter().any(|event| event.head.id() == round.to_string());
        for writer in writers {
            ensure!(writer.await?.is_err() || found, "a write of event {round} was answered, and the event is gone after a crash");
        }
    }
    Ok(())
}
