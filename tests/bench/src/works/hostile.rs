//! What malformed requests cost the good ones beside them: one sender's webhooks, answered one after the other, first alone and then beside
//! others that send what is broken, at a steady rate, each on a connection of its own.
//!
//! Constraint: both loads run against the same broker, so that only the neighbours differ.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use crate::{
    Bench, Error,
    brokers::Broker,
    contender::Contender,
    http_load::Connection,
    measure::{self, Figures, Latencies, Metric},
    webhook,
};

const SENDERS: u32 = 8;

/// Malformed requests of one sender.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) async fn measure(bench: &Bench) -> Result<Figures, Error> {
    let broker = Broker::start(Contender::Waypost, bench).await?;
    let port = broker.waypost()?.edge;
    let alone = good(port, bench.scale.edge, "alone").await?;
    let mut hostile = JoinSet::new();
    for sender in 0..SENDERS {
        hostile.spawn(malformed(port, sender));
    }
    let beside = good(port, bench.scale.edge, "beside").await?;
    // Nobody of them ends by itself, but by a mistake of ours.
    if let Some(ended) = hostile.try_join_next() {
        ended??;
    }
    let mut figures = vec![(Metric::PeakRss, broker.process().peak_rss()?), (Metric::Samples, (alone.len() + beside.len()) as f64)];
    for (took, half, most) in [(alone, Metric::P50Alone, Metric::P99Alone), (beside, Metric::P50Beside, Metric::P99Beside)] {
        for (metric, value) in Latencies::of(took).figures() {
            match metric {
                Metric::P50 => figures.push((half, value)),
                Metric::P99 => figures.push((most, value)),
                _ => {}
            }
        }
    }
    Ok(figures)
}

/// How long the answers to good webhooks took.
async fn good(port: u16, time: Duration, name: &str) -> Result<Vec<u64>, Error> {
    let body = webhook::body(0);
    let signature = webhook::signature(&body)?;
    let mut connection = Connection::open(port).await?;
    let (start, mut took, mut posted) = (Instant::now(), Vec::new(), 0);
    while start.elapsed() < Bench::WARM_UP + time {
        let sent = measure::now();
        connection.post(body.clone(), &signature, &format!("{name}-{posted}")).await?;
        posted += 1;
        if start.elapsed() > Bench::WARM_UP {
            took.push(measure::now() - sent);
        }
    }
    Ok(took)
}

/// Sends what is broken, until it is dropped.
async fn malformed(port: u16, sender: u32) -> Result<(), Error> {
    let body = String::from_utf8(webhook::body(0).to_vec())?;
    let head = format!("POST {} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\ncontent-type: application/json\r\n", webhook::PATH);
    let length = body.len();
    let kinds = [
        format!("{head}x-hub-signature-256: sha256={}\r\ncontent-length: {length}\r\n\r\n{body}", "00".repeat(32)),
        format!("{head}x-hub-signature-256: sha256=zz\r\ncontent-length: {length}\r\n\r\n{body}"),
        format!("{head}content-length: {}\r\n\r\n{body}", length * 2),
        format!("{head}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n{body}"),
        format!("{head}{}\r\n", "x-flood: y\r\n".repeat(1_000)),
        format!("{head}x-flood: {}\r\n\r\n", "y".repeat(500_000)),
        format!("{head}content-encoding: gzip, gzip\r\ncontent-length: {length}\r\n\r\n{body}"),
        "\u{0}\u{1}\u{2} noise \r\n\r\n".to_owned(),
    ];
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in usize::try_from(sender)?.. {
        ticks.tick().await;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        // The broker may hang up in the middle, which is an answer, too.
        let _ = stream.write_all(kinds[number % kinds.len()].as_bytes()).await;
        let _ = stream.shutdown().await;
        let _ = timeout(Bench::PATIENCE, stream.read_to_end(&mut Vec::new())).await?;
    }
    Ok(())
}
