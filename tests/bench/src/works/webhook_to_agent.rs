//! From just before a webhook is signed and posted until an agent has the typed event, at a steady 1,000 a second.
//!
//! Constraint: requests go out on time whether or not earlier ones are answered, over as many kept-alive connections as it
//! takes; every answer must be 202. NATS has no edge: its side is publish → deliver, which is less work.

use std::sync::Arc;

use tokio::{task::JoinSet, time::Instant};

use super::latency;
use crate::{
    Bench, Error,
    brokers::{Broker, Subscribers, Want, agents, tally::Tally},
    contender::Contender,
    http_load::Connection,
    measure::{self, Figures, Metric},
    webhook,
};

pub(super) async fn measure(contender: Contender, bench: &Bench) -> Result<Figures, Error> {
    if matches!(contender, Contender::NatsDefault | Contender::NatsAlways) {
        return latency::measure(contender, bench).await;
    }
    let broker = Broker::start(contender, bench).await?;
    let tally = Arc::new(Tally::new());
    let wanted = Subscribers { want: Want::Pushes, ..latency::ONE_SUBSCRIBER };
    let _subscriber = if contender == Contender::WaypostAgents {
        agents::receive_pushes(broker.waypost()?.agents, &tally).await?
    } else {
        broker.subscribe(wanted, &tally).await?
    };
    let sent = post_at_a_steady_rate(broker.waypost()?.edge, bench).await?;
    tally.wait_settled(sent).await?;
    let mut figures = tally.latencies().figures();
    figures.push((Metric::PeakRss, broker.process().peak_rss()?));
    Ok(figures)
}

/// Posts webhooks for the warm-up and the measured time. Gives how many.
async fn post_at_a_steady_rate(port: u16, bench: &Bench) -> Result<u64, Error> {
    let mut idle = vec![Connection::open(port).await?];
    let mut busy = JoinSet::new();
    let mut ticks = latency::ticks();
    let start = Instant::now();
    let mut sent = 0_u64;
    while start.elapsed() < Bench::WARM_UP + bench.scale.paced {
        ticks.tick().await;
        while let Some(done) = busy.try_join_next() {
            idle.push(done??);
        }
        let mut connection = match idle.pop() {
            Some(connection) => connection,
            None => Connection::open(port).await?,
        };
        let stamp = if start.elapsed() < Bench::WARM_UP { 0 } else { measure::now() };
        let delivery = format!("delivery-{sent}");
        busy.spawn(async move {
            let body = webhook::body(stamp);
            let signature = webhook::signature(&body)?;
            connection.post(body, &signature, &delivery).await?;
            Ok::<_, Error>(connection)
        });
        sent += 1;
    }
    while let Some(done) = busy.join_next().await {
        done??;
    }
    Ok(sent)
}
