//! `waypost check`: everything that `serve` checks before it starts.

use std::path::Path;

use super::{args::ConfigArgs, failure::Failure};
use crate::config::{self, Config};

/// Reads the configuration that the arguments name, checked.
///
/// # Errors
/// Every problem in it.
pub fn load(args: &ConfigArgs) -> Result<Config, Failure> {
    let mut config =
        config::load(args.config.as_deref()).map_err(|error| Failure::Config(format!("the configuration is wrong\n{error}")))?;
    config.store.data_dir = match &args.data_dir {
        // On the command line a path starts at the working directory, as everywhere.
        Some(dir) => dir.clone(),
        None => config.base.join(&config.store.data_dir),
    };
    Ok(config)
}

/// Checks and says so.
///
/// # Errors
/// Every problem in it.
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    load(args)?;
    let file = args.config.as_deref().unwrap_or(Path::new("the defaults"));
    println!("{}: no problem found", file.display());
    Ok(())
}
