//! Public keys that providers publish, kept for as long as they hold.
//!
//! Constraints:
//! - Whoever sends a webhook makes the broker ask a provider at most: an address is asked by one at a time, a failure is remembered, only
//!   so many addresses are kept, and only so many keys a second are asked for in a source's name.
//! - While a provider's keys cannot be had, what they would verify is told to come again: it is not refused as forged.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::StatusCode;
use tokio::sync::Mutex as AsyncMutex;
use waypost_store::Micros;

use super::{
    fetch::{FetchError, Fetched, Fetcher},
    verify::{KeySet, KeysAt},
};
use crate::{
    access::rate::Rate,
    limits::{KEYS_ASKED_PER_SECOND, KEYS_HOLD, KEYS_HOLD_AT_LEAST, KEYS_HOLD_AT_MOST, KEYS_RETRY, MAX_KEY_ADDRESSES},
};

/// The keys of all providers. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct KeyRing(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    fetcher: Fetcher,
    /// Each by what its keys are remembered by.
    addresses: Mutex<HashMap<String, Arc<AsyncMutex<Held>>>>,
    /// Questions for keys that nobody had yet, in a source's name.
    asked: Rate,
}

impl Default for Ring {
    fn default() -> Self {
        Self { fetcher: Fetcher::default(), addresses: Mutex::default(), asked: Rate::new(KEYS_ASKED_PER_SECOND) }
    }
}

/// What is known of one address.
#[derive(Debug, Default)]
struct Held {
    keys: Option<Arc<KeySet>>,
    fetched_at: Micros,
    fresh_until: Micros,
    /// Before this it is not asked again, whatever for.
    patient_until: Micros,
    /// The provider has nothing there.
    is_nothing: bool,
}

/// Why there are no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoKeys {
    /// The provider says that it has none there.
    Unknown,
    /// They cannot be had now.
    Unavailable,
}

impl KeyRing {
    /// Without keys yet.
    #[must_use]
    pub fn new(fetcher: Fetcher) -> Self {
        Self(Arc::new(Ring { fetcher, ..Ring::default() }))
    }

    /// What fetches them.
    #[must_use]
    pub fn fetcher(&self) -> &Fetcher {
        &self.0.fetcher
    }

    /// The keys at an address. Dropping the future leaves what is known as it was.
    pub(crate) async fn get(&self, at: &KeysAt, now: Micros) -> Result<Arc<KeySet>, NoKeys> {
        let address = self.address(&at.name()).ok_or(NoKeys::Unavailable)?;
        let mut held = address.lock().await;
        let known = held.keys.as_ref().filter(|keys| now < held.fresh_until && keys.knows(at.id.as_deref()));
        if let Some(keys) = known {
            return Ok(Arc::clone(keys));
        }
        if now >= held.patient_until {
            // Whoever makes up ids must not use up what the provider allows the source.
            let is_new = at.takes_access() && held.keys.is_none();
            if is_new && self.0.asked.spend(now, 1).is_err() {
                return Err(NoKeys::Unavailable);
            }
            let answer = match at.request() {
                Some(request) => self.0.fetcher.fetch(request).await,
                None => Err(FetchError::Address),
            };
            held.take(answer, at, now);
        }
        held.usable(now)
    }

    /// As if these had just been fetched from there.
    #[cfg(test)]
    pub(crate) fn hold(&self, url: &str, keys: KeySet) {
        self.hold_for(url, keys, Micros::MAX);
    }

    /// The same, for so long.
    #[cfg(test)]
    pub(crate) fn hold_for(&self, url: &str, keys: KeySet, fresh_until: Micros) {
        let held = Held { keys: Some(Arc::new(keys)), fresh_until, ..Held::default() };
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner).insert(url.to_owned(), Arc::new(AsyncMutex::new(held)));
    }

    /// How many addresses are known.
    #[cfg(test)]
    pub(crate) fn addresses(&self) -> usize {
        self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn address(&self, url: &str) -> Option<Arc<AsyncMutex<Held>>> {
        let mut addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = addresses.get(url) {
            return Some(Arc::clone(known));
        }
        if addresses.len() >= MAX_KEY_ADDRESSES {
            // Those that never gave keys go: somebody may have made them up.
            addresses.retain(|_, held| held.try_lock().map_or(true, |held| held.keys.is_some()));
        }
        if addresses.len() >= MAX_KEY_ADDRESSES {
            // Some providers have a key of its own for each of their webhooks.
            let at = |(url, held): (&String, &Arc<AsyncMutex<Held>>)| Some((held.try_lock().ok()?.fetched_at, url.clone()));
            let oldest = addresses.iter().filter_map(at).min();
            oldest.and_then(|(_, url)| addresses.remove(&url));
        }
        let fits = addresses.len() < MAX_KEY_ADDRESSES;
        fits.then(|| Arc::clone(addresses.entry(url.to_owned()).or_default()))
    }
}

/// Whether an answer says that the provider has no such key. Who has to show something may be refused for that.
fn is_nothing(status: StatusCode, at: &KeysAt) -> bool {
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => true,
        StatusCode::FORBIDDEN => !at.takes_access(),
        StatusCode::BAD_REQUEST => at.takes_access(),
        _ => false,
    }
}

impl Held {
    fn take(&mut self, answer: Result<Fetched, FetchError>, at: &KeysAt, now: Micros) {
        self.patient_until = now.saturating_add(KEYS_RETRY.micros());
        self.is_nothing = matches!(&answer, Err(FetchError::Status(status)) if is_nothing(*status, at));
        let parsed = answer.map_err(|error| error.to_string()).and_then(|fetched| Ok((at.reading.read(&fetched.body)?, fetched.max_age)));
        match parsed {
            Ok((None, _)) => {
                self.is_nothing = true;
                self.keys = None;
            }
            Ok((Some(keys), max_age)) => {
                let hold = max_age.map_or(KEYS_HOLD.micros(), |age| u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
                let hold = hold.clamp(KEYS_HOLD_AT_LEAST.micros(), KEYS_HOLD_AT_MOST.micros());
                (self.keys, self.fetched_at, self.fresh_until) = (Some(Arc::new(keys)), now, now.saturating_add(hold));
            }
            Err(problem) => tracing::warn!(url = at.url, problem, "a provider's keys could not be fetched"),
        }
    }

    /// The keys, also for a while after they should have been fetched again. Whether the one that is needed is among them is seen when it is
    /// used.
    fn usable(&self, now: Micros) -> Result<Arc<KeySet>, NoKeys> {
        let is_usable = now < self.fresh_until.max(self.fetched_at.saturating_add(KEYS_HOLD_AT_MOST.micros()));
        match &self.keys {
            Some(keys) if is_usable => Ok(Arc::clone(keys)),
            _ if self.is_nothing => Err(NoKeys::Unknown),
            _ => Err(NoKeys::Unavailable),
        }
    }
}
