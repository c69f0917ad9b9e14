//! All sources that are polled, until the broker ends.
//!
//! Constraint: each source has one round under way at most, and a slow provider holds up no other.

use std::{collections::HashMap, sync::Arc};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::JoinMap};

use super::{Poller, pacing::Pace, round::PollError};
use crate::{ingress::LiveSources, limits::POLL_LOOK_INTERVAL};

struct Polling {
    poller: Arc<Poller>,
    sources: LiveSources,
    paces: HashMap<Arc<str>, Pace>,
    rounds: JoinMap<Arc<str>, Result<(), PollError>>,
}

/// Polls the sources that are to be polled, until `stop` is cancelled.
pub(crate) async fn run(poller: Poller, sources: LiveSources, stop: CancellationToken) {
    let mut polling = Polling { poller: Arc::new(poller), sources, paces: HashMap::new(), rounds: JoinMap::new() };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Some((name, ended)) = polling.rounds.join_next() => {
                let ended = ended.map_err(|error| PollError::Broken(error.to_string()));
                polling.end(&name, ended.and_then(|ended| ended));
            }
            () = sleep(POLL_LOOK_INTERVAL) => polling.begin(),
        }
    }
}

impl Polling {
    /// Begins the rounds that are due.
    fn begin(&mut self) {
        let (now, sources) = (self.poller.clock.now(), self.sources.current());
        self.paces.retain(|name, _| sources.get(name).is_some_and(|source| source.poll.is_some()));
        for (source, plan) in sources.iter().filter_map(|source| Some((source, source.poll.clone()?))) {
            let is_due = self.paces.entry(Arc::clone(&source.name)).or_default().is_due(now);
            if !is_due || self.rounds.contains_key(&source.name) {
                continue;
            }
            let (poller, source) = (Arc::clone(&self.poller), Arc::clone(source));
            self.rounds.spawn(Arc::clone(&source.name), async move { poller.round(&source, &plan).await });
        }
    }

    fn end(&mut self, name: &Arc<str>, ended: Result<(), PollError>) {
        let (now, sources) = (self.poller.clock.now(), self.sources.current());
        // It may be gone meanwhile.
        let Some((source, plan)) = sources.get(name).and_then(|source| Some((source, source.poll.as_ref()?))) else { return };
        let pace = self.paces.entry(Arc::clone(name)).or_default();
        match ended {
            Ok(()) => pace.done(plan, now),
            Err(error) => {
                source.counters.polled.failed();
                let again_in = pace.broke_off(plan, error.wait(), now);
                tracing::warn!(source = &**name, %error, again_in = %again_in.as_secs(), "the provider could not be asked for what was missed");
            }
        }
    }
}
