//! Pause, seek, update, redrive, discard, delete. Each is decided alone: see the [machine](super).

use std::collections::BTreeSet;

use super::{Subscription, commit::MAX_COMMIT_ITEMS, decision::Decision, settle::Ask};
use crate::{
    Candidate, CloseReason, Config, Input, NotDone, Offset, Output, Outputs, Record, RequestId, SettleOutcome, output::MAX_FILTERS,
    record::Redriven,
};

impl Subscription {
    pub(super) fn pause(&mut self, request: RequestId, paused: bool) {
        self.administer(request, Vec::new(), Record::Paused(paused));
    }

    pub(super) fn seek(&mut self, request: RequestId, to: Offset) {
        self.administer(request, Vec::new(), Record::Sought { seek: self.state.seek.wrapping_add(1), to });
    }

    /// The offset of a new filter is settled here, and answered: not before what was examined, nor before the filter that it follows.
    pub(super) fn update(&mut self, request: RequestId, from: Offset, config: Config, filter: Vec<u8>, outputs: &mut Outputs) {
        let (last, is_same) = self.state.filters.back().map_or((0, false), |(begins, newest)| (*begins, *newest == filter));
        if self.state.filters.len() > MAX_FILTERS && !is_same {
            return Self::answer(request, Err(NotDone::TooManyFilters), outputs);
        }
        let from = from.max(self.state.frontier).max(last);
        self.administer(request, vec![from], Record::Updated { from, config, filter });
    }

    pub(super) fn redrive(&mut self, request: RequestId, events: Vec<Candidate>, outputs: &mut Outputs) {
        let mut seen = BTreeSet::new();
        let dead = events.into_iter().filter(|event| self.is_dead(event.offset) && seen.insert(event.offset));
        let events: Vec<_> = dead.take(self.room().min(MAX_COMMIT_ITEMS)).collect();
        if events.is_empty() {
            return Self::answer(request, Ok(Vec::new()), outputs);
        }
        let offsets = events.iter().map(|event| event.offset).collect();
        let redriven = events.into_iter().map(|Candidate { offset, bytes, key }| Redriven { offset, bytes, key });
        self.administer(request, offsets, Record::Redriven(redriven.collect()));
    }

    pub(super) fn discard(&mut self, request: RequestId, offsets: Vec<Offset>, outputs: &mut Outputs) {
        let dead: BTreeSet<_> = offsets.into_iter().filter(|&offset| self.is_dead(offset)).collect();
        let offsets: Vec<_> = dead.into_iter().take(MAX_COMMIT_ITEMS - 1).collect();
        if offsets.is_empty() {
            return Self::answer(request, Ok(Vec::new()), outputs);
        }
        self.administer(request, offsets.clone(), Record::Discarded(offsets));
    }

    pub(super) fn delete(&mut self, request: RequestId) {
        self.administer(request, Vec::new(), Record::Deleted);
    }

    fn administer(&mut self, request: RequestId, offsets: Vec<Offset>, fact: Record) {
        self.decide(Decision::administrative(request, offsets, fact));
    }

    fn is_dead(&self, offset: Offset) -> bool {
        self.state.dead_letters.contains(&offset) && !self.state.unsettled.contains(offset)
    }

    /// After the deletion: streams end, and whoever still asks is told.
    pub(super) fn end(&mut self, outputs: &mut Outputs) {
        for id in self.sessions.ids() {
            let stream = self.sessions.remove(id).and_then(|session| session.stream);
            outputs.extend(stream.map(|stream| Output::Close { session: id, stream, reason: CloseReason::Deleted }));
        }
        for ask in std::mem::take(&mut self.waiting) {
            Ask::answer(ask.who, SettleOutcome::Stale, outputs);
        }
        for input in std::mem::take(&mut self.deferred) {
            Self::turn_away(input, NotDone::Deleted, outputs);
        }
    }

    /// Answers an input that changes nothing.
    pub(super) fn turn_away(input: Input, why: NotDone, outputs: &mut Outputs) {
        match input {
            Input::Settle { request, settlements } => {
                let outcome = if why == NotDone::Unavailable { SettleOutcome::Unavailable } else { SettleOutcome::Stale };
                let asks = settlements.into_iter().enumerate().map(|(index, settlement)| Ask::new(request, index, settlement));
                asks.for_each(|ask| Ask::answer(ask.who, outcome, outputs));
            }
            Input::Connect { session, stream, .. } => outputs.push(Output::Close { session, stream, reason: CloseReason::Deleted }),
            Input::Pause { request, .. }
            | Input::Seek { request, .. }
            | Input::Update { request, .. }
            | Input::Redrive { request, .. }
            | Input::Discard { request, .. }
            | Input::Delete { request } => Self::answer(request, Err(why), outputs),
            Input::Candidates { .. }
            | Input::Gap { .. }
            | Input::Commit(_)
            | Input::Disconnect { .. }
            | Input::Drain { .. }
            | Input::Writable { .. } => {}
        }
    }

    fn answer(request: RequestId, result: Result<Vec<Offset>, NotDone>, outputs: &mut Outputs) {
        outputs.push(Output::Done { request, result });
    }
}
