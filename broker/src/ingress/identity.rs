//! What tells the webhooks of a source apart (P7).
//!
//! Constraints: the identity becomes the event's id; a webhook that lacks what its identity is made of has none, and is not taken for
//! another one.

use http::HeaderMap;
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use waypost_store::Micros;

use super::{
    decode::{Selected, Selector},
    template::{Absent, Bound, Template},
    words::{Word, word_or_table},
};
use crate::{
    config::Span,
    limits::{BODY_HASH_WINDOW, MAX_NAME_BYTES},
};

/// What tells the webhooks of a source apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityConfig {
    /// The provider's own delivery id.
    DeliveryId,
    /// A rule of one's own.
    Rule(IdentityTable),
    /// Nothing: every webhook is a new event.
    None,
}

/// A rule of one's own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentityTable {
    /// A delivery id: a changed body is still a duplicate, and counted, since providers change bodies between retries.
    DeliveryId(Template),
    /// What the webhook says: a changed body is another thing under the same name, and goes to quarantine.
    Template(Template),
    /// The body's hash, remembered this long.
    BodyHash(Span),
}

impl<'de> Deserialize<'de> for IdentityConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_table::<Self, IdentityTable, D>(deserializer)
    }
}

impl Word for IdentityConfig {
    const EXPECTED: &'static str = "delivery_id, body_hash or none, or a table with delivery_id, template or body_hash";

    fn word(text: &str) -> Result<Self, String> {
        match text {
            "delivery_id" => Ok(Self::DeliveryId),
            "body_hash" => Ok(Self::Rule(IdentityTable::BodyHash(BODY_HASH_WINDOW))),
            "none" => Ok(Self::None),
            _ => Err(format!("{text:?} is not an identity: use {}", Self::EXPECTED)),
        }
    }
}

impl From<IdentityTable> for IdentityConfig {
    fn from(table: IdentityTable) -> Self {
        Self::Rule(table)
    }
}

/// A text as an event's id can hold it: one that is too long is known by its hash.
fn fitting(text: &str) -> String {
    if text.len() <= MAX_NAME_BYTES { text.to_owned() } else { hex::encode(Sha256::digest(text)) }
}

/// The rule of a source, ready to use.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    DeliveryId(Bound, Micros),
    Template(Bound, Micros),
    BodyHash(Micros),
    None,
}

impl Identity {
    /// Compiles a rule. `window` is how long ids are remembered.
    ///
    /// # Errors
    /// A template with a part that has no meaning here.
    pub(crate) fn compile(rule: &IdentityTable, window: Micros, selector: &mut Selector) -> Result<Self, String> {
        Ok(match rule {
            IdentityTable::DeliveryId(template) => Self::DeliveryId(template.bind(selector)?, window),
            IdentityTable::Template(template) => Self::Template(template.bind(selector)?, window),
            IdentityTable::BodyHash(window) => Self::BodyHash(window.micros()),
        })
    }

    /// The id of a webhook; empty for one that always is a new event.
    ///
    /// # Errors
    /// What the webhook lacks.
    pub(crate) fn id(&self, headers: &HeaderMap, selected: &Selected<'_>, body: &[u8]) -> Result<String, Absent> {
        match self {
            Self::DeliveryId(bound, _) | Self::Template(bound, _) => bound.fill(headers, selected).map(|text| fitting(&text)),
            // Not the quick hash: who can influence a body must not be able to make two bodies one.
            Self::BodyHash(_) => Ok(hex::encode(&Sha256::digest(body)[..16])),
            Self::None => Ok(String::new()),
        }
    }

    /// The headers that it looks at.
    pub(crate) fn headers(&self) -> Vec<&http::HeaderName> {
        match self {
            Self::DeliveryId(bound, _) | Self::Template(bound, _) => bound.headers(),
            Self::BodyHash(_) | Self::None => Vec::new(),
        }
    }

    /// Whether it depends on the payload, so that each event of a webhook has one of its own.
    pub(crate) fn looks_inside(&self) -> bool {
        match self {
            Self::DeliveryId(bound, _) | Self::Template(bound, _) => bound.looks_inside(),
            Self::BodyHash(_) | Self::None => false,
        }
    }

    /// How far back a webhook of the same id makes this one a duplicate.
    pub(crate) fn window(&self) -> Micros {
        match self {
            Self::DeliveryId(_, window) | Self::Template(_, window) | Self::BodyHash(window) => *window,
            Self::None => 0,
        }
    }

    /// Whether another body under the same id is a conflict, not a duplicate.
    pub(crate) fn forbids_changes(&self) -> bool {
        matches!(self, Self::Template(..))
    }
}
