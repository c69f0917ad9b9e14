//! One face for all brokers.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{nats, nats_server, payload, tally::Tally, waypost, waypost_server};
use crate::{Bench, Error, contender::Contender, measure::Latencies, process::Process, webhook};

/// Subscribers to start: each a durable subscription of its own that settles every event on its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscribers {
    pub(crate) count: u32,
    /// How many connections they share, evenly.
    pub(crate) connections: u32,
    pub(crate) want: Want,
    /// How many events one may hold.
    pub(crate) max_outstanding: u32,
}

/// What subscribers want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// All of them topic 0.
    SharedTopic,
    /// Each a topic of its own.
    OwnTopic,
    /// All of them the events that the webhooks of [`crate::webhook`] become.
    Pushes,
}

impl Subscribers {
    /// As many as NATS lets a consumer hold by default.
    pub(crate) const MAX_OUTSTANDING: u32 = 1_000;

    /// The topic of a subscriber.
    pub(crate) fn topic_of(&self, index: u32) -> u32 {
        if self.want == Want::OwnTopic { index } else { 0 }
    }

    /// The event type of a subscriber's topic.
    pub(crate) fn event_type_of(&self, index: u32) -> String {
        if self.want == Want::Pushes { webhook::EVENT_TYPE.to_owned() } else { payload::event_type(self.topic_of(index)) }
    }

    /// When the event with this data was sent; 0 if it does not say.
    pub(crate) fn stamp(&self, data: &[u8]) -> u64 {
        if self.want == Want::Pushes { webhook::encoded_stamp(data) } else { payload::stamp(data) }
    }
}

/// Running tasks, which end when this is dropped.
#[derive(Default)]
pub(crate) struct Tasks(JoinSet<()>);

impl Tasks {
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }
}

/// A broker that runs on an empty store.
pub(crate) struct Broker {
    process: Process,
    side: Side,
}

#[derive(Clone, Copy)]
enum Side {
    Waypost(waypost_server::Ports),
    Nats(u16),
}

impl Broker {
    /// Starts the broker of a contender and waits until it answers.
    pub(crate) async fn start(contender: Contender, bench: &Bench) -> Result<Self, Error> {
        match contender {
            Contender::Waypost | Contender::WaypostAgents => {
                let directory = tempfile::tempdir_in(&bench.runs)?;
                let (process, ports) = waypost_server::start(&bench.waypost, directory).await?;
                Ok(Self { process, side: Side::Waypost(ports) })
            }
            Contender::NatsDefault | Contender::NatsAlways => {
                let (process, port) = nats_server::start(&bench.nats, &bench.runs, contender == Contender::NatsAlways).await?;
                nats::prepare(port).await?;
                Ok(Self { process, side: Side::Nats(port) })
            }
            Contender::Bare => Err("there is no bare broker".into()),
        }
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Kills a Waypost and starts it again on what it left.
    pub(crate) async fn restart(self, bench: &Bench) -> Result<Self, Error> {
        let directory = self.process.kill()?;
        let (process, ports) = waypost_server::start(&bench.waypost, directory).await?;
        Ok(Self { process, side: Side::Waypost(ports) })
    }

    /// The ports of a Waypost.
    pub(crate) fn waypost(&self) -> Result<waypost_server::Ports, Error> {
        match self.side {
            Side::Waypost(ports) => Ok(ports),
            Side::Nats(_) => Err("only Waypost does this".into()),
        }
    }

    /// Publishes with one in flight, each answer awaited.
    pub(crate) async fn publish_serially(&self, count: usize) -> Result<Latencies, Error> {
        match self.side {
            Side::Waypost(ports) => waypost::publish_serially(ports.agents, count).await,
            Side::Nats(port) => nats::publish_serially(port, count).await,
        }
    }

    /// A connection that publishes to topics below `topics` with at most `window` in flight.
    pub(crate) async fn publisher(&self, window: usize, topics: u32) -> Result<Publisher, Error> {
        Ok(match self.side {
            Side::Waypost(ports) => Publisher::Waypost(waypost::Publisher::new(ports.agents, window, topics).await?),
            Side::Nats(port) => Publisher::Nats(Box::new(nats::Publisher::new(port, window, topics).await?)),
        })
    }

    /// Starts subscribers; returns when all are ready.
    pub(crate) async fn subscribe(&self, wanted: Subscribers, tally: &Arc<Tally>) -> Result<Tasks, Error> {
        match self.side {
            Side::Waypost(ports) => waypost::subscribe(ports.agents, wanted, tally).await,
            Side::Nats(port) => nats::subscribe(port, wanted, tally).await,
        }
    }
}

/// Publishes with many in flight.
pub(crate) enum Publisher {
    Waypost(waypost::Publisher),
    Nats(Box<nats::Publisher>),
}

impl Publisher {
    /// Sends one event; waits while the window is full.
    pub(crate) async fn send(&mut self, topic: u32, data: Bytes) -> Result<(), Error> {
        match self {
            Self::Waypost(publisher) => publisher.send(topic, data).await,
            Self::Nats(publisher) => publisher.send(topic, data).await,
        }
    }

    /// Waits until every event is answered.
    pub(crate) async fn finish(self) -> Result<(), Error> {
        match self {
            Self::Waypost(publisher) => publisher.finish().await,
            Self::Nats(publisher) => publisher.finish().await,
        }
    }
}

/// The Waypost client's publisher, for a port that speaks the same protocol.
pub(crate) async fn bare_publisher(port: u16, window: usize) -> Result<Publisher, Error> {
    Ok(Publisher::Waypost(waypost::Publisher::new(port, window, 1).await?))
}
