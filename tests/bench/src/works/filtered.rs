//! A thousand connected subscriptions, each with a type of its own: every event goes to exactly one of them.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    Bench, Error,
    brokers::{Broker, Subscribers, Want, payload, tally::Tally},
    contender::Contender,
    measure::{Figures, Metric},
};

const SUBSCRIPTIONS: u32 = 1_000;

/// What an agent that works on a few events at a time holds; a thousand of them cannot each hold a thousand.
const MAX_OUTSTANDING: u32 = 64;

pub(super) async fn measure(contender: Contender, bench: &Bench, connections: u32) -> Result<Figures, Error> {
    let broker = Broker::start(contender, bench).await?;
    let empty = broker.process().rss()?;
    let tally = Arc::new(Tally::new());
    let wanted = Subscribers { count: SUBSCRIPTIONS, connections, want: Want::OwnTopic, max_outstanding: MAX_OUTSTANDING };
    let _subscribers = broker.subscribe(wanted, &tally).await?;
    let connected = broker.process().rss()?;

    let mut publisher = broker.publisher(bench.window, SUBSCRIPTIONS).await?;
    let cpu = broker.process().cpu_micros()?;
    let start = Instant::now();
    let mut sent = 0;
    let data = payload::stamped(0);
    'load: while sent < bench.scale.filtered {
        for topic in 0..SUBSCRIPTIONS {
            publisher.send(topic, data.clone()).await?;
            sent += 1;
            if sent % 64 == 0 && start.elapsed() > bench.scale.full_speed {
                break 'load;
            }
        }
    }
    publisher.finish().await?;
    tally.wait_settled(sent).await?;
    let took = start.elapsed().as_secs_f64();

    Ok(vec![
        (Metric::Rate, sent as f64 / took),
        (Metric::ServerCpu, (broker.process().cpu_micros()? - cpu) / sent as f64),
        (Metric::EmptyRss, empty),
        (Metric::ConnectedRss, connected - empty),
        (Metric::GrownRss, broker.process().peak_rss()? - empty),
        (Metric::Batch, tally.batch()),
        (Metric::Redelivered, tally.redelivered()),
    ])
}
