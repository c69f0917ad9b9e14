//! How much was accepted lately.
//!
//! Constraint: looking costs nothing on the hot path: the end of the log is noted every few seconds, and the last minutes are kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use maud::{Markup, html};
use tokio::time::{MissedTickBehavior, interval};
use waypost_store::{Micros, Offset};

use super::shown;
use crate::{broker::Broker, limits};

/// The last minutes.
#[derive(Debug, Default)]
pub(super) struct Flow {
    samples: Mutex<VecDeque<(Micros, Offset)>>,
}

impl Flow {
    /// Begins to watch, until the broker ends.
    pub(super) fn watch(broker: &Arc<Broker>) -> Arc<Self> {
        let flow = Arc::<Self>::default();
        let (watching, store, clock, stop) = (Arc::clone(&flow), Arc::clone(&broker.store), broker.clock, broker.stopping());
        broker.spawn(async move {
            let tail = store.tail();
            let mut ticks = interval(limits::PAGE_SAMPLE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => watching.note(clock.now(), *tail.borrow()),
                }
            }
        });
        flow
    }

    fn note(&self, now: Micros, tail: Offset) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // One more than there are bars: each is what came between two.
        if samples.len() > limits::PAGE_SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now, tail));
    }

    /// What was accepted between each two samples, as events a second, oldest first; the last until now.
    fn rates(&self, now: Micros, tail: Offset) -> Vec<f64> {
        let mut samples: Vec<_> = self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        // What has only just begun says little.
        match samples.last() {
            Some((last, _)) if now.saturating_sub(*last) < 1_000_000 && samples.len() > 1 => {}
            _ => samples.push((now, tail)),
        }
        let rate = |((from, first), (to, next)): (&(Micros, Offset), &(Micros, Offset))| {
            let seconds = to.saturating_sub(*from) as f64 / 1e6;
            if seconds > 0.0 { next.saturating_sub(*first) as f64 / seconds } else { 0.0 }
        };
        samples.iter().zip(samples.iter().skip(1)).map(rate).collect()
    }

    /// What flows now, and how it was in the last minutes.
    pub(super) fn render(&self, now: Micros, tail: Offset) -> Markup {
        let rates = self.rates(now, tail);
        let last = rates.last().copied().unwrap_or(0.0);
        let most = rates.iter().copied().fold(0.0, f64::max);
        let minutes = limits::PAGE_SAMPLE_INTERVAL.as_secs() * limits::PAGE_SAMPLES as u64 / 60;
        let most_text = rate(most);
        html! {
            div.figure {
                p.label { "Accepted now" }
                p.value { (rate(last)) " " span.unit { "events/s" } }
                (bars(&rates, most, &format!("events a second in the last {minutes} minutes; at most {most_text}")))
                p.caption { "last " (minutes) " min, at most " (most_text) "/s" }
            }
        }
    }
}

fn bars(rates: &[f64], most: f64, label: &str) -> Markup {
    const HEIGHT: f64 = 40.0;
    const STEP: usize = 4;
    let width = limits::PAGE_SAMPLES * STEP;
    let first = limits::PAGE_SAMPLES.saturating_sub(rates.len());
    html! {
        svg.bars viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(label) {
            @for (index, rate) in rates.iter().enumerate() {
                @let height = if most > 0.0 { (rate / most * HEIGHT).max(if *rate > 0.0 { 1.5 } else { 0.5 }) } else { 0.5 };
                rect x=((first + index) * STEP) y=(format!("{:.1}", HEIGHT - height)) width="3" height=(format!("{height:.1}")) {}
            }
        }
    }
}

fn rate(rate: f64) -> String {
    // Not negative, and far from the largest.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates where it does not fit")]
    let whole = rate.round() as u64;
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { shown::count(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_came_between_two_looks() {
        let flow = Flow::default();
        assert!(flow.rates(1, 1).is_empty());
        flow.note(0, 1);
        flow.note(5_000_000, 11);
        assert_eq!(flow.rates(5_500_000, 500), [2.0], "half a second says little");
        assert_eq!(flow.rates(7_000_000, 31), [2.0, 10.0]);
        for second in 0..1_000 {
            flow.note(second * 1_000_000, second);
        }
        assert_eq!(flow.rates(999_000_001, 999).len(), limits::PAGE_SAMPLES);
        assert!(flow.render(999_000_001, 999).into_string().contains("<rect"));
    }
}
