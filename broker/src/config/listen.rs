//! The three listeners: the edge for webhooks, the agents' gRPC, and the administrators'.
//!
//! Constraint: none listens beyond loopback without TLS and without knowing who calls, unless it says `insecure = true`. The edge knows by
//! the signatures of its sources.

use serde::Deserialize;

use super::{Address, Findings, Network, Origin, Size, Span, TlsConfig};

/// Where outside systems post webhooks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EdgeConfig {
    /// Address of the listener.
    pub listen: Address,
    /// Its certificate. Without one it speaks plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Whether it may be reached from beyond this machine, unencrypted.
    pub insecure: bool,
    /// The most connections at a time; further ones wait in the backlog of the operating system.
    pub max_connections: u32,
    /// The most of them from one address; further ones are closed.
    pub max_connections_per_address: u32,
    /// The proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The largest body of a webhook.
    pub max_body: Size,
    /// How long the head of a request may take.
    pub header_timeout: Span,
    /// How long its body may take.
    pub body_timeout: Span,
}

/// Where agents connect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentsConfig {
    /// Address of the listener.
    pub listen: Address,
    /// Its certificate. Without one it speaks plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Whether it may be reached from beyond this machine, unencrypted or by anybody.
    pub insecure: bool,
    /// The most connections at a time; further ones wait in the backlog of the operating system.
    pub max_connections: u32,
    /// The most of them from one address; further ones are closed.
    pub max_connections_per_address: u32,
    /// The most calls, open streams included, of one connection at a time.
    pub max_streams: u32,
    /// The origins of web pages that may call with gRPC-Web.
    pub allowed_origins: Vec<Origin>,
    /// A silent connection is pinged this often.
    pub keepalive_interval: Span,
    /// A ping that is not answered for this long ends its connection.
    pub keepalive_timeout: Span,
    /// How long agents may go on settling once the broker drains.
    pub drain_grace: Span,
}

/// Where administrators connect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    /// Address of the listener.
    pub listen: Address,
    /// Its certificate. Without one it speaks plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// Whether it may be reached from beyond this machine, unencrypted or by anybody.
    pub insecure: bool,
}

impl EdgeConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        guarded(self.listen, self.insecure, &[("tls", self.tls.is_some())], findings);
        findings.between("max_connections", self.max_connections, 1, 1_000_000);
        findings.between("max_connections_per_address", self.max_connections_per_address, 1, 1_000_000);
        findings.between("max_body", self.max_body, Size::from_bytes(1), Size::from_bytes(1 << 20));
        findings.between("header_timeout", self.header_timeout, Span::from_millis(100), Span::from_millis(60_000));
        findings.between("body_timeout", self.body_timeout, Span::from_millis(100), Span::from_millis(300_000));
    }
}

impl AgentsConfig {
    pub(super) fn check(&self, has_tokens: bool, findings: &mut Findings) {
        guarded(self.listen, self.insecure, &[("tls", self.tls.is_some()), ("auth.tokens_file", has_tokens)], findings);
        findings.between("max_connections", self.max_connections, 1, 1_000_000);
        findings.between("max_connections_per_address", self.max_connections_per_address, 1, 1_000_000);
        findings.between("max_streams", self.max_streams, 1, 100_000);
        findings.between("keepalive_interval", self.keepalive_interval, Span::from_millis(100), Span::from_millis(3_600_000));
        findings.between("keepalive_timeout", self.keepalive_timeout, Span::from_millis(100), Span::from_millis(3_600_000));
        findings.between("drain_grace", self.drain_grace, Span::from_millis(0), Span::from_millis(3_600_000));
    }
}

impl AdminConfig {
    pub(super) fn check(&self, has_tokens: bool, findings: &mut Findings) {
        guarded(self.listen, self.insecure, &[("tls", self.tls.is_some()), ("auth.tokens_file", has_tokens)], findings);
    }
}

/// Beyond this machine, everything that a listener needs must be there, or be done without in so many words.
fn guarded(listen: Address, insecure: bool, needed: &[(&str, bool)], findings: &mut Findings) {
    let missing: Vec<_> = needed.iter().filter(|(_, is_there)| !is_there).map(|(what, _)| *what).collect();
    if !insecure && !missing.is_empty() && !listen.get().ip().is_loopback() {
        let text = format!(
            "{listen} can be reached from beyond this machine, and this configuration has no {}; set it, or use 127.0.0.1 (behind a proxy that \
             has it), or accept the risk with insecure = true in the same section",
            missing.join(" and no ")
        );
        findings.wrong("listen", text);
    }
}
