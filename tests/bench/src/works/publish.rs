//! Durable publishing of 1 KiB: the time of one, and the rate of many.
//!
//! Constraint: every answer is awaited. A warm-up comes first, unmeasured, because a new connection is slow in everyone.

use std::time::Instant;

use crate::{
    Bench, Error,
    bare::sync_write,
    brokers::{Broker, Publisher, payload},
    contender::Contender,
    measure::{Figures, Metric},
};

pub(super) async fn one_in_flight(contender: Contender, bench: &Bench) -> Result<Figures, Error> {
    let (runs, count) = (bench.runs.clone(), bench.scale.serial);
    if contender == Contender::Bare {
        return Ok(tokio::task::spawn_blocking(move || sync_write::measure(&runs, count)).await??.figures());
    }
    let broker = Broker::start(contender, bench).await?;
    broker.publish_serially(count / 10).await?;
    Ok(broker.publish_serially(count).await?.figures())
}

pub(super) async fn many_in_flight(contender: Contender, bench: &Bench) -> Result<Figures, Error> {
    let broker = Broker::start(contender, bench).await?;
    let (rate, cpu) = rate(&broker, bench).await?;
    Ok(vec![(Metric::Rate, rate), (Metric::ServerCpu, cpu), (Metric::PeakRss, broker.process().peak_rss()?)])
}

/// How many events a second go in with 256 in flight, and the server's CPU time for one, in microseconds.
pub(super) async fn rate(broker: &Broker, bench: &Bench) -> Result<(f64, f64), Error> {
    let mut publisher = broker.publisher(bench.window, 1).await?;
    flood(&mut publisher, 2_000, Bench::WARM_UP).await?;
    let cpu = broker.process().cpu_micros()?;
    let start = Instant::now();
    let sent = flood(&mut publisher, bench.scale.publish, bench.scale.full_speed).await? as f64;
    publisher.finish().await?;
    let took = start.elapsed().as_secs_f64();
    Ok((sent / took, (broker.process().cpu_micros()? - cpu) / sent))
}

/// Publishes to topic 0 as fast as the window lets it, up to a count or a time. Gives how many.
async fn flood(publisher: &mut Publisher, count: u64, time: std::time::Duration) -> Result<u64, Error> {
    let start = Instant::now();
    let data = payload::stamped(0);
    for sent in 0..count {
        if sent % 64 == 0 && start.elapsed() > time {
            return Ok(sent);
        }
        publisher.send(0, data.clone()).await?;
    }
    Ok(count)
}
