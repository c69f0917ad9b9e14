//! How long a store of many small events takes to open after its process was killed: from the start of the new process
//! until it is ready.

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    Bench, Error,
    brokers::Broker,
    contender::Contender,
    measure::{Figures, Metric},
};

pub(super) async fn measure(bench: &Bench) -> Result<Figures, Error> {
    let broker = Broker::start(Contender::Waypost, bench).await?;
    let mut publisher = broker.publisher(4 * bench.window, 1).await?;
    for _ in 0..bench.scale.stored {
        publisher.send(0, Bytes::from_static(&[b'x'; 64])).await?;
    }
    publisher.finish().await?;

    let start = Instant::now();
    let broker = broker.restart(bench).await?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    Ok(vec![(Metric::Open, took), (Metric::Samples, bench.scale.stored as f64), (Metric::PeakRss, broker.process().peak_rss()?)])
}
