//! How long the embedded store takes to open after its process died without closing it, by the number of events in it.
//!
//! Run it on the disk that you mean, for example with 10 million events: the first call fills the directory and dies, the second opens it.
//! `cargo run --release -p waypost-store --example open_speed -- /path/on/that/disk 10000000`
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::{error::Error, path::Path, sync::Arc, time::Instant};

use bytes::Bytes;
use tokio::task::JoinSet;
use waypost_store::{EmbeddedOptions, EmbeddedStore, EventHead, EventStore, NewEvent};

type Failure = Box<dyn Error + Send + Sync>;

const WRITERS: u64 = 8;
const BATCH: u64 = 200;

fn event(number: u64) -> Result<NewEvent, Failure> {
    let id = format!("event-{number:012}");
    let head = EventHead::new("bench", &id, "bench.v1.Sample", "", "", &id)?;
    Ok(NewEvent { head, body: Bytes::from_static(&[7; 120]), fingerprint: u128::from(number), dedup_window: 1 << 40 })
}

async fn fill(store: &Arc<EmbeddedStore>, events: u64) -> Result<(), Failure> {
    let mut running = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        running.spawn(async move {
            for batch in (writer..events / BATCH).step_by(usize::try_from(WRITERS)?) {
                let events = (0..BATCH).map(|number| event(batch * BATCH + number)).collect::<Result<_, _>>()?;
                store.append(1, events).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let (Some(place), Some(events)) = (arguments.next(), arguments.next()) else {
        return Err("usage: open_speed DIRECTORY EVENTS".into());
    };
    let (place, events) = (Path::new(&place).join("open_speed"), events.parse::<u64>()?);
    let is_there = place.exists();
    let start = Instant::now();
    let store = Arc::new(EmbeddedStore::open(EmbeddedOptions::new(&place))?);
    println!("opened in {:?}; the next offset is {}", start.elapsed(), store.disk().next);
    let start = Instant::now();
    if is_there {
        fill(&store, 200_000).await?;
        println!("200,000 duplicates took {:?}", start.elapsed());
        drop(store);
        std::fs::remove_dir_all(place)?;
    } else {
        fill(&store, events).await?;
        println!("{events} new events took {:?}", start.elapsed());
        // Dies as it is: nothing is sealed or folded on the way out.
        std::process::exit(0);
    }
    Ok(())
}
