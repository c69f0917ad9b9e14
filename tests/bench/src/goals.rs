//! The goals, as ratios within one run.
//!
//! Constraint: both sides of a ratio come from the same round, and the verdict is on the median of the rounds' ratios: what
//! slows the whole machine down slows both sides.

use serde::Serialize;

use crate::{
    contender::Contender::{self, Bare, NatsAlways, NatsDefault, Waypost},
    measure::{Metric, Record, Spread},
    works::Work,
};

/// What a figure is compared with.
#[derive(Clone, Copy)]
enum Against {
    /// The same figure of another contender.
    Other(Contender),
    /// Another figure of the same contender.
    Own(Metric),
    /// A budget: the same figure of another contender, times, plus.
    Budget(Contender, f64, f64),
    /// A fixed bound in the figure's unit.
    Fixed(f64),
}

#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

struct Goal {
    work: Work,
    metric: Metric,
    against: Against,
    bound: Bound,
    text: &'static str,
}

const fn goal(work: Work, metric: Metric, against: Against, bound: Bound, text: &'static str) -> Goal {
    Goal { work, metric, against, bound, text }
}

const GOALS: [Goal; 20] = {
    use Against::{Budget, Fixed, Other, Own};
    use Bound::{AtLeast, AtMost};
    use Metric::{CatchUpLong, CatchUpShort, GrownRss, Open, P50, P50Alone, P50Beside, P99, PeakRss, Rate, RateFewIdle, RateManyIdle};
    [
        goal(Work::Publish1, P50, Budget(Bare, 1.3, 80.0), AtMost(1.0), "p50 ÷ (1.3 × bare sync write + 80 µs)"),
        goal(Work::Publish256, Rate, Other(NatsDefault), AtLeast(2.0), "rate ÷ nats default (which does not fsync)"),
        goal(Work::Publish256, Rate, Other(NatsAlways), AtLeast(40.0), "rate ÷ nats always"),
        goal(Work::FanOut, Rate, Other(NatsDefault), AtLeast(4.0), "rate ÷ nats default"),
        goal(Work::FanOut, Rate, Other(Bare), AtLeast(0.5), "rate ÷ bare streaming, same batches"),
        goal(Work::FanOut, PeakRss, Fixed(64.0), AtMost(1.0), "peak RSS ÷ 64 MB"),
        goal(Work::Latency, P99, Other(NatsAlways), AtMost(0.7), "p99 ÷ nats always"),
        goal(Work::Latency, P99, Other(NatsDefault), AtMost(1.3), "p99 ÷ nats default"),
        goal(Work::Webhook, P50, Other(NatsAlways), AtMost(1.0), "p50 ÷ nats always' publish → deliver"),
        goal(Work::Webhook, P99, Other(NatsAlways), AtMost(1.5), "p99 ÷ nats always' publish → deliver"),
        goal(Work::Edge, Rate, Other(Bare), AtLeast(0.45), "rate ÷ bare axum + HMAC, at first"),
        goal(Work::Edge, Rate, Other(Bare), AtLeast(0.6), "rate ÷ bare axum + HMAC, in the end"),
        goal(Work::Hostile, P50Beside, Own(P50Alone), AtMost(1.5), "p50 beside malformed requests ÷ p50 alone"),
        goal(Work::Filtered1000, Rate, Other(NatsDefault), AtLeast(8.0), "rate ÷ nats default"),
        goal(Work::Filtered1000, GrownRss, Fixed(45.0), AtMost(1.0), "RSS above the empty broker ÷ 45 MB"),
        goal(Work::Filtered8, Rate, Other(NatsDefault), AtLeast(20.0), "rate ÷ nats default"),
        goal(Work::Filtered8, GrownRss, Fixed(10.0), AtMost(1.0), "RSS above the empty broker ÷ 10 MB"),
        goal(Work::Growth, RateManyIdle, Own(RateFewIdle), AtLeast(0.8), "many idle ÷ few idle"),
        goal(Work::CatchUp, CatchUpLong, Own(CatchUpShort), AtMost(2.0), "log ten times as long ÷ short log"),
        goal(Work::Open, Open, Fixed(1_000.0), AtMost(1.0), "open ÷ 1 s"),
    ]
};

/// A goal beside what was reached.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) work: &'static str,
    pub(crate) what: &'static str,
    pub(crate) goal: String,
    pub(crate) ratio: Spread,
    pub(crate) met: bool,
    /// In every single round.
    pub(crate) always: bool,
}

/// All goals for which there are figures.
pub(crate) fn verdicts(record: &Record) -> Vec<Verdict> {
    GOALS.iter().filter_map(|goal| verdict(goal, record)).collect()
}

fn verdict(goal: &Goal, record: &Record) -> Option<Verdict> {
    let values = |contender, metric| record.values(goal.work, contender, metric);
    let left = values(Waypost, goal.metric);
    let right: Vec<f64> = match goal.against {
        Against::Other(contender) => values(contender, goal.metric).to_vec(),
        Against::Own(metric) => values(Waypost, metric).to_vec(),
        Against::Budget(contender, times, plus) => values(contender, goal.metric).iter().map(|value| value * times + plus).collect(),
        Against::Fixed(bound) => vec![bound; left.len()],
    };
    // A round in which one side failed has no pair; the rounds cannot be told apart then, and there is no verdict.
    if left.len() != right.len() {
        return None;
    }
    let ratios: Vec<f64> = left.iter().zip(right).map(|(left, right)| left / right).collect();
    let ratio = Spread::of(&ratios)?;
    let holds = |value: f64| match goal.bound {
        Bound::AtLeast(bound) => value >= bound,
        Bound::AtMost(bound) => value <= bound,
    };
    let text = match goal.bound {
        Bound::AtLeast(bound) => format!("≥ {bound}"),
        Bound::AtMost(bound) => format!("≤ {bound}"),
    };
    let always = ratios.iter().copied().all(holds);
    Some(Verdict { work: goal.work.name(), what: goal.text, goal: text, ratio, met: holds(ratio.median), always })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut record = Record::default();
        for (waypost, nats) in [(200.0, 50.0), (300.0, 200.0), (90.0, 30.0)] {
            record.add(Work::Publish256, Waypost, &vec![(Metric::Rate, waypost)]);
            record.add(Work::Publish256, NatsDefault, &vec![(Metric::Rate, nats)]);
        }
        let verdicts = verdicts(&record);
        assert_eq!(verdicts.len(), 1, "only one goal has figures");
        assert_eq!(verdicts[0].ratio.median, 3.0);
        assert!(verdicts[0].met && !verdicts[0].always);
    }

    #[test]
    fn a_budget_is_a_multiple_and_a_sum() {
        let mut record = Record::default();
        record.add(Work::Publish1, Waypost, &vec![(Metric::P50, 420.0)]);
        record.add(Work::Publish1, Bare, &vec![(Metric::P50, 100.0)]);
        let verdict = &verdicts(&record)[0];
        assert_eq!((verdict.ratio.median, verdict.met), (2.0, false));
    }
}
