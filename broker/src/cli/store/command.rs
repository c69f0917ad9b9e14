//! What can be said about the store.

use std::path::PathBuf;

use super::{backup, stat, verify};
use crate::cli::{admin::call::AdminArgs, failure::Failure};

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum StoreCommand {
    /// Show how full a store is, and what it holds: that of a running broker, or a data directory that nobody has open
    #[command(after_help = "\
Of a data directory it is told what its files say: how full it may be is in the configuration of its broker.

Examples:
  waypost store stat                         the store of the running broker
  waypost store stat waypost-data            a data directory or a backup, while no broker has it open
  waypost store stat --json | jq '(.usedBytes | tonumber) / (.capBytes | tonumber)'")]
    Stat {
        /// The data directory; without it, the running broker is asked
        dir: Option<PathBuf>,
    },
    /// Check every checksum: of a running broker's store, or of a data directory that nobody has open
    #[command(after_help = "\
Frames and their items, indexes, pages and values of the tables: all of it is read, and nothing is changed. Each damage is told
with its file, its position, and what it costs. Exit code 6 if there is any.

Examples:
  waypost store verify                       the store of the running broker
  waypost store verify waypost-data          a data directory or a backup, while no broker has it open
  waypost store verify --json | jq 'select(.damage == true)'")]
    Verify {
        /// The data directory; without it, the running broker is asked
        dir: Option<PathBuf>,
    },
    /// Copy the store of a running broker, consistently, into a new directory on this machine
    #[command(after_help = "\
What was answered before the command was given is in the copy, which is a data directory: verify it, or start a broker on it. The
broker goes on meanwhile. The directory must not exist yet; it appears once the copy is whole, on the disk, and verified.

Examples:
  waypost store backup /backups/waypost-2026-01-31
  waypost store backup /backups/$(date +%F) --admin http://10.0.0.5:8482
  waypost serve --data-dir /backups/waypost-2026-01-31        restore: a broker on the copy (or on a copy of it)")]
    Backup {
        /// Where it goes
        dir: PathBuf,
    },
}

/// Does it.
///
/// # Errors
/// What the broker or the disk refuses, and [`Failure::Damage`].
pub async fn run(args: AdminArgs, command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Stat { dir: None } => stat::live(&args).await,
        StoreCommand::Stat { dir: Some(dir) } => stat::offline(&args, &dir),
        StoreCommand::Verify { dir: None } => verify::live(&args).await,
        StoreCommand::Verify { dir: Some(dir) } => verify::offline(&args, &dir),
        StoreCommand::Backup { dir } => backup::run(&args, &dir).await,
    }
}
