//! The NATS side of each work, as a fair user of the async-nats driver would write it.
//!
//! Constraints: file storage, one replica; every publish ack is awaited; durable pull consumers with explicit acks, one per
//! message, pulled in batches by the driver's own continuous stream. Acks are sent and not confirmed, as is usual: a
//! confirmed one would cost NATS more.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
    context::PublishAckFuture,
    stream::StorageType,
};
use async_nats::{Client, Subject};
use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::StreamExt;

use super::{Subscribers, Tasks, payload, tally::Tally};
use crate::{Error, measure, measure::Latencies};

const STREAM: &str = "bench";

/// Messages of one pull. The driver asks again before they run out.
const PULL: usize = 500;

/// Makes the stream that all works publish to.
pub(super) async fn prepare(port: u16) -> Result<(), Error> {
    let jetstream = jetstream::new(connect(port).await?);
    let config = jetstream::stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["events.>".to_owned()],
        storage: StorageType::File,
        num_replicas: 1,
        ..Default::default()
    };
    jetstream.create_stream(config).await?;
    Ok(())
}

async fn connect(port: u16) -> Result<Client, Error> {
    // A failed measurement must end, not reconnect for ever.
    Ok(async_nats::ConnectOptions::new().max_reconnects(1).connect(format!("127.0.0.1:{port}")).await?)
}

/// Publishes with one in flight.
pub(super) async fn publish_serially(port: u16, count: usize) -> Result<Latencies, Error> {
    let jetstream = jetstream::new(connect(port).await?);
    let subject = Subject::from(payload::subject(0));
    let mut took = Vec::with_capacity(count);
    for _ in 0..count {
        let data = payload::stamped(0);
        let start = measure::now();
        jetstream.publish(subject.clone(), data).await?.await?;
        took.push(measure::now() - start);
    }
    Ok(Latencies::of(took))
}

/// Publishes with many in flight; the driver holds back beyond the window.
pub(crate) struct Publisher {
    jetstream: jetstream::Context,
    subjects: Vec<Subject>,
    sent: mpsc::Sender<PublishAckFuture>,
    acks: JoinHandle<Result<(), Error>>,
}

impl Publisher {
    pub(super) async fn new(port: u16, window: usize, topics: u32) -> Result<Self, Error> {
        let client = connect(port).await?;
        let jetstream = jetstream::context::ContextBuilder::new().max_ack_inflight(window).backpressure_on_inflight(true).build(client);
        let (sent, mut pending) = mpsc::channel::<PublishAckFuture>(window);
        let acks = tokio::spawn(async move {
            while let Some(ack) = pending.recv().await {
                ack.await?;
            }
            Ok(())
        });
        Ok(Self { jetstream, subjects: (0..topics).map(|topic| payload::subject(topic).into()).collect(), sent, acks })
    }

    pub(super) async fn send(&mut self, topic: u32, data: Bytes) -> Result<(), Error> {
        let subject = self.subjects[topic as usize].clone();
        let ack = self.jetstream.publish(subject, data).await?;
        self.sent.send(ack).await.map_err(|_| "a publish ack failed")?;
        Ok(())
    }

    /// Waits for every ack.
    pub(super) async fn finish(self) -> Result<(), Error> {
        drop(self.sent);
        self.acks.await?
    }
}

/// Starts durable pull consumers; returns when all are ready.
pub(super) async fn subscribe(port: u16, wanted: Subscribers, tally: &Arc<Tally>) -> Result<Tasks, Error> {
    let mut contexts = Vec::new();
    for _ in 0..wanted.connections {
        contexts.push(jetstream::new(connect(port).await?));
    }
    let mut tasks = Tasks::default();
    for index in 0..wanted.count {
        let context = &contexts[(index % wanted.connections) as usize];
        let config = pull::Config {
            durable_name: Some(format!("subscriber{index}")),
            ack_policy: AckPolicy::Explicit,
            deliver_policy: DeliverPolicy::All,
            filter_subject: payload::subject(wanted.topic_of(index)),
            max_ack_pending: i64::from(wanted.max_outstanding),
            ..Default::default()
        };
        let consumer = context.create_consumer_on_stream(config, STREAM).await?;
        let pull = PULL.min(wanted.max_outstanding as usize);
        let messages = consumer.stream().max_messages_per_batch(pull).expires(Duration::from_secs(30)).messages().await?;
        let tally = Arc::clone(tally);
        tasks.spawn(async move {
            if let Err(error) = receive(messages, &tally).await {
                tally.fail(format!("subscriber {index}: {error}"));
            }
        });
    }
    Ok(tasks)
}

async fn receive(mut messages: pull::Stream, tally: &Tally) -> Result<(), Error> {
    while let Some(message) = messages.next().await {
        let message = message?;
        tally.message();
        tally.delivered(payload::stamp(&message.payload), message.info()?.delivered > 1);
        message.ack().await?;
        tally.settled(1);
    }
    Err("the stream of messages ended".into())
}
