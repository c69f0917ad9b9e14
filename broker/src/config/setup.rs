//! A configuration with everything that it names: message types compiled, secrets read, sources ready to receive.
//!
//! Constraint: whatever can be wrong before the first socket is bound is found here, so that `waypost check` finds it too.

use std::path::Path;

use super::{Config, Findings, SourceContext};
use crate::{
    ingress::{Source, Sources},
    schema::Schemas,
};

/// What a broker starts with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// The registered message types.
    pub schemas: Schemas,
    /// The configured sources.
    pub sources: Sources,
}

impl Setup {
    /// Checks the configuration and makes what it names. `base` is where relative paths start. `None` if something was reported.
    #[must_use]
    pub(super) fn build(mut config: Config, base: &Path, findings: &mut Findings) -> Option<Self> {
        config.store.data_dir = base.join(&config.store.data_dir);
        config.check(findings);
        let folders: Vec<_> = config.schemas.folders.iter().map(|folder| base.join(folder)).collect();
        let schemas = Schemas::load(&folders).map_err(|error| findings.wrong("schemas.folders", error)).ok()?;
        let context = SourceContext { schemas: &schemas, edge: &config.edge, dedup_window: config.store.dedup_window, base };
        let ready: Vec<Option<Source>> = config.sources.iter().map(|(name, source)| source.build(name, context, findings)).collect();
        let sources = Sources::new(ready.into_iter().flatten()).map_err(|error| findings.wrong("sources", error)).ok()?;
        Some(Self { config, schemas, sources })
    }
}
