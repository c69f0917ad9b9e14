//! Durable publishing of 1 KiB: the time of one, and the rate of many.
//!
//! Constraint: every answer is awaited. A warm-up comes first, unmeasured, because a new connection is slow in everyone.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    Bench, Error,
    bare::{self, sync_write},
    brokers::{Broker, Publisher, bare_publisher, payload},
    contender::Contender,
    measure::{Figures, Metric},
    process::Process,
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
    if contender == Contender::Bare {
        let (process, port) = bare::start(&bench.runs, "bare-streaming", &["1".to_owned(), "0".to_owned()]).await?;
        return load(&process, bare_publisher(port, bench.window).await?, bench).await;
    }
    let broker = Broker::start(contender, bench).await?;
    load(broker.process(), broker.publisher(bench.window, 1).await?, bench).await
}

/// Publishes at full speed: the rate, and what it cost the server.
pub(super) async fn load(process: &Process, mut publisher: Publisher, bench: &Bench) -> Result<Figures, Error> {
    flood(&mut publisher, 2_000, Bench::WARM_UP).await?;
    let cpu = process.cpu_micros()?;
    let start = Instant::now();
    let sent = flood(&mut publisher, bench.scale.publish, bench.scale.full_speed).await? as f64;
    publisher.finish().await?;
    let took = start.elapsed().as_secs_f64();
    let cpu = (process.cpu_micros()? - cpu) / sent;
    Ok(vec![(Metric::Rate, sent / took), (Metric::ServerCpu, cpu), (Metric::PeakRss, process.peak_rss()?)])
}

/// Publishes to topic 0 as fast as the window lets it, up to a count or a time. Gives how many.
async fn flood(publisher: &mut Publisher, count: u64, time: Duration) -> Result<u64, Error> {
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
