//! Waypost beside its peers and its limits: one command, one run, side by side.
//!
//! Constraints:
//! - Only ratios within one run are compared; the contenders of a work take turns (A B A B), at least three times.
//! - Waypost always runs as its users run it: the release binary, fsync before every answer.
//! - A figure is given only for work that was done whole; a failed measurement is shown, and the exit code is 1.
//! - Every load is bounded in count and time; every server listens on loopback only and is killed at the end, also on an
//!   error or Ctrl-C.
//!
//! ```text
//! cargo run --release -p waypost-bench -- [--quick] [--only NAME]... [--rounds N] [--json FILE]
//! ```
//!
//! - [`works`]: what is measured. [`brokers`], [`bare`]: by whom. [`http_load`], [`webhook`]: what the edge is sent.
//! - [`measure`], [`goals`], [`report`]: figures, their ratios, and how they are shown.
//! - [`process`]: the servers as processes. [`scale`]: how much is done. [`machine`]: on what.

mod bare;
mod brokers;
mod contender;
mod goals;
mod http_load;
mod machine;
mod measure;
mod process;
mod report;
mod scale;
mod webhook;
mod works;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{machine::Machine, measure::Record, report::Report, scale::Scale, works::Work};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
#[command(about = "Measures Waypost beside nats-server and bare handlers, and prints the ratios that are its goals")]
struct Arguments {
    /// Smaller loads: minutes instead of a good while. The ratios are rougher.
    #[arg(long)]
    quick: bool,
    /// Only works whose name contains this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// How often each contender's turn comes.
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: usize,
    /// Writes every figure to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures this `waypost` instead of building the one of this repository.
    #[arg(long, value_name = "FILE")]
    waypost: Option<PathBuf>,
    #[command(subcommand)]
    bare: Option<Bare>,
}

/// Bare servers, started by a run.
#[derive(Subcommand)]
enum Bare {
    #[command(hide = true)]
    BareEdge { port: u16 },
    #[command(hide = true)]
    BareStreaming { port: u16, batch: usize, count: u64 },
}

/// What all measurements need.
struct Bench {
    scale: Scale,
    /// Publishes in flight where there are many.
    window: usize,
    /// The `waypost` binary.
    waypost: PathBuf,
    /// The nats-server binary.
    nats: PathBuf,
    /// Where servers get their directories.
    runs: PathBuf,
}

impl Bench {
    /// What is not measured at the start of a load.
    const WARM_UP: Duration = Duration::from_millis(500);
    /// How long a single answer may take.
    const PATIENCE: Duration = Duration::from_secs(60);
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.bare {
        Some(Bare::BareEdge { port }) => bare::edge::serve(port).await.map(|()| true),
        Some(Bare::BareStreaming { port, batch, count }) => bare::streaming::serve(port, batch, count).await.map(|()| true),
        // Dropping the run drops its servers, which kills them.
        None => tokio::select! {
            done = run(&arguments) => done,
            error = interrupted() => Err(error),
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("waypost-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn interrupted() -> Error {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return "signals cannot be listened for".into();
    };
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
    "interrupted; nothing is reported".into()
}

/// Runs everything that was asked for. Gives whether every measurement succeeded.
async fn run(arguments: &Arguments) -> Result<bool, Error> {
    let asked = |work: &Work| arguments.only.is_empty() || arguments.only.iter().any(|name| work.name().contains(name.as_str()));
    let works: Vec<Work> = Work::ALL.into_iter().filter(asked).collect();
    if works.is_empty() || arguments.rounds == 0 {
        let names = Work::ALL.map(Work::name).join(", ");
        return Err(format!("nothing to do: --only takes a part of one of {names}; --rounds is at least 1").into());
    }
    let bench = prepare(arguments)?;
    let mut machine = Machine::look();
    let mut record = Record::default();
    for work in works {
        for round in 1..=arguments.rounds {
            for &contender in work.contenders() {
                eprint!("{} {round}/{} {} … ", work.name(), arguments.rounds, contender.name());
                match Box::pin(work.measure(contender, &bench, &record)).await {
                    Ok(figures) => {
                        let shown: Vec<String> = figures.iter().map(|(metric, value)| format!("{} {value:.1}", metric.name())).collect();
                        eprintln!("{}", shown.join(", "));
                        record.add(work, contender, &figures);
                    }
                    Err(error) => {
                        eprintln!("FAILED: {error}");
                        record.fail(work, contender, error.to_string());
                    }
                }
            }
        }
    }
    machine.look_again();

    let report = Report::new(&machine, if arguments.quick { "quick" } else { "full" }, arguments.rounds, &record);
    println!("{}", report.text());
    if let Some(file) = &arguments.json {
        fs::write(file, report.json()?).map_err(|error| format!("{}: {error}", file.display()))?;
    }
    Ok(record.failures().is_empty())
}

fn prepare(arguments: &Arguments) -> Result<Bench, Error> {
    process::raise_open_files()?;
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let cache = repository.join(".cache/bench");
    let runs = cache.join("runs");
    fs::create_dir_all(&runs)?;
    let nats = brokers::install_nats(&cache)?;
    let waypost = match &arguments.waypost {
        Some(waypost) => waypost.clone(),
        None => brokers::build_waypost(&repository)?,
    };
    Ok(Bench { scale: if arguments.quick { Scale::QUICK } else { Scale::FULL }, window: 256, waypost, nats, runs })
}
