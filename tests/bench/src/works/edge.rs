//! How many webhooks a second 64 kept-alive connections get answered, each sending its next when it has its answer.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use crate::{
    Bench, Error, bare,
    brokers::Broker,
    contender::Contender,
    http_load::Connection,
    measure::{self, Figures, Latencies, Metric},
    process::Process,
    webhook,
};

const CONNECTIONS: u64 = 64;

/// How many webhooks are signed for each connection and second.
const MOST_PER_SECOND: u64 = 4_000;

pub(super) async fn measure(contender: Contender, bench: &Bench) -> Result<Figures, Error> {
    if contender == Contender::Bare {
        let (process, port) = bare::start(&bench.runs, "bare-edge", &[]).await?;
        return load(&process, port, bench.scale.edge).await;
    }
    let broker = Broker::start(contender, bench).await?;
    load(broker.process(), broker.waypost()?.edge, bench.scale.edge).await
}

async fn load(process: &Process, port: u16, time: Duration) -> Result<Figures, Error> {
    let count = (Bench::WARM_UP + time).as_secs().saturating_add(1) * MOST_PER_SECOND;
    let mut connections = Vec::new();
    for index in 0..CONNECTIONS {
        let numbers = index * count..(index + 1) * count;
        let digests = numbers.clone().map(|number| webhook::digest(&webhook::body(number)));
        connections.push((Connection::open(port).await?, numbers, digests.collect::<Result<Vec<_>, _>>()?));
    }

    let cpu = process.cpu_micros()?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (mut connection, numbers, digests) in connections {
        tasks.spawn(async move {
            let (mut took, mut posted) = (Vec::new(), 0_u64);
            for (number, digest) in numbers.zip(digests) {
                let sent = measure::now();
                connection.post(webhook::body(number), &webhook::header(&digest), &number.to_string()).await?;
                posted += 1;
                if start.elapsed() > Bench::WARM_UP + time {
                    return Ok((took, posted));
                }
                if start.elapsed() > Bench::WARM_UP {
                    took.push(measure::now() - sent);
                }
            }
            Err::<_, Error>(format!("more than {MOST_PER_SECOND} webhooks a second over one connection: sign more of them").into())
        });
    }
    let (mut took, mut posted) = (Vec::new(), 0);
    while let Some(task) = tasks.join_next().await {
        let (more, count) = task??;
        took.extend(more);
        posted += count;
    }
    let measured = (start.elapsed() - Bench::WARM_UP).as_secs_f64();
    let mut figures = vec![
        (Metric::Rate, took.len() as f64 / measured),
        (Metric::ServerCpu, (process.cpu_micros()? - cpu) / posted as f64),
        (Metric::PeakRss, process.peak_rss()?),
    ];
    figures.extend(Latencies::of(took).figures());
    Ok(figures)
}
