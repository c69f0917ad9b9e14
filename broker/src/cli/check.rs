//! `waypost check`: everything that `serve` checks before it starts.

use std::path::Path;

use super::{args::ConfigArgs, failure::Failure, output};
use crate::{
    config::{self, Setup},
    ingress::Sources,
};

/// Reads the configuration that the arguments name, checked.
///
/// # Errors
/// Every problem in it.
pub fn load(args: &ConfigArgs) -> Result<Setup, Failure> {
    let loaded = config::load(args.config.as_deref());
    let mut setup = loaded.map_err(|error| Failure::Config(format!("the configuration is wrong\n{error}")))?;
    if let Some(dir) = &args.data_dir {
        setup.config.store.data_dir.clone_from(dir);
    }
    Ok(setup)
}

/// Checks and says so.
///
/// # Errors
/// Every problem in it.
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let setup = load(args)?;
    let file = args.config.as_deref().unwrap_or(Path::new("the defaults"));
    output::line(format_args!("{}: no problem found; {}", file.display(), sources(&setup.sources)));
    Ok(())
}

/// Names the sources, and those that anybody can post to.
fn sources(sources: &Sources) -> String {
    let named: Vec<_> =
        sources.iter().map(|source| format!("{}{}", source.name, if source.is_unverified() { " (UNVERIFIED)" } else { "" })).collect();
    if named.is_empty() { "no sources".to_owned() } else { format!("sources: {}", named.join(", ")) }
}
