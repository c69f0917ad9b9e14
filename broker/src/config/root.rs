//! The whole configuration, and what must go together across its sections.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    AdminConfig, AgentsConfig, AuthConfig, DeliveryConfig, EdgeConfig, Findings, JournalConfig, LimitsConfig, LogConfig, RetentionConfig,
    SchemasConfig, SourceConfig, StoreConfig, TracesConfig,
};

/// Everything that an operator may set.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where webhooks come in.
    pub edge: EdgeConfig,
    /// Where agents connect.
    pub agents: AgentsConfig,
    /// Where administrators connect.
    pub admin: AdminConfig,
    /// Whom the listeners for agents and administrators let in. No key of it has a default.
    #[serde(default)]
    pub auth: AuthConfig,
    /// What remembers the events.
    pub store: StoreConfig,
    /// How long things are kept.
    pub retention: RetentionConfig,
    /// What is kept of the requests that came to the edge.
    pub journal: JournalConfig,
    /// Who posts webhooks, by name.
    #[serde(default)]
    pub sources: BTreeMap<String, SourceConfig>,
    /// How deliveries go, for all subscriptions alike.
    pub delivery: DeliveryConfig,
    /// Bounds on what publishers and agents may do.
    pub limits: LimitsConfig,
    /// Message types beside the built-in ones.
    pub schemas: SchemasConfig,
    /// What the broker says about itself.
    pub log: LogConfig,
    /// What it tells of each event.
    pub traces: TracesConfig,
}

impl Config {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.within("edge", |findings| self.edge.check(findings));
        findings.within("agents", |findings| self.agents.check(self.auth.tokens_file.is_some(), findings));
        findings.within("admin", |findings| self.admin.check(self.auth.tokens_file.is_some(), findings));
        findings.within("store", |findings| self.store.check(findings));
        findings.within("retention", |findings| self.retention.check(findings));
        findings.within("journal", |findings| self.journal.check(findings));
        findings.within("delivery", |findings| self.delivery.check(findings));
        findings.within("limits", |findings| self.limits.check(findings));
        findings.within("log", |findings| self.log.check(findings));
        self.check_listeners(findings);
    }

    fn check_listeners(&self, findings: &mut Findings) {
        let listeners = [("edge", self.edge.listen), ("agents", self.agents.listen), ("admin", self.admin.listen)];
        for (i, (section, address)) in listeners.iter().enumerate() {
            let same = |(_, other): &&(&str, _)| other == address && address.get().port() != 0;
            if let Some((other, _)) = listeners[..i].iter().find(same) {
                let text = format!("{address} is the address of [{other}] as well; each listener needs a port of its own");
                findings.wrong(&format!("{section}.listen"), text);
            }
        }
    }
}
