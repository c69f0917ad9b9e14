//! What idle subscriptions cost a publisher: the rate beside ten of them and beside ten thousand, one after the other.

use tokio::task::JoinSet;
use tonic::transport::Channel;
use waypost_proto::v1::StartPoint;

use super::publish;
use crate::{
    Bench, Error,
    brokers::{Broker, connect_waypost, open_subscription, payload},
    contender::Contender,
    measure::{Figures, Metric},
};

const FEW: u32 = 10;

/// Subscriptions that are made at a time: they share the fsync.
const AT_ONCE: usize = 64;

pub(super) async fn measure(bench: &Bench) -> Result<Figures, Error> {
    let mut figures = Vec::new();
    for (metric, idle) in [(Metric::RateFewIdle, FEW), (Metric::RateManyIdle, bench.scale.idle)] {
        let broker = Broker::start(Contender::Waypost, bench).await?;
        let empty = broker.process().rss()?;
        make_idle(&broker, idle).await?;
        if metric == Metric::RateManyIdle {
            figures.push((Metric::GrownRss, broker.process().rss()? - empty));
        }
        let publisher = broker.publisher(bench.window, 1).await?;
        let load = publish::load(broker.process(), publisher, bench).await?;
        figures.extend(load.into_iter().filter(|(figure, _)| *figure == Metric::Rate).map(|(_, rate)| (metric, rate)));
    }
    Ok(figures)
}

/// Makes durable subscriptions to types that nobody publishes, and leaves them.
async fn make_idle(broker: &Broker, count: u32) -> Result<(), Error> {
    let channel = connect_waypost(broker.waypost()?.agents).await?;
    let mut tasks = JoinSet::new();
    for index in 0..count {
        if tasks.len() == AT_ONCE {
            tasks.join_next().await.transpose()?.transpose()?;
        }
        tasks.spawn(make_one(channel.clone(), index));
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

async fn make_one(channel: Channel, index: u32) -> Result<(), Error> {
    let event_type = payload::event_type(1 + index);
    open_subscription(channel, format!("idle{index}"), event_type, StartPoint::New, 256).await?;
    Ok(())
}
