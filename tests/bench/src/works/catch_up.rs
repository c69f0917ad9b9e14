//! How long a new subscription from the earliest event takes to get a hundred rare events: in a log, and in one with ten
//! times as many other events and the same rare ones. If the cost follows the matches, both take the same.

use tokio::time::Instant;
use waypost_proto::v1::StartPoint;

use crate::{
    Bench, Error,
    brokers::{Broker, Publisher, connect_waypost, open_subscription, payload},
    contender::Contender,
    measure::{Figures, Metric},
};

const RARE: u64 = 100;
const RARE_TOPIC: u32 = 1;

pub(super) async fn measure(bench: &Bench) -> Result<Figures, Error> {
    let mut figures = Vec::new();
    for (metric, length) in [(Metric::CatchUpShort, bench.scale.short_log), (Metric::CatchUpLong, bench.scale.short_log * 10)] {
        let broker = Broker::start(Contender::Waypost, bench).await?;
        let mut publisher = broker.publisher(bench.window, 2).await?;
        fill(&mut publisher, length).await?;
        publisher.finish().await?;
        figures.push((metric, catch_up(&broker).await?));
    }
    Ok(figures)
}

/// Publishes so many events, the rare ones evenly among them.
async fn fill(publisher: &mut Publisher, length: u64) -> Result<(), Error> {
    let data = payload::stamped(0);
    for index in 0..length {
        let topic = if index % (length / RARE) == 0 { RARE_TOPIC } else { 0 };
        publisher.send(topic, data.clone()).await?;
    }
    Ok(())
}

/// Milliseconds from the call until the last rare event is there.
async fn catch_up(broker: &Broker) -> Result<f64, Error> {
    let channel = connect_waypost(broker.waypost()?.agents).await?;
    let start = Instant::now();
    let event_type = payload::event_type(RARE_TOPIC);
    let mut stream = open_subscription(channel, "late".to_owned(), event_type, StartPoint::Earliest, 1_000).await?;
    let mut got = 0;
    while got < RARE {
        let message =
            tokio::time::timeout(Bench::PATIENCE, stream.message()).await.map_err(|_| format!("only {got} of {RARE} rare events came"))?;
        got += message?.ok_or("the subscribe stream ended")?.deliveries.map_or(0, |deliveries| deliveries.deliveries.len() as u64);
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
