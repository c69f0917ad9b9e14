//! From just before an event is published until a subscriber has it, at a steady 1,000 a second.
//!
//! Constraint: sending never waits for an answer, so a slow server cannot thin out its own load; the clock is one process's.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    Bench, Error,
    brokers::{Broker, Subscribers, Want, payload, tally::Tally},
    contender::Contender,
    measure::{self, Figures, Metric},
};

/// Between two events.
pub(super) const PACE: Duration = Duration::from_millis(1);

pub(super) const ONE_SUBSCRIBER: Subscribers =
    Subscribers { count: 1, connections: 1, want: Want::SharedTopic, max_outstanding: Subscribers::MAX_OUTSTANDING };

pub(super) async fn measure(contender: Contender, bench: &Bench) -> Result<Figures, Error> {
    let broker = Broker::start(contender, bench).await?;
    let tally = Arc::new(Tally::new());
    let _subscriber = broker.subscribe(ONE_SUBSCRIBER, &tally).await?;
    // The window is never full at this rate; a server that stalls for seconds fails the measurement in the end.
    let mut publisher = broker.publisher(8_192, 1).await?;

    let mut ticks = ticks();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < Bench::WARM_UP + bench.scale.paced {
        ticks.tick().await;
        let stamp = if start.elapsed() < Bench::WARM_UP { 0 } else { measure::now() };
        publisher.send(0, payload::stamped(stamp)).await?;
        sent += 1;
    }
    publisher.finish().await?;
    tally.wait_settled(sent).await?;
    let mut figures = tally.latencies().figures();
    figures.push((Metric::PeakRss, broker.process().peak_rss()?));
    Ok(figures)
}

/// A thousand ticks a second; late ones are made up for.
pub(super) fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}
