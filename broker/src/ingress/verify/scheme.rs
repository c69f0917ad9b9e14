//! How a provider signs, identifies and names its webhooks, as data.
//!
//! Constraints: the table of providers and an operator's own scheme are written in the same words; a scheme is checked once, so that
//! what is left can be run without questions.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};

use super::provider;
use crate::{
    config::Span,
    ingress::{
        template::{Part, Template},
        typing::TypeConfig,
        words::{Word, word_or_table},
    },
};

/// A provider's name, or a scheme of one's own.
#[derive(Clone, Debug)]
pub struct SchemeConfig {
    /// The name of the provider, or `custom`.
    pub name: String,
    /// The scheme.
    pub scheme: Scheme,
}

impl<'de> Deserialize<'de> for SchemeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_table::<Self, Scheme, D>(deserializer)
    }
}

impl Word for SchemeConfig {
    const EXPECTED: &'static str = "the name of a provider, or a table that describes a scheme";

    fn word(text: &str) -> Result<Self, String> {
        Ok(Self { name: text.to_owned(), scheme: provider(text)?.clone() })
    }
}

impl From<Scheme> for SchemeConfig {
    fn from(scheme: Scheme) -> Self {
        Self { name: "custom".to_owned(), scheme }
    }
}

/// How a provider signs, identifies and names its webhooks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scheme {
    /// Where the signature is.
    pub signature: SignatureRule,
    /// What is signed. Default: `{body}`.
    #[serde(default = "body")]
    pub signed: Template,
    /// Default: `hmac-sha256`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How the secret becomes the key. Default: `utf8`.
    #[serde(default)]
    pub key: KeyEncoding,
    /// What is taken off the front of a secret, if it is there, before it is decoded.
    #[serde(default)]
    pub key_prefix: String,
    /// A signed time. Without one there is no protection from replays but the identity.
    #[serde(default)]
    pub timestamp: Option<TimestampRule>,
    /// What the provider names a delivery by; the same for its retries. None: a source without an identity of its own goes by the body.
    #[serde(default)]
    pub delivery_id: Option<Template>,
    /// The provider's name for the kind of event: the parts that are there, joined by dots. The first must be there.
    #[serde(default)]
    pub event_type: Vec<Template>,
    /// A request that only wants to see that somebody is there.
    #[serde(default)]
    pub handshake: Option<Handshake>,
    /// Whether a form is accepted as well as JSON.
    #[serde(default)]
    pub form: Form,
    /// Message types by the provider's event types. A source's own come on top.
    #[serde(default)]
    pub types: BTreeMap<String, TypeConfig>,
    /// What else is known of the provider.
    #[serde(default)]
    pub facts: Facts,
}

fn body() -> Template {
    Template(vec![Part::Body])
}

/// Where the signature is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureRule {
    /// The header. Exactly one of them must be there.
    #[serde(deserialize_with = "header_name")]
    pub header: HeaderName,
    /// What stands before the signature. A value without it is refused.
    #[serde(default)]
    pub prefix: String,
    /// Set when the header is a list of named items.
    #[serde(default)]
    pub list: Option<ListGrammar>,
    /// Default: `hex`.
    #[serde(default)]
    pub encoding: Encoding,
}

/// A header such as `t=1,v1=ab,v1=cd` or `v1,ab= v1,cd=`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListGrammar {
    /// Between items.
    pub separator: char,
    /// Between the name and the value of an item.
    pub assign: char,
    /// The name of the items that are signatures. One that matches is enough; others are not looked at.
    pub key: String,
}

/// What makes a signature of a content and a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// HMAC with SHA-1: weak, and shown as such.
    HmacSha1,
    /// HMAC with SHA-256.
    #[default]
    HmacSha256,
    /// HMAC with SHA-512.
    HmacSha512,
    /// No signature: the secret itself is sent. Weak, and shown as such.
    Equals,
}

impl Algorithm {
    /// Whether it should not be chosen where there is a choice.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(self, Self::HmacSha1 | Self::Equals)
    }
}

/// How a signature is written. Hex in either case, base64 with or without its padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Hexadecimal.
    #[default]
    Hex,
    /// Base64.
    Base64,
}

/// How a secret becomes a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyEncoding {
    /// Its bytes as they are.
    #[default]
    Utf8,
    /// Decoded from hexadecimal.
    Hex,
    /// Decoded from base64.
    Base64,
}

/// Where a time is that the signature covers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampRule {
    /// A single part: `{header:NAME}`, `{signature:KEY}` or, in a signed body, `{/pointer}`.
    pub at: Template,
    /// Default: `s`.
    #[serde(default)]
    pub unit: TimeUnit,
    /// How far it may be from now, before or after. Default: 5 minutes.
    #[serde(default = "five_minutes")]
    pub tolerance: Span,
}

fn five_minutes() -> Span {
    Span::from_millis(300_000)
}

/// How a time is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds since 1970.
    #[default]
    S,
    /// Milliseconds since 1970.
    Ms,
    /// RFC 3339.
    Rfc3339,
}

/// A verified request that is answered and becomes no event: where the text at `when` is `is`, the text at `echo` is the answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    /// What is looked at.
    pub when: Template,
    /// What it must be.
    pub is: String,
    /// What is answered, as `text/plain`.
    pub echo: Template,
}

/// What becomes of `application/x-www-form-urlencoded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// 415.
    #[default]
    Refuse,
    /// Its field `payload` is the JSON.
    Payload,
    /// The same if there is such a field; otherwise its fields are an object of strings.
    Fields,
}

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
}

impl Scheme {
    /// What cannot work, as (key, problem).
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let list = self.signature.list.as_ref();
        let in_signature = |part: &&Part| matches!(part, Part::Signature(_));
        if self.algorithm != Algorithm::Equals && !self.signed.0.contains(&Part::Body) {
            problems.push(("signed", "does not hold {body}: anybody could change the body and keep the signature".to_owned()));
        }
        if let Some(part) = self.signed.0.iter().find(|part| matches!(part, Part::Pointer(_) | Part::FirstOf(_))) {
            problems.push(("signed", format!("{part} cannot be used before the body is verified; use headers and {{body}}")));
        }
        if let (None, Some(part)) = (list, self.signed.0.iter().find(in_signature)) {
            problems.push(("signed", format!("{part} needs signature.list, which says how the header is taken apart")));
        }
        if list.is_some_and(|list| list.key.is_empty() || list.separator == list.assign) {
            problems.push(("signature.list", "needs a key, and a separator and an assign that differ".to_owned()));
        }
        if let Some(rule) = &self.timestamp {
            problems.extend(self.timestamp_problem(rule).map(|problem| ("timestamp.at", problem)));
        }
        problems
    }

    fn timestamp_problem(&self, rule: &TimestampRule) -> Option<String> {
        let [part] = &*rule.at.0 else { return Some("is not a single part such as {header:NAME} or {signature:t}".to_owned()) };
        let covered = match part {
            Part::Pointer(_) => self.signed.0.contains(&Part::Body),
            Part::Header(_) | Part::Signature(_) => self.signed.0.contains(part),
            Part::Literal(_) | Part::FirstOf(_) | Part::Body => false,
        };
        let uncovered = || format!("{part} is not in signed, so anybody could set it: a time that is not signed protects from nothing");
        (!covered).then(uncovered)
    }
}

fn header_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    let name = String::deserialize(deserializer)?;
    name.parse().map_err(|_| D::Error::custom(format!("{name:?} is not the name of a header")))
}
