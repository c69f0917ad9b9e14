//! What is known of a provider beside its scheme; for people.
//!
//! Constraint: nothing that is decided of a webhook depends on it.

use serde::Deserialize;

use crate::config::Span;

/// What else is known of a provider; for people.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Its name.
    #[serde(default)]
    pub title: String,
    /// How long it waits for an answer.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// What it does when the answer is not 2xx or does not come.
    #[serde(default)]
    pub retries: String,
    /// What to know before relying on it.
    #[serde(default)]
    pub note: String,
    /// What the row was checked against; none where it was not yet, or not in the provider's own words.
    #[serde(default)]
    pub verified: Option<Checked>,
    /// Where that can be read.
    #[serde(default)]
    pub checked: String,
    /// It was written from what is said of the provider, or something of it is missing: the broker says so at start.
    #[serde(default)]
    pub experimental: bool,
}

/// What a row of the table was checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checked {
    /// A signature that the provider published.
    Vector,
    /// The code of the provider, or that it publishes.
    Sdk,
    /// The provider's documentation.
    Docs,
}
