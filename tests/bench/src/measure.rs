//! Figures: what one round gives, and what all rounds say together.
//!
//! Constraint: quantiles are exact. Every sample is kept and sorted; none is put into buckets or left out.

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use serde::Serialize;
use tokio::time::Instant;

use crate::{contender::Contender, works::Work};

/// What is measured, with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Metric {
    /// Units of work a second.
    Rate,
    /// The same, with few idle subscriptions.
    RateFewIdle,
    /// The same, with many.
    RateManyIdle,
    P50,
    P99,
    /// The same of good webhooks without malformed ones beside them.
    P50Alone,
    P99Alone,
    /// The same with them.
    P50Beside,
    P99Beside,
    Worst,
    /// How many single measurements P50 and P99 come from.
    Samples,
    /// CPU time of the server for one unit of work.
    ServerCpu,
    PeakRss,
    /// Resident memory of the server before anything is connected.
    EmptyRss,
    /// Resident memory above the empty server: all connected, nothing published.
    ConnectedRss,
    /// Resident memory above the empty server: its peak.
    GrownRss,
    /// Deliveries in one message of a stream.
    Batch,
    /// Deliveries that were not the first of their event.
    Redelivered,
    /// From subscribing until every rare event is there, in a short log.
    CatchUpShort,
    /// The same in a log ten times as long, with as many rare events.
    CatchUpLong,
    /// From the start of the process until it answers.
    Open,
}

impl Metric {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::RateFewIdle => "rate, few idle",
            Self::RateManyIdle => "rate, many idle",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P50Alone => "p50, alone",
            Self::P99Alone => "p99, alone",
            Self::P50Beside => "p50, beside",
            Self::P99Beside => "p99, beside",
            Self::Worst => "worst",
            Self::Samples => "samples",
            Self::ServerCpu => "server CPU each",
            Self::PeakRss => "peak RSS",
            Self::EmptyRss => "empty RSS",
            Self::ConnectedRss => "connected, above empty",
            Self::GrownRss => "peak, above empty",
            Self::Batch => "deliveries per message",
            Self::Redelivered => "redelivered",
            Self::CatchUpShort => "catch-up, short log",
            Self::CatchUpLong => "catch-up, long log",
            Self::Open => "open",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Rate | Self::RateFewIdle | Self::RateManyIdle => "/s",
            Self::P50 | Self::P99 | Self::P50Alone | Self::P99Alone | Self::P50Beside | Self::P99Beside | Self::Worst | Self::ServerCpu => {
                "µs"
            }
            Self::PeakRss | Self::EmptyRss | Self::ConnectedRss | Self::GrownRss => "MB",
            Self::Samples | Self::Batch | Self::Redelivered => "",
            Self::CatchUpShort | Self::CatchUpLong | Self::Open => "ms",
        }
    }
}

/// What one round of one contender gave.
pub(crate) type Figures = Vec<(Metric, f64)>;

/// All rounds of a run: one value per round, in the order of the rounds.
#[derive(Default)]
pub(crate) struct Record {
    values: BTreeMap<(Work, Contender, Metric), Vec<f64>>,
    failures: Vec<Failure>,
}

/// A measurement that gave nothing.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) work: &'static str,
    pub(crate) contender: &'static str,
    pub(crate) reason: String,
}

impl Record {
    pub(crate) fn add(&mut self, work: Work, contender: Contender, figures: &Figures) {
        for &(metric, value) in figures {
            self.values.entry((work, contender, metric)).or_default().push(value);
        }
    }

    pub(crate) fn fail(&mut self, work: Work, contender: Contender, reason: String) {
        self.failures.push(Failure { work: work.name(), contender: contender.name(), reason });
    }

    pub(crate) fn failures(&self) -> &[Failure] {
        &self.failures
    }

    pub(crate) fn values(&self, work: Work, contender: Contender, metric: Metric) -> &[f64] {
        self.values.get(&(work, contender, metric)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Work, Contender, Metric, Spread)> {
        self.values.iter().filter_map(|(&(work, contender, metric), values)| Some((work, contender, metric, Spread::of(values)?)))
    }
}

/// The median of the rounds, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    /// `None` without a value.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let upper = sorted[sorted.len() / 2];
        let lower = sorted[(sorted.len() - 1) / 2];
        Some(Self { median: f64::midpoint(lower, upper), low, high, rounds: sorted.len() })
    }
}

/// Single measurements, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies(Vec<u64>);

impl Latencies {
    pub(crate) fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        Self(nanos)
    }

    /// The value below or at which `share` of all samples lie, in microseconds.
    fn quantile(&self, share: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
        let rank = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).map_or(f64::NAN, |&nanos| nanos as f64 / 1e3)
    }

    pub(crate) fn figures(&self) -> Figures {
        vec![
            (Metric::P50, self.quantile(0.50)),
            (Metric::P99, self.quantile(0.99)),
            (Metric::Worst, self.quantile(1.0)),
            (Metric::Samples, self.0.len() as f64),
        ]
    }
}

/// Nanoseconds since the first call in this process: what is stamped into payloads.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    nanos(START.get_or_init(Instant::now).elapsed())
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let latencies = Latencies::of((1..=100).rev().map(|micros| micros * 1000).collect());
        assert_eq!(latencies.quantile(0.50), 50.0);
        assert_eq!(latencies.quantile(0.99), 99.0);
        assert_eq!(latencies.quantile(1.0), 100.0);
        assert!(Latencies::default().quantile(0.5).is_nan());
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread, Some(Spread { median: 2.5, low: 1.0, high: 4.0, rounds: 4 }));
        assert_eq!(Spread::of(&[]), None);
    }
}
