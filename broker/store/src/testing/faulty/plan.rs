//! Which call has which fault.
//!
//! Constraint: a decision is taken once, when the call begins, and depends on nothing but the seed, the script and the calls before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;

/// A kind of call of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`EventStore::append`](crate::EventStore::append)
    Append,
    /// [`EventStore::commit`](crate::EventStore::commit)
    Commit,
    /// [`EventStore::claim`](crate::EventStore::claim)
    Claim,
    /// [`EventStore::read`](crate::EventStore::read)
    Read,
    /// [`EventStore::offset_at`](crate::EventStore::offset_at)
    OffsetAt,
    /// [`EventStore::scan`](crate::EventStore::scan)
    Scan,
    /// [`EventStore::trim`](crate::EventStore::trim)
    Trim,
}

impl Call {
    fn is_write(self) -> bool {
        matches!(self, Self::Append | Self::Commit | Self::Claim)
    }
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An append or a commit is refused for want of space, and did not happen. Other calls are unavailable.
    Full,
    /// An append or a commit answers "unknown", and did not happen. Other calls are unavailable.
    Lost,
    /// An append or a commit answers "unknown", and happened. A claim answers "not available", and fences all the same. Other calls
    /// are unavailable.
    Done,
    /// The call answers "not available", and did not happen.
    Unavailable,
    /// The call waits before it does its work, and again before it answers.
    Slow {
        /// How long before the work.
        before: Duration,
        /// How long after it.
        after: Duration,
    },
    /// A read returns at most so many events (one at the least). Other calls are as usual.
    Short(usize),
}

/// How likely each fault is, in a thousand calls that can have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Odds {
    /// [`Fault::Full`]
    pub full: u16,
    /// [`Fault::Lost`]
    pub lost: u16,
    /// [`Fault::Done`]
    pub done: u16,
    /// [`Fault::Unavailable`]
    pub unavailable: u16,
    /// [`Fault::Slow`]; comes on top of others.
    pub slow: u16,
    /// [`Fault::Short`]
    pub short: u16,
    /// The longest delay, before and after each.
    pub delay: Duration,
    /// The longest outage after an unknown outcome: so many appends, commits and claims are unavailable, as a store that recovers is.
    pub outage: u32,
}

impl Odds {
    /// Much of everything: for simulation.
    #[must_use]
    pub fn rough() -> Self {
        Self { full: 10, lost: 15, done: 15, unavailable: 20, slow: 100, short: 200, delay: Duration::from_millis(200), outage: 12 }
    }
}

/// How often each fault was injected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Calls in all.
    pub calls: u64,
    /// [`Fault::Full`]
    pub full: u64,
    /// [`Fault::Lost`]
    pub lost: u64,
    /// [`Fault::Done`]
    pub done: u64,
    /// [`Fault::Unavailable`], and calls during an outage.
    pub unavailable: u64,
    /// [`Fault::Slow`]
    pub slow: u64,
    /// [`Fault::Short`]
    pub short: u64,
}

/// The plan of a [`FaultyStore`](super::FaultyStore), which outlives it. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct Faults {
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug)]
struct Plan {
    rng: Rng,
    odds: Odds,
    script: BTreeMap<Call, VecDeque<Option<Fault>>>,
    full: bool,
    down: bool,
    /// How many writes are still to be unavailable.
    outage: u32,
    counts: FaultCounts,
}

/// What was decided for one call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Decision {
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) fault: Option<Fault>,
}

impl Faults {
    /// No faults but those of scripts.
    #[must_use]
    pub fn none() -> Self {
        Self::seeded(0, Odds::default())
    }

    /// Faults by chance.
    #[must_use]
    pub fn seeded(seed: u64, odds: Odds) -> Self {
        let plan = Plan {
            rng: Rng::with_seed(seed),
            odds,
            script: BTreeMap::new(),
            full: false,
            down: false,
            outage: 0,
            counts: FaultCounts::default(),
        };
        Self { plan: Arc::new(Mutex::new(plan)) }
    }

    /// Says what happens to the next calls of a kind, one by one; `None` lets one be. Chance has no part in them.
    pub fn script(&self, call: Call, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.plan().script.entry(call).or_default().extend(faults);
    }

