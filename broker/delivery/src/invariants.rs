//! The promises, as checks of the machine's state.
//!
//! Constraints: a check only reads, and names the promise that is broken. The same checks run after every step of a debug build, in
//! the model tests, and in the simulation. They cost in proportion to the unsettled events.

use std::collections::BTreeSet;

use crate::{
    Subscription,
    config::MAX_UNSETTLED,
    output::MAX_FILTERS,
    unsettled::{MAX_HISTORY, MAX_HISTORY_BYTES},
};

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{promise} does not hold: {what}")]
pub struct Violation {
    /// The promise, by its number.
    pub promise: &'static str,
    /// What is wrong.
    pub what: String,
}

/// More unsettled events than this are not checked after every step of a debug build.
const CHECKED_EVERY_STEP: usize = 64;

impl Subscription {
    /// Whether every promise holds that can be seen in the state.
    ///
    /// # Errors
    /// The first one that does not.
    pub fn check(&self) -> Result<(), Violation> {
        self.p2_nothing_vanishes()?;
        self.p3_one_lease_within_the_limits()?;
        self.p4_whoever_waits_is_answered()?;
        self.p6_leases_have_a_session()?;
        self.p11_nothing_is_read_past_a_loss()?;
        self.p12_memory_is_bounded()?;
        hold("P13", self.state.unsettled.is_consistent(), || "an index is not what the events say".into())
    }

    pub(crate) fn assert_invariants(&self) {
        if self.state.unsettled.len() <= CHECKED_EVERY_STEP {
            let result = self.check();
            debug_assert!(result.is_ok(), "{result:?}");
        }
    }

    /// An unsettled event is on its way somewhere: being decided about, under a clock, ready, or behind another of its key. And the
    /// spans that need no further look are after the frontier.
    fn p2_nothing_vanishes(&self) -> Result<(), Violation> {
        let decided: BTreeSet<_> = self.decided().collect();
        for (offset, entry) in self.state.unsettled.iter() {
            hold("P2", entry.settling == decided.contains(&offset), || format!("event {offset} waits for a decision that nobody makes"))?;
            let is_settled = self.state.settled_ahead.contains(offset) && !entry.redriven;
            hold("P2", !is_settled, || format!("event {offset} is settled and unsettled"))?;
        }
        let ahead = self.state.settled_ahead.first();
        hold("P2", ahead.is_none_or(|first| first > self.state.frontier), || {
            format!("{ahead:?} is settled ahead of the frontier, and before it")
        })?;
        hold("P2", self.floor() <= self.state.frontier, || "retention may take what was not examined".into())
    }

    fn p3_one_lease_within_the_limits(&self) -> Result<(), Violation> {
        for (id, session) in self.sessions.iter() {
            let (load, limits) = (self.state.unsettled.load_of(id), &session.limits);
            hold("P3", load.count() <= limits.max_outstanding, || format!("{id:?} holds {} events", load.events))?;
            let fits = load.bytes <= limits.max_outstanding_bytes || load.events == 1;
            hold("P3", fits, || format!("{id:?} holds {} bytes", load.bytes))?;
        }
        let mut tokens = BTreeSet::new();
        for (offset, entry) in self.state.unsettled.iter() {
            if let Some(lease) = entry.lease {
                hold("P3", lease.token.offset == offset && tokens.insert(lease.token), || {
                    format!("the lease of event {offset} is another's")
                })?;
                hold("P5", lease.deadline >= lease.started, || format!("the lease of event {offset} ends before it began"))?;
            }
        }
        Ok(())
    }

    fn p4_whoever_waits_is_answered(&self) -> Result<(), Violation> {
        hold("P4", !self.is_anyone_waiting() || self.next_timeout().is_some() || self.is_committing(), || {
            "a settlement waits for nothing".into()
        })
    }

    fn p6_leases_have_a_session(&self) -> Result<(), Violation> {
        let mut leases = self.state.unsettled.iter().filter_map(|(offset, entry)| entry.lease.map(|lease| (offset, lease.session)));
        let orphan = leases.find(|(_, session)| self.sessions.get(*session).is_none());
        hold("P6", orphan.is_none(), || format!("{orphan:?} is held by a session that is gone"))
    }

    fn p11_nothing_is_read_past_a_loss(&self) -> Result<(), Violation> {
        hold("P11", !self.is_reading_ahead(), || "a read goes on while a loss is not recorded".into())
    }

    fn p12_memory_is_bounded(&self) -> Result<(), Violation> {
        let state = &self.state;
        hold("P12", state.unsettled.len() <= MAX_UNSETTLED as usize, || format!("{} unsettled events", state.unsettled.len()))?;
        let longest = state.unsettled.iter().map(|(_, entry)| entry.history.len()).max().unwrap_or(0);
        hold("P12", longest <= MAX_HISTORY, || format!("a history of {longest} attempts"))?;
        // One attempt of each event is kept whatever the others take.
        let bound = MAX_HISTORY_BYTES + 1024 + 16 * MAX_UNSETTLED as usize;
        hold("P12", state.unsettled.history_bytes() <= bound, || format!("{} bytes of histories", state.unsettled.history_bytes()))?;
        hold("P12", state.filters.len() <= MAX_FILTERS + 1, || format!("{} filters", state.filters.len()))
    }
}

fn hold(promise: &'static str, holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { promise, what: what() }) }
}
