//! Deliveries that the provider is asked to make again, since they failed and nothing came.
//!
//! Constraints:
//! - What is in the store is not asked for, whatever the provider's list says of it: its answer was lost, not the webhook.
//! - One that fails again is listed again; it is asked for a few times only. What is asked for is remembered over a restart.
//! - A delivery that is made again is a webhook like any other: it is verified, and it is recovered once its event is in the store.

use http::Method;
use waypost_store::{Micros, ReadError, ReadLimits, Selection};

use super::{
    PollPlan, Polled, Redelivery,
    page::Item,
    round::{PollError, Poller},
    state::{Asked, State},
};
use crate::{
    ingress::Source,
    limits::{MAX_REDELIVERIES, MAX_REDELIVERY_TRIES, REDELIVERY_WITHIN},
};

impl Poller {
    /// Counts those that came since they were asked for, and gives up those that did not for too long.
    pub(super) async fn settle(&self, source: &Source, state: &mut State, now: Micros) -> Result<(), PollError> {
        let mut left = Vec::new();
        for asked in std::mem::take(&mut state.asked) {
            if self.has(source, &asked.id).await? {
                source.counters.polled.count(Polled::Recovered);
            } else if now.saturating_sub(asked.first) < REDELIVERY_WITHIN.micros() {
                left.push(asked);
            } else {
                tracing::warn!(
                    source = &*source.name,
                    id = asked.id,
                    "a failed delivery was asked for again and never came; it is given up"
                );
                source.counters.polled.count(Polled::GivenUp);
            }
        }
        state.asked = left;
        Ok(())
    }

    /// Asks for a delivery again, if it failed and its webhook never came.
    pub(super) async fn redeliver(&self, work: (&Source, &PollPlan, &Redelivery), item: &Item, state: &mut State) -> Result<(), PollError> {
        let (source, plan, rule) = work;
        let Some(id) = item.field(&rule.id).filter(|_| item.field(&rule.status).is_some_and(|status| status != rule.ok)) else {
            return Ok(());
        };
        let known = state.asked.iter().position(|asked| asked.id == id);
        // An older failure than the one that was asked for, or the same.
        let is_answered = |asked: &Asked| item.at <= asked.last || asked.tries >= MAX_REDELIVERY_TRIES;
        if known.is_some_and(|at| is_answered(&state.asked[at])) {
            return Ok(());
        }
        if self.has(source, &id).await? {
            source.counters.polled.count(Polled::Known);
            return Ok(());
        }
        if known.is_none() && state.asked.len() >= MAX_REDELIVERIES {
            return Err(PollError::TooMany);
        }
        let url = plan.again(&rule.url, item).ok_or_else(|| PollError::NoAddress(rule.url.to_string()))?;
        self.ask(plan, Method::POST, &url).await?;
        source.counters.polled.count(Polled::Asked);
        let now = self.clock.now();
        // Clocks differ: what failed before it was asked for must not look like what failed since.
        let last = now.max(item.at);
        match known {
            Some(at) => {
                let asked = &mut state.asked[at];
                (asked.last, asked.tries) = (last, asked.tries + 1);
            }
            None => state.asked.push(Asked { id, first: now, last, tries: 1 }),
        }
        // Asked for and forgotten, it would be asked for again.
        state.keep(&*self.store, &source.name, now).await.map_err(PollError::Store)
    }

    async fn has(&self, source: &Source, id: &str) -> Result<bool, PollError> {
        let selection = Selection::Id { source: source.name.clone(), id: id.into() };
        let first = self.store.disk().first;
        let found = self.store.read(first, &selection, ReadLimits { events: 1, bytes: 1 }).await;
        found.map(|batch| !batch.events.is_empty()).map_err(|error: ReadError| PollError::Store(error.to_string()))
    }
}