    /// Changes the odds, say to none at the end of a run. An outage ends, too.
    pub fn set_odds(&self, odds: Odds) {
        let mut plan = self.plan();
        plan.odds = odds;
        plan.outage = 0;
    }

    /// Makes the disk full, or room on it: appends, and commits without a claim, are refused meanwhile.
    pub fn set_full(&self, full: bool) {
        self.plan().full = full;
    }

    /// Takes the store down, or up again: every call but `tail` and `disk` is unavailable meanwhile.
    pub fn set_down(&self, down: bool) {
        self.plan().down = down;
    }

    /// What was injected so far.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.plan().counts
    }

    pub(super) fn is_full(&self) -> bool {
        self.plan().full
    }

    /// `may_use_reserve`: whether it is a commit under a claim.
    pub(super) fn decide(&self, call: Call, may_use_reserve: bool) -> Decision {
        self.plan().decide(call, may_use_reserve)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    fn decide(&mut self, call: Call, may_use_reserve: bool) -> Decision {
        self.counts.calls += 1;
        let scripted = self.script.get_mut(&call).and_then(VecDeque::pop_front);
        let mut decision = match scripted {
            Some(Some(Fault::Slow { before, after })) => Decision { before, after, fault: None },
            Some(fault) => Decision { fault, ..Decision::default() },
            None => self.by_chance(call),
        };
        if self.down {
            decision.fault = Some(Fault::Unavailable);
        } else if call.is_write() && self.outage > 0 {
            self.outage -= 1;
            decision.fault = Some(Fault::Unavailable);
        } else if self.full && matches!(call, Call::Append | Call::Commit) && !may_use_reserve {
            decision.fault = Some(Fault::Full);
        }
        decision.fault = decision.fault.and_then(|fault| fitting(fault, call));
        self.note(decision);
        decision
    }

    fn by_chance(&mut self, call: Call) -> Decision {
        let odds = self.odds;
        let (slow, before, after) = (self.roll(odds.slow), self.delay(odds.delay), self.delay(odds.delay));
        let mut fault = None;
        let short = Fault::Short(self.rng.usize(1..=3));
        let cases = [
            (odds.full, Fault::Full, matches!(call, Call::Append | Call::Commit)),
            (odds.lost, Fault::Lost, matches!(call, Call::Append | Call::Commit)),
            (odds.done, Fault::Done, call.is_write()),
            (odds.unavailable, Fault::Unavailable, true),
            (odds.short, short, call == Call::Read),
        ];
        for (odds, candidate, fits) in cases {
            if self.roll(odds) && fits && fault.is_none() {
                fault = Some(candidate);
            }
        }
        if slow { Decision { before, after, fault } } else { Decision { fault, ..Decision::default() } }
    }

    fn note(&mut self, decision: Decision) {
        let counts = &mut self.counts;
        counts.slow += u64::from(decision.before + decision.after > Duration::ZERO);
        match decision.fault {
            Some(Fault::Full) => counts.full += 1,
            Some(Fault::Lost) => counts.lost += 1,
            Some(Fault::Done) => counts.done += 1,
            Some(Fault::Unavailable) => counts.unavailable += 1,
            Some(Fault::Short(_)) => counts.short += 1,
            Some(Fault::Slow { .. }) | None => {}
        }
        if matches!(decision.fault, Some(Fault::Lost | Fault::Done)) {
            self.outage = self.rng.u32(0..=self.odds.outage);
        }
    }

    fn roll(&mut self, odds: u16) -> bool {
        self.rng.u16(0..1_000) < odds
    }

    fn delay(&mut self, most: Duration) -> Duration {
        Duration::from_micros(self.rng.u64(0..=u64::try_from(most.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// The fault as this kind of call can have it.
fn fitting(fault: Fault, call: Call) -> Option<Fault> {
    let is_write = matches!(call, Call::Append | Call::Commit);
    match fault {
        Fault::Full | Fault::Lost if !is_write => Some(Fault::Unavailable),
        Fault::Done if !call.is_write() => Some(Fault::Unavailable),
        Fault::Short(_) if call != Call::Read => None,
        other => Some(other),
    }
}
