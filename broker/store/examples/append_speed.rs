//! How fast the embedded store takes events of 1 KiB, each durable before it is answered, beside a bare sync of the same disk.
//!
//! Run it on the disk that you mean: `cargo run --release -p waypost-store --example append_speed -- /path/on/that/disk`
#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::{
    error::Error,
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use waypost_store::{EmbeddedOptions, EmbeddedStore, EventHead, EventStore, NewEvent};

const BODY: usize = 1024;

fn event(writer: usize, number: usize) -> Result<NewEvent, Box<dyn Error + Send + Sync>> {
    let id = format!("{writer}-{number}");
    let head = EventHead::new("bench", &id, "bench.v1.Sample", "", "", &id)?;
    let body = Bytes::from(vec![7; BODY]);
    Ok(NewEvent { head, body, fingerprint: number as u128, dedup_window: 3_600_000_000 })
}

/// Events per second with so many tasks that each await their answer, in calls of so many events.
async fn throughput(store: &Arc<EmbeddedStore>, name: usize, tasks: usize, batch: usize) -> Result<f64, Box<dyn Error + Send + Sync>> {
    let (start, run) = (Instant::now(), Duration::from_secs(3));
    let mut running = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let store = store.clone();
        running.spawn(async move {
            let mut done = 0;
            while start.elapsed() < run {
                let events = (done..done + batch).map(|number| event(name * 1_000 + task, number)).collect::<Result<_, _>>()?;
                store.append(1, events).await?;
                done += batch;
            }
            Ok::<usize, Box<dyn Error + Send + Sync>>(done)
        });
    }
    let mut total = 0;
    while let Some(done) = running.join_next().await {
        total += done??;
    }
    Ok(total as f64 / start.elapsed().as_secs_f64())
}

fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Writes 4 KiB into blocks that were written before, and syncs.
fn bare(dir: &Path) -> Result<(Duration, Duration), Box<dyn Error + Send + Sync>> {
    let path = dir.join("bare");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    file.write_all_at(&vec![0; 16 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for number in 0..2_000 {
        let start = Instant::now();
        file.write_all_at(&[1; 4096], number * 4096)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    std::fs::remove_file(path)?;
    Ok(percentiles(times))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let dir = std::env::args().nth(1).ok_or("say the directory to measure in; it is made, and may be removed afterwards")?;
    let dir = Path::new(&dir);
    std::fs::create_dir_all(dir)?;
    let store = Arc::new(EmbeddedStore::open(EmbeddedOptions::new(dir.join("store")))?);
    for round in 0..3 {
        let (p50, p99) = bare(dir)?;
        println!("bare sync of 4 KiB                 p50 {p50:>9.1?}  p99 {p99:>9.1?}");
        let mut times = Vec::new();
        for number in 0..2_000 {
            let events = vec![event(900 + round, number)?];
            let start = Instant::now();
            store.append(1, events).await?;
            times.push(start.elapsed());
        }
        let (p50, p99) = percentiles(times);
        println!("one append at a time               p50 {p50:>9.1?}  p99 {p99:>9.1?}");
        for (name, (tasks, batch)) in [(64, 1), (256, 1), (4, 64), (16, 64)].into_iter().enumerate() {
            let speed = throughput(&store, round * 10 + name, tasks, batch).await?;
            println!("{tasks:>3} appenders, {batch:>2} events each      {speed:>9.0} events/s");
        }
        store.trim(store.disk().next).await?;
    }
    Ok(())
}
