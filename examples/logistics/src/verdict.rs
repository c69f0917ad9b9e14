//! The verdict on a run, and how it is shown.
//!
//! Constraint: a run is as it must be only if nothing is missing, nothing was done twice, and everything that was to go wrong did.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::flow::Agent;

/// What a run came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Verdict {
    /// Webhooks that became events.
    pub(crate) received: usize,
    /// Webhooks that were recognised as posted before.
    pub(crate) duplicates: usize,
    pub(crate) refused: usize,
    pub(crate) quarantined: usize,
    /// Deliveries to agents, the repeated ones included.
    pub(crate) delivered: usize,
    pub(crate) redelivered: usize,
    pub(crate) set_aside: usize,
    /// Poison that is no dead letter.
    pub(crate) not_set_aside: Vec<String>,
    pub(crate) killed: usize,
    pub(crate) not_taken_over: Vec<String>,
    /// What an agent should have done and has not.
    pub(crate) lost: Vec<String>,
    /// What an agent has done more than once.
    pub(crate) duplicated: Vec<String>,
    /// What an agent has done without a reason.
    pub(crate) unasked: Vec<String>,
    /// Absent while no webhook was delivered.
    pub(crate) latency: Option<Latency>,
    pub(crate) progress: BTreeMap<Agent, Progress>,
}

/// How far an agent is, in events.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) done: usize,
    pub(crate) due: usize,
}

/// From the post of a webhook to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Latency {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Latency {
    /// By the nearest rank, of samples in microseconds.
    pub(crate) fn of(mut micros: Vec<u64>) -> Option<Self> {
        micros.sort_unstable();
        let rank = |percent: usize| micros.get((micros.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some(Self { p50: Duration::from_micros(rank(50)?), p99: Duration::from_micros(rank(99)?) })
    }
}

impl Verdict {
    /// Whether nothing that was begun is still to be done.
    pub(crate) fn is_settled(&self) -> bool {
        self.lost.is_empty() && self.not_set_aside.is_empty() && self.not_taken_over.is_empty()
    }

    /// What is not as it must be; of a `whole` run also what should have gone wrong and did not.
    pub(crate) fn complaints(&self, whole: bool) -> Vec<String> {
        let lists = [&self.lost, &self.duplicated, &self.unasked, &self.not_set_aside, &self.not_taken_over];
        let mut complaints: Vec<_> = lists.into_iter().flatten().cloned().collect();
        if whole {
            let to_happen = [
                (self.received, "no webhook was received"),
                (self.duplicates, "no webhook came twice"),
                (self.refused, "no forged webhook was refused"),
                (self.quarantined, "no unfit webhook was quarantined"),
                (self.redelivered, "nothing was redelivered"),
                (self.set_aside, "no event became a dead letter"),
                (self.killed, "no agent was killed"),
            ];
            complaints.extend(to_happen.iter().filter(|(count, _)| *count == 0).map(|(_, complaint)| (*complaint).to_owned()));
        }
        complaints
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, duplicates, refused, quarantined, delivered, redelivered, set_aside, killed, .. } = self;
        writeln!(
            f,
            "received            {received:>6}   webhooks that became events (besides: duplicates {duplicates}, refused {refused}, quarantined {quarantined})"
        )?;
        writeln!(f, "delivered           {delivered:>6}   to agents, as their ledgers say")?;
        writeln!(
            f,
            "redelivered         {redelivered:>6}   after a failure, or after the SIGKILL of a process that had not acked (killed {killed})"
        )?;
        writeln!(f, "dead-lettered       {set_aside:>6}")?;
        writeln!(f, "lost                {:>6}", self.lost.len())?;
        writeln!(f, "duplicated effects  {:>6}", self.duplicated.len())?;
        match self.latency {
            Some(Latency { p50, p99 }) => {
                write!(f, "latency             {:>6}   ms from webhook to agent (p50), {} ms (p99)", millis(p50), millis(p99))
            }
            None => write!(f, "latency                  -   no webhook was delivered"),
        }
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.1}", duration.as_secs_f64() * 1000.0)
}
