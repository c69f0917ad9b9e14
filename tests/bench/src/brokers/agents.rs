//! Waypost through `agent-client`, as agents use it: typed events that the broker checks, decoded whole, each acked by a
//! call of its own whose answer is awaited while others are under way. The client coalesces what it sends.

use std::sync::Arc;

use agent_client::{Client, Delivery, Receipt, Settled, Subscription};
use prost::Message;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use waypost_proto::{
    github::v1::{Commit, CommitAuthor, Push, Repository},
    v1::{Event, SubscriptionSpec},
};

use super::{Broker, Subscribers, Tasks, payload, tally::Tally};
use crate::{
    Bench, Error,
    contender::Contender,
    measure::{Figures, Metric},
    webhook,
};

/// The fan-out through agent-client.
pub(crate) async fn fan_out(bench: &Bench, subscribers: u32) -> Result<Figures, Error> {
    let broker = Broker::start(Contender::WaypostAgents, bench).await?;
    let port = broker.waypost()?.agents;
    let tally = Arc::new(Tally::new());
    let mut tasks = Tasks::default();
    for index in 0..subscribers {
        start_agent(port, format!("agent{index}"), &tally, &mut tasks).await?;
    }

    let event = event();
    let publisher = connect(port)?.publisher_builder().max_in_flight(bench.window).start();
    let (receipts, mut submitted) = mpsc::channel::<Receipt>(bench.window);
    let answers = tokio::spawn(async move {
        while let Some(receipt) = submitted.recv().await {
            receipt.await?;
        }
        Ok::<_, Error>(())
    });
    let start = Instant::now();
    let cpu = broker.process().cpu_micros()?;
    let mut sent = 0;
    while sent < bench.scale.fan_out && (sent % 64 != 0 || start.elapsed() < bench.scale.full_speed) {
        receipts.send(publisher.submit(event.clone()).await?).await?;
        sent += 1;
    }
    drop(receipts);
    answers.await??;
    let deliveries = sent * u64::from(subscribers);
    tally.wait_settled(deliveries).await?;
    let took = start.elapsed().as_secs_f64();

    Ok(vec![
        (Metric::Rate, deliveries as f64 / took),
        (Metric::ServerCpu, (broker.process().cpu_micros()? - cpu) / deliveries as f64),
        (Metric::PeakRss, broker.process().peak_rss()?),
        (Metric::Redelivered, tally.redelivered()),
    ])
}

/// One agent that receives the events of [`webhook`].
pub(crate) async fn receive_pushes(port: u16, tally: &Arc<Tally>) -> Result<Tasks, Error> {
    let mut tasks = Tasks::default();
    start_agent(port, "agent".to_owned(), tally, &mut tasks).await?;
    Ok(tasks)
}

fn connect(port: u16) -> Result<Client, Error> {
    Ok(Client::connect(format!("http://127.0.0.1:{port}"))?)
}

/// An event that carries a push of [`payload::SIZE`] bytes.
fn event() -> Event {
    let push = |message: String| Push {
        repository: Some(Repository { full_name: "acme/router".to_owned(), ..Default::default() }),
        pusher: Some(CommitAuthor { name: "dana".to_owned(), ..Default::default() }),
        head_commit: Some(Commit { message, ..Default::default() }),
        ..Default::default()
    };
    // What a message that is nearly as long takes beside its letters, with lengths of two bytes.
    let around = push("m".repeat(payload::SIZE / 2)).encoded_len() - payload::SIZE / 2;
    Event::of("agents/bench", &push("m".repeat(payload::SIZE - around)))
}

async fn start_agent(port: u16, name: String, tally: &Arc<Tally>, tasks: &mut Tasks) -> Result<(), Error> {
    let spec = SubscriptionSpec { max_outstanding: Some(Subscribers::MAX_OUTSTANDING), ..Default::default() };
    let subscribing = connect(port)?.subscribe(name).of::<Push>().spec(spec).max_outstanding(Subscribers::MAX_OUTSTANDING);
    let subscription = subscribing.open().await?;
    let tally = Arc::clone(tally);
    tasks.spawn(async move {
        if let Err(error) = work(subscription, &tally).await {
            tally.fail(error);
        }
    });
    Ok(())
}

async fn work(mut subscription: Subscription<Push>, tally: &Arc<Tally>) -> Result<(), Error> {
    let mut acks = JoinSet::new();
    while let Some(delivery) = subscription.try_next().await? {
        tally.delivered(webhook::stamp(&delivery.data().after), delivery.attempt() > 1);
        acks.spawn(ack(delivery, Arc::clone(tally)));
        while let Some(done) = acks.try_join_next() {
            done??;
        }
    }
    Err("a subscription ended".into())
}

async fn ack(delivery: Delivery<Push>, tally: Arc<Tally>) -> Result<(), Error> {
    match delivery.ack().await? {
        Settled::Done => tally.settled(1),
        other => return Err(format!("an ack was answered {other:?}").into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_typed_event_is_as_large_as_the_others() {
        assert_eq!(event().data.unwrap().value.len(), payload::SIZE);
    }
}
