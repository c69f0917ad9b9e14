//! What is read again while the broker runs: certificates and tokens.
//!
//! Constraints: what cannot be used changes nothing, and is told once, not at every look; each file is looked at in full, since a time
//! stamp may stay as it is; no runtime thread waits for a disk.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::limits;

/// Something that comes from files and can be read again.
pub trait Renew: Send + Sync {
    /// What it is, for the log: the key of the configuration.
    fn name(&self) -> &str;

    /// Reads again. What is sound and new is in force from now on, and is described; `None` if nothing is new.
    ///
    /// # Errors
    /// What is wrong with it, for people. Then everything is as it was.
    fn renew(&self) -> Result<Option<String>, String>;
}

/// Everything that is read again. Clones share it.
#[derive(Clone, Default)]
pub struct Renewals(Arc<[Renewal]>);

struct Renewal {
    what: Arc<dyn Renew>,
    /// What was told last.
    problem: Mutex<Option<String>>,
}

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|renewal| renewal.what.name())).finish()
    }
}

impl FromIterator<Arc<dyn Renew>> for Renewals {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Renew>>>(all: I) -> Self {
        Self(all.into_iter().map(|what| Renewal { what, problem: Mutex::default() }).collect())
    }
}

impl Renewals {
    /// Reads everything again, and tells the log what is new and what is wrong. Reads files: not for a runtime thread.
    pub fn renew(&self) {
        for Renewal { what, problem } in self.0.iter() {
            let mut last = problem.lock().unwrap_or_else(PoisonError::into_inner);
            match what.renew() {
                Ok(news) => {
                    *last = None;
                    if let Some(news) = news {
                        info!("{}: {news}", what.name());
                    }
                }
                Err(wrong) => {
                    if last.as_ref() != Some(&wrong) {
                        warn!("{}: {wrong}; what was in force before stays in force", what.name());
                    }
                    *last = Some(wrong);
                }
            }
        }
    }

    /// Looks again every few seconds, until `stop`.
    ///
    /// Cancel safety: a look that has begun is finished.
    pub async fn run(self, stop: CancellationToken) {
        while !self.0.is_empty() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(limits::RENEWAL_INTERVAL) => {}
            }
            let this = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || this.renew()).await {
                warn!(%error, "files could not be read again");
            }
        }
    }
}
