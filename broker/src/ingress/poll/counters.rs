//! What the rounds of a source brought, since the broker started.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use waypost_store::Micros;

macro_rules! polled {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// What can become of something that a provider lists.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Polled {
            $($(#[$doc])* $name,)*
        }

        impl Polled {
            /// Every one of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name in metrics.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

polled! {
    /// It had not come as a webhook; it is an event now.
    Recovered = "recovered";
    /// It was there already.
    Known = "known";
    /// It does not fit its type.
    Quarantined = "quarantined";
    /// The provider was asked to make the delivery again.
    Asked = "asked";
    /// It was asked for as often and for as long as it is worth, and never came.
    GivenUp = "given_up";
}

/// What the rounds of a source brought.
#[derive(Debug)]
pub struct PollCounters {
    polled: Vec<AtomicU64>,
    failures: AtomicU64,
    last: AtomicU64,
}

impl Default for PollCounters {
    fn default() -> Self {
        let polled = Polled::ALL.iter().map(|_| AtomicU64::new(0)).collect();
        Self { polled, failures: AtomicU64::new(0), last: AtomicU64::new(0) }
    }
}

impl PollCounters {
    pub(super) fn count(&self, polled: Polled) {
        // The list is in the order of the variants.
        self.polled[polled as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn done_at(&self, now: Micros) {
        self.last.store(now, Relaxed);
    }

    /// How often one came about.
    #[must_use]
    pub fn get(&self, polled: Polled) -> u64 {
        self.polled[polled as usize].load(Relaxed)
    }

    /// How many rounds broke off.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    /// When a round last came to its end, in microseconds since the Unix epoch; `None` if none has.
    #[must_use]
    pub fn last(&self) -> Option<Micros> {
        Some(self.last.load(Relaxed)).filter(|last| *last > 0)
    }
}
