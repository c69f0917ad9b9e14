//! One round of a source: pages are asked for, and what they hold becomes events, until the list is at its end.
//!
//! Constraints:
//! - A page is left behind once everything on it is durable: a round that ends anywhere goes on at that page.
//! - What an item becomes is decided by the code that webhooks go through; it was fetched from the provider's own host, which stands for its
//!   signature.
//! - A round is bounded; what is left is for the next one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, request::Parts};
use waypost_store::{AppendError, CommitError, EventHead, EventStore, ReadError, ReadLimits, Selection, StoredEvent};

use super::{
    PollPlan, Polled, pacing,
    page::{Item, Page, PageError, same_host},
    state::State,
};
use crate::{
    clock::Clock,
    entropy::Entropy,
    ingress::{
        FetchError, Fetcher, Source,
        body::Kind,
        quarantine::{Quarantine, Reason, Undecodable, Unfit},
        replays,
        understand::Webhook,
    },
    limits::{MAX_POLL_PAGES, MAX_POLLED_BYTES, POLL_WITHIN, READ_BYTES, READ_EVENTS},
};

/// Why a round broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PollError {
    /// The provider was not reached.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It refused.
    #[error("the provider answered {status}")]
    Refused {
        status: StatusCode,
        /// How long it asks to wait.
        wait: Option<Duration>,
    },
    /// What it answered is not what the rule says.
    #[error(transparent)]
    Page(#[from] PageError),
    /// An item lacks what an address is made of.
    #[error("an item lacks what {0} is made of")]
    NoAddress(String),
    /// The store does not take what was found.
    #[error("the store: {0}")]
    Store(String),
    /// The round itself failed.
    #[error("a round broke off: {0}")]
    Broken(String),
    /// Too many deliveries that were asked for did not come yet.
    #[error("too many deliveries that were asked for have not come yet")]
    TooMany,
}

impl PollError {
    /// How long the provider asks to wait.
    pub(crate) fn wait(&self) -> Option<Duration> {
        if let Self::Refused { wait, .. } = self { *wait } else { None }
    }

    /// Whether asking for the same page again would not help.
    fn is_about_the_page(&self) -> bool {
        match self {
            Self::Refused { status, wait } => status.is_client_error() && wait.is_none(),
            Self::Page(_) | Self::NoAddress(_) => true,
            _ => false,
        }
    }
}

/// What rounds work with.
pub(crate) struct Poller {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) clock: Clock,
    entropy: Arc<Entropy>,
    fetcher: Fetcher,
    quarantine: Quarantine,
}

impl Poller {
    /// One that asks through this.
    pub(crate) fn new(store: Arc<dyn EventStore>, clock: Clock, entropy: Arc<Entropy>, fetcher: Fetcher) -> Self {
        let quarantine = Quarantine::new(Arc::clone(&entropy));
        Self { store, clock, entropy, fetcher, quarantine }
    }

    /// Asks for everything that happened since the last round.
    ///
    /// Cancel safety: dropped, the next round goes on with the page that this one was at.
    pub(crate) async fn round(&self, source: &Source, plan: &PollPlan) -> Result<(), PollError> {
        let now = self.clock.now();
        let state = State::load(&*self.store, &source.name).await.map_err(PollError::Store)?;
        let mut state = state.unwrap_or_else(|| State::starting_at(now.saturating_sub(plan.lookback.micros())));
        self.settle(source, &mut state, now).await?;
        // A page of another host is one of before a change of the configuration: what is shown to the one is not for the other.
        if state.next.is_empty() || !same_host(&plan.first(state.from), &state.next) {
            state.begin(plan);
        }
        // What came is counted once, and while the provider does not answer, the time from which on it is asked stays.
        state.keep(&*self.store, &source.name, now).await.map_err(PollError::Store)?;
        for _ in 0..MAX_POLL_PAGES {
            let page = match self.page(plan, &state.next).await {
                Err(error) if error.is_about_the_page() => {
                    // A cursor that has expired, or an address of before a change of the configuration: the list begins anew.
                    state.next.clear();
                    state.keep(&*self.store, &source.name, self.clock.now()).await.map_err(PollError::Store)?;
                    return Err(error);
                }
                page => page?,
            };
            let from = state.from;
            for item in page.items.iter().filter(|item| item.at >= from) {
                match &plan.rule.redeliver {
                    Some(rule) => self.redeliver((source, plan, rule), item, &mut state).await?,
                    None => self.take(source, plan, item).await?,
                }
                state.newest = state.newest.max(item.at.min(self.clock.now()));
            }
            // A list that is not cut off at a time has the newest first.
            let is_old = !page.items.is_empty() && page.items.iter().all(|item| item.at < from);
            let next = page.next.filter(|_| !is_old);
            let is_over = next.is_none();
            state.go_on(next);
            state.keep(&*self.store, &source.name, self.clock.now()).await.map_err(PollError::Store)?;
            if is_over {
                source.counters.polled.done_at(self.clock.now());
                return Ok(());
            }
        }
        Ok(())
    }

