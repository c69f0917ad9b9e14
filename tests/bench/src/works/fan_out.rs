//! Fan-out: each of eight durable subscribers, on a connection of its own, gets and acks every event.
//!
//! Constraint: the time ends when the last event of the last subscriber is settled, not when it is delivered. With NATS it
//! ends when the last ack is sent, because its acks are not answered.

use std::sync::Arc;

use tokio::{task::JoinSet, time::Instant};
use waypost_proto::v1::StartPoint;

use crate::{
    Bench, Error, bare,
    brokers::{Broker, Subscribers, Want, agents, connect_waypost, open_subscription, payload, tally::Tally},
    contender::Contender,
    measure::{Figures, Metric, Record},
    works::Work,
};

const SUBSCRIBERS: u32 = 8;

pub(super) async fn measure(contender: Contender, bench: &Bench, so_far: &Record) -> Result<Figures, Error> {
    match contender {
        Contender::Bare => {
            let batch = so_far.values(Work::FanOut, Contender::Waypost, Metric::Batch).last();
            bare_streaming(bench, batch.copied().unwrap_or(64.0)).await
        }
        Contender::WaypostAgents => agents::fan_out(bench, SUBSCRIBERS).await,
        _ => with_broker(contender, bench).await,
    }
}

async fn with_broker(contender: Contender, bench: &Bench) -> Result<Figures, Error> {
    let broker = Broker::start(contender, bench).await?;
    let tally = Arc::new(Tally::new());
    let wanted = Subscribers {
        count: SUBSCRIBERS,
        connections: SUBSCRIBERS,
        want: Want::SharedTopic,
        max_outstanding: Subscribers::MAX_OUTSTANDING,
    };
    let _subscribers = broker.subscribe(wanted, &tally).await?;
    let mut publisher = broker.publisher(bench.window, 1).await?;

    let cpu = broker.process().cpu_micros()?;
    let start = Instant::now();
    let mut sent = 0;
    let data = payload::stamped(0);
    while sent < bench.scale.fan_out && (sent % 64 != 0 || start.elapsed() < bench.scale.full_speed) {
        publisher.send(0, data.clone()).await?;
        sent += 1;
    }
    publisher.finish().await?;
    let deliveries = sent * u64::from(SUBSCRIBERS);
    tally.wait_settled(deliveries).await?;
    let took = start.elapsed().as_secs_f64();

    Ok(vec![
        (Metric::Rate, deliveries as f64 / took),
        (Metric::ServerCpu, (broker.process().cpu_micros()? - cpu) / deliveries as f64),
        (Metric::PeakRss, broker.process().peak_rss()?),
        (Metric::Batch, tally.batch()),
        (Metric::Redelivered, tally.redelivered()),
    ])
}

/// The same number of deliveries to as many streams, without a broker.
async fn bare_streaming(bench: &Bench, batch: f64) -> Result<Figures, Error> {
    let count = bench.scale.fan_out;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let batch = batch.round().max(1.0) as u64;
    let (process, port) = bare::start(&bench.runs, "bare-streaming", &[batch.to_string(), count.to_string()]).await?;
    let mut channels = Vec::new();
    for _ in 0..SUBSCRIBERS {
        channels.push(connect_waypost(port).await?);
    }

    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for channel in channels {
        tasks.spawn(async move {
            let mut stream = open_subscription(channel, String::new(), String::new(), StartPoint::New, 1).await?;
            let mut got = 0;
            while let Some(message) = stream.message().await? {
                got += message.deliveries.map_or(0, |deliveries| deliveries.deliveries.len());
            }
            Ok::<_, Error>(got as u64)
        });
    }
    let mut got = 0;
    while let Some(task) = tasks.join_next().await {
        got += task??;
    }
    let took = start.elapsed().as_secs_f64();
    if got != count * u64::from(SUBSCRIBERS) {
        return Err(format!("bare streaming gave {got} deliveries").into());
    }
    Ok(vec![(Metric::Rate, got as f64 / took), (Metric::PeakRss, process.peak_rss()?), (Metric::Batch, batch as f64)])
}
