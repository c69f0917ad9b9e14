//! `waypost config`: the same check as `waypost check`, and what holds.

use std::{fs, path::Path};

use serde_json::json;

use super::{args::ConfigArgs, check, failure::Failure, output, table::Table};
use crate::config::{self, Held, Provenance};

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Check a configuration without starting: the same as `waypost check`
    #[command(after_help = "\
Example:
  waypost config check --config waypost.toml")]
    Check(ConfigArgs),
    /// Show every key with its value and where it comes from: the defaults, a line of the file, the environment, the command line
    #[command(after_help = "\
A secret is shown as the reference that it is, env:NAME or file:PATH. A configuration with a problem is not shown: see `check`.

Examples:
  waypost config show --config waypost.toml
  waypost config show --config waypost.toml --changed        only what is not a default
  waypost config show --config waypost.toml --json | jq -r 'select(.key == \"store.max_size\") | .value'")]
    Show {
        /// Which.
        #[command(flatten)]
        config: ConfigArgs,
        /// Only what is not a default
        #[arg(long)]
        changed: bool,
        /// JSON for programs: one object a line
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// Every problem in the configuration.
pub fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check(args) => check::run(args),
        ConfigCommand::Show { config, changed, json } => show(config, *changed, *json),
    }
}

fn show(args: &ConfigArgs, changed: bool, json: bool) -> Result<(), Failure> {
    check::load(args)?;
    let path = args.config.as_deref().unwrap_or(Path::new(""));
    let text = if args.config.is_some() { fs::read_to_string(path).map_err(Failure::failed)? } else { String::new() };
    let mut keys = config::effective(&text, path);
    if let Some(dir) = &args.data_dir {
        let value = dir.display().to_string().into();
        keys.insert("store.data_dir".to_owned(), Held { value, from: Provenance::CommandLine("--data-dir") });
    }
    keys.retain(|_, held| !changed || held.from != Provenance::Default);
    if json {
        for (key, held) in &keys {
            if !output::line(json!({ "key": key, "value": held.value, "from": held.from.to_string() })) {
                break;
            }
        }
        return Ok(());
    }
    let mut table = Table::with_head(&["key", "value", "from"]);
    for (key, held) in keys {
        table.row([key, held.value.to_string(), held.from.to_string()]);
    }
    output::line(table);
    Ok(())
}