    async fn page(&self, plan: &PollPlan, url: &str) -> Result<Page, PollError> {
        let answer = self.ask(plan, Method::GET, url).await?;
        Ok(Page::read(&plan.rule, url, answer.headers(), answer.body())?)
    }

    /// Makes an event of an item, as if it had come as a webhook.
    async fn take(&self, source: &Source, plan: &PollPlan, item: &Item) -> Result<(), PollError> {
        let (now, head) = (self.clock.now(), head(source, plan));
        let webhook = Webhook { head: &head, raw: item.json.clone(), kind: Kind::Json, now, arrival: None, replay_of: None };
        let event = match plan.id(&item.json).transpose() {
            Ok(id) => source.event_of(&webhook, &item.json, &item.json, id, &self.entropy).map(|made| made.event),
            Err(absent) => Err(Undecodable::lacking(Reason::NoIdentity, &absent)),
        };
        let polled = match event {
            Ok(event) if self.came(source, plan, &event.head).await? => Polled::Known,
            Ok(event) => {
                let appended = self.store.append(now, vec![event]).await;
                let appended = appended.map_err(|error: AppendError| PollError::Store(error.to_string()))?;
                // Another body under the same identity is how the API writes what came as a webhook.
                if appended.iter().all(|appended| appended.duplicate.is_none()) { Polled::Recovered } else { Polled::Known }
            }
            Err(why) => {
                let unfit = Unfit { source, headers: &head.headers, raw: &item.json, is_part: true };
                let kept = self.quarantine.keep(&*self.store, now, unfit, why).await;
                let kept = kept.map_err(|error: CommitError| PollError::Store(error.to_string()))?;
                if kept.again { Polled::Known } else { Polled::Quarantined }
            }
        };
        source.counters.polled.count(polled);
        Ok(())
    }

    /// Whether an item that the rule gives its id came as a webhook: whether an event of its story says the same.
    async fn came(&self, source: &Source, plan: &PollPlan, head: &EventHead) -> Result<bool, PollError> {
        let mut at = self.store.disk().first;
        let (end, story) = (*self.store.tail().borrow(), Selection::Correlation(head.correlation_id().into()));
        let says_the_same = |event: &StoredEvent| {
            let id = (event.head.source() == &*source.name).then(|| replays::body(event)).flatten().and_then(|body| plan.id(&body));
            matches!(id, Some(Ok(id)) if id == head.id())
        };
        while at < end && plan.rule.identity.is_some() {
            let read = self.store.read(at, &story, ReadLimits { events: READ_EVENTS, bytes: READ_BYTES }).await;
            let batch = read.map_err(|error: ReadError| PollError::Store(error.to_string()))?;
            if batch.events.iter().any(says_the_same) {
                return Ok(true);
            }
            at = batch.next;
        }
        Ok(false)
    }

    pub(super) async fn ask(&self, plan: &PollPlan, method: Method, url: &str) -> Result<Response<Bytes>, PollError> {
        let request: Request<Bytes> = plan.request(method, url).ok_or_else(|| PollError::NoAddress(url.to_owned()))?;
        let answer = self.fetcher.send(request, POLL_WITHIN, MAX_POLLED_BYTES).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let wait = pacing::wait(answer.status(), answer.headers(), self.clock.wall());
        Err(PollError::Refused { status: answer.status(), wait })
    }
}

/// The head of the webhook that an item would have been.
fn head(source: &Source, plan: &PollPlan) -> Parts {
    let (mut head, ()) = Request::post(&*source.path).body(()).unwrap_or_default().into_parts();
    head.headers = plan.webhook_headers();
    head
}
