//! How much was accepted, delivered and settled lately.
//!
//! Constraint: looking costs nothing on the hot path: what is counted anyway is added up every few seconds, and the last minutes are kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering::Relaxed},
};

use maud::{Markup, html};
use tokio::time::{MissedTickBehavior, interval};
use waypost_store::Micros;

use super::shown;
use crate::{broker::Broker, limits};

/// What flows, each with its label and how it reads in a sentence.
const KINDS: [(&str, &str); 3] = [
    ("Accepted now", "events accepted"),
    ("Delivered now", "deliveries handed out, those that came again included"),
    ("Settled now", "events acked or set aside"),
];

/// How much of each there was up to a moment.
type Counts = [u64; KINDS.len()];

/// The last minutes.
#[derive(Debug, Default)]
pub(super) struct Flow {
    samples: Mutex<VecDeque<(Micros, Counts)>>,
}

/// How much there was so far, of all subscriptions that are there now.
fn counts(broker: &Broker) -> Counts {
    let (mut delivered, mut settled) = (0, 0);
    for handle in broker.registry.list() {
        let metrics = &handle.metrics;
        delivered += metrics.first_deliveries.load(Relaxed) + metrics.redeliveries.load(Relaxed);
        settled += metrics.settled();
    }
    [*broker.store.tail().borrow(), delivered, settled]
}

impl Flow {
    /// Begins to watch, until the broker ends.
    pub(super) fn watch(broker: &Arc<Broker>) -> Arc<Self> {
        let flow = Arc::<Self>::default();
        let (watching, watched, stop) = (Arc::clone(&flow), Arc::downgrade(broker), broker.stopping());
        broker.spawn(async move {
            let mut ticks = interval(limits::PAGE_SAMPLE_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let Some(broker) = watched.upgrade() else { return };
                watching.note(broker.clock.now(), counts(&broker));
            }
        });
        flow
    }

    fn note(&self, now: Micros, counts: Counts) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // One more than there are bars: each is what came between two.
        if samples.len() > limits::PAGE_SAMPLES {
            samples.pop_front();
        }
        samples.push_back((now, counts));
    }

    /// What came between each two samples, a second, oldest first; the last until now.
    fn rates(&self, now: Micros, counts: Counts) -> Vec<[f64; KINDS.len()]> {
        let mut samples: Vec<_> = self.samples.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect();
        // What has only just begun says little.
        match samples.last() {
            Some((last, _)) if now.saturating_sub(*last) < 1_000_000 && samples.len() > 1 => {}
            _ => samples.push((now, counts)),
        }
        let rate = |((from, first), (to, next)): (&(Micros, Counts), &(Micros, Counts))| {
            let seconds = to.saturating_sub(*from) as f64 / 1e6;
            // Less than before, if a subscription is gone.
            std::array::from_fn(|kind| if seconds > 0.0 { next[kind].saturating_sub(first[kind]) as f64 / seconds } else { 0.0 })
        };
        samples.iter().zip(samples.iter().skip(1)).map(rate).collect()
    }

    /// What flows now, and how it was in the last minutes.
    pub(super) fn render(&self, now: Micros, broker: &Broker) -> Markup {
        let rates = self.rates(now, counts(broker));
        html! {
            @for (kind, (label, what)) in KINDS.iter().enumerate() {
                (figure(label, what, &rates.iter().map(|rates| rates[kind]).collect::<Vec<_>>()))
            }
        }
    }
}

fn figure(label: &str, what: &str, rates: &[f64]) -> Markup {
    let last = rates.last().copied().unwrap_or(0.0);
    let most = rates.iter().copied().fold(0.0, f64::max);
    let minutes = limits::PAGE_SAMPLE_INTERVAL.as_secs() * limits::PAGE_SAMPLES as u64 / 60;
    let most_text = rate(most);
    html! {
        div.figure {
            p.label { (label) }
            p.value { (rate(last)) " " span.unit { "events/s" } }
            (bars(rates, most, &format!("{what}, a second, in the last {minutes} minutes; at most {most_text}")))
            p.caption { "last " (minutes) " min, at most " (most_text) "/s" }
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
        assert!(flow.rates(1, [1, 0, 0]).is_empty());
        flow.note(0, [1, 0, 0]);
        flow.note(5_000_000, [11, 5, 10]);
        assert_eq!(flow.rates(5_500_000, [500, 500, 500]), [[2.0, 1.0, 2.0]], "half a second says little");
        // The subscription that settled most of it is gone.
        assert_eq!(flow.rates(7_000_000, [31, 9, 0]), [[2.0, 1.0, 2.0], [10.0, 2.0, 0.0]]);
        for second in 0..1_000 {
            flow.note(second * 1_000_000, [second; 3]);
        }
        assert_eq!(flow.rates(999_000_001, [999; 3]).len(), limits::PAGE_SAMPLES);
        assert!(figure("Accepted now", "events accepted", &[1.0, 2.0]).into_string().contains("<rect"));
    }
}
