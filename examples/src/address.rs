//! Where the broker listens.
//!
//! Constraint: without an environment that says otherwise, the broker's own defaults.

/// Where agents connect: `WAYPOST_AGENTS`, by default `http://127.0.0.1:8481`.
#[must_use]
pub fn agents() -> String {
    std::env::var("WAYPOST_AGENTS").unwrap_or_else(|_| "http://127.0.0.1:8481".to_owned())
}

/// Where webhooks are posted, host and port: `WAYPOST_EDGE`, by default `127.0.0.1:8480`.
#[must_use]
pub fn edge() -> String {
    std::env::var("WAYPOST_EDGE").unwrap_or_else(|_| "127.0.0.1:8480".to_owned())
}
