//! Deliberate defects of the broker around the machine.
//!
//! Constraint: they exist for the simulation alone, which must notice every one of them. Without the feature `defects` none can be switched
//! on, and the compiler removes them.

use waypost_delivery::Subscription;

/// One way to break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// One of the machine's.
    Machine(waypost_delivery::Defect),
    /// P2: who waits for a prefix of types is not woken.
    HubMissesPrefixes,
    /// P3: an event that is read again is sent, though its lease was given back meanwhile.
    StaleFetch,
    /// P4: what is not a token of the broker fails the whole batch.
    BatchFailsWhole,
    /// P4: a publish stream answers what is known first, not what was sent first.
    StreamOutOfOrder,
    /// P7: publishers' ids are not remembered.
    NoWindow,
    /// P9: an output without an id gets one by chance.
    OutputIdByChance,
    /// P10: an output is as deep as its input.
    HopsNotCounted,
    /// P11: retention does not ask what a sleeping subscription wants.
    SleepersIgnored,
    /// P11: a backlog policy lets go of what is younger than it says.
    BacklogTooEager,
    /// P11: nobody is told what went by a backlog policy.
    BacklogUntold,
    /// P11: a subscription that is in use expires.
    PresenceIgnored,
    /// P12: nobody is woken before everybody is ready for more.
    PaceOfTheSlowest,
    /// P14: a read of the log passes over what is lost without a word.
    ReadSilent,
}

#[cfg(feature = "defects")]
thread_local! {
    static ON: std::cell::Cell<Option<Defect>> = const { std::cell::Cell::new(None) };
}

/// Breaks one promise for all brokers of this thread, until told otherwise.
#[cfg(feature = "defects")]
pub fn switch_on(defect: Option<Defect>) {
    ON.set(defect);
}

#[cfg(feature = "defects")]
pub(crate) fn is_on(defect: Defect) -> bool {
    ON.get() == Some(defect)
}

#[cfg(not(feature = "defects"))]
pub(crate) const fn is_on(_: Defect) -> bool {
    false
}

/// Hands a defect on to a machine.
#[cfg(feature = "defects")]
pub(crate) fn infect(machine: &mut Subscription) {
    if let Some(Defect::Machine(defect)) = ON.get() {
        machine.set_defect(Some(defect));
    }
}

#[cfg(not(feature = "defects"))]
pub(crate) const fn infect(_: &mut Subscription) {}
