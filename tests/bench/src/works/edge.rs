//! How many webhooks a second 64 kept-alive connections get answered, each sending its next when it has its answer.

use std::{sync::Arc, time::Duration};

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

const CONNECTIONS: usize = 64;

pub(super) async fn measure(contender: Contender, bench: &Bench) -> Result<Figures, Error> {
    if contender == Contender::Bare {
        let (process, port) = bare::start(&bench.runs, "bare-edge", &[]).await?;
        return load(&process, port, bench.scale.edge).await;
    }
    let broker = Broker::start(contender, bench).await?;
    load(broker.process(), broker.waypost()?.edge, bench.scale.edge).await
}

async fn load(process: &Process, port: u16, time: Duration) -> Result<Figures, Error> {
    let body = webhook::body(0);
    let signature: Arc<str> = webhook::signature(&body)?.into();
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(port).await?);
    }

    let cpu = process.cpu_micros()?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, mut connection) in connections.into_iter().enumerate() {
        let (body, signature) = (body.clone(), Arc::clone(&signature));
        tasks.spawn(async move {
            let (mut took, mut posted) = (Vec::new(), 0_u64);
            while start.elapsed() < Bench::WARM_UP + time {
                let delivery = format!("{index}-{posted}");
                let sent = measure::now();
                connection.post(body.clone(), &signature, &delivery).await?;
                posted += 1;
                if start.elapsed() > Bench::WARM_UP {
                    took.push(measure::now() - sent);
                }
            }
            Ok::<_, Error>((took, posted))
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
