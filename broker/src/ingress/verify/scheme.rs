//! How a provider signs, identifies and names its webhooks, as data.
//!
//! Constraints: the table of providers and an operator's own scheme are written in the same words; a scheme is checked once, so that
//! what is left can be run without questions.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};

use super::{
    facts::Facts,
    provider,
    public::Method,
    published::{KeysRule, Reading},
    rules::{BatchRule, HandshakeRule, JwtRule, Reply},
    signature::{Algorithm, KeyEncoding, SignatureRule, TimestampRule},
};
use crate::ingress::{
    poll::PollRule,
    shapes::ShapeTable,
    template::{Part, Template},
    typing::{About, TypeConfig},
    words::{Word, word_or_table},
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
    /// How much of a webhook that protects. Default: `body`.
    #[serde(default)]
    pub covers: Covers,
    /// Where the SHA-256 of the body stands in hex, in schemes that sign it instead of the body. A form whose fields are signed needs none.
    #[serde(default)]
    pub body_hash: Option<Template>,
    /// Default: `hmac-sha256`.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// What a token must say, with the algorithm `jwt`.
    #[serde(default)]
    pub jwt: Option<JwtRule>,
    /// How the secret becomes the key. Default: `utf8`.
    #[serde(default)]
    pub key: KeyEncoding,
    /// What is taken off the front of a secret, if it is there, before it is decoded.
    #[serde(default)]
    pub key_prefix: String,
    /// Where the provider's public keys are fetched.
    #[serde(default)]
    pub keys: Option<KeysRule>,
    /// What a source must list under `allow`, by name, and where it stands in a webhook: with a provider's keys anybody who is its
    /// customer can have a webhook signed.
    #[serde(default)]
    pub allow: BTreeMap<String, Template>,
    /// A signed time. Without one there is no protection from replays but the identity.
    #[serde(default)]
    pub timestamp: Option<TimestampRule>,
    /// What the provider names a delivery by; the same for its retries. None: a source without an identity of its own goes by the body.
    #[serde(default)]
    pub delivery_id: Option<Template>,
    /// The provider's name for the kind of event: the parts that are there, joined by dots. The first must be there.
    #[serde(default)]
    pub event_type: Vec<Template>,
    /// Requests that only want to see that somebody is there, the first that fits.
    #[serde(default)]
    pub handshakes: Vec<HandshakeRule>,
    /// Set when a webhook holds several events.
    #[serde(default)]
    pub batch: Option<BatchRule>,
    /// Whether webhooks are CloudEvents, in any mode: rules then look at an event as structured mode writes it, such as `{/type}` and
    /// `{/data/id}`.
    #[serde(default)]
    pub cloudevents: bool,
    /// What the provider wants to be answered, instead of our own answer.
    #[serde(default)]
    pub reply: Option<Reply>,
    /// Content types that are JSON although they do not say so.
    #[serde(default)]
    pub accept: Vec<String>,
    /// Whether a form is accepted as well as JSON.
    #[serde(default)]
    pub form: Form,
    /// Message types by the provider's event types. A source's own come on top.
    #[serde(default)]
    pub types: BTreeMap<String, TypeConfig>,
    /// How the provider's API is asked for what never came, where a source wants that.
    #[serde(default)]
    pub poll: Option<PollRule>,
    /// What payloads look like by event type, where the type stands in headers that nothing signs. One that does not is flagged.
    #[serde(default)]
    pub shapes: BTreeMap<String, ShapeTable>,
    /// What its events are about, unless a type or the source says otherwise; likewise those that follow.
    #[serde(default)]
    pub subject: Option<Template>,
    /// The key within which the order of its events matters.
    #[serde(default)]
    pub ordering_key: Option<Template>,
    /// The story that its events belong to.
    #[serde(default)]
    pub correlation_id: Option<Template>,
    /// What else is known of the provider.
    #[serde(default)]
    pub facts: Facts,
}

fn body() -> Template {
    Template(vec![Part::Body])
}

/// How much of a webhook its signature protects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covers {
    /// Every byte of the body.
    #[default]
    Body,
    /// Those fields of the payload that are named in `signed`.
    Fields,
    /// Nothing of the payload: who sees one webhook can send another body with it. Weak, and shown as such.
    Nothing,
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

impl Scheme {
    /// Whether it should not be chosen where there is a choice.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        let is_free = !self.algorithm.signs() && self.body_hash.is_none();
        self.algorithm.is_weak() || self.covers == Covers::Nothing || is_free
    }

    /// Whether a source must say by which address the provider calls it.
    #[must_use]
    pub fn signs_the_url(&self) -> bool {
        self.signed.parts().any(|part| matches!(part, Part::Url { .. }))
    }

    /// Whether what is verified depends on the body.
    pub(super) fn looks_at_the_body(&self) -> bool {
        let is_of_the_body = |part: &Part| matches!(part, Part::Body | Part::Crc32 | Part::Pointer(_) | Part::Form | Part::FormField(_));
        self.body_hash.is_some() || self.signature.at.is_some() || (self.algorithm.signs() && self.signed.parts().any(is_of_the_body))
    }

    /// Whether the secret is a part of what is signed.
    #[must_use]
    pub fn signs_the_secret(&self) -> bool {
        self.signed.parts().any(|part| *part == Part::Secret)
    }

    /// Whether a source must have a secret: not with keys that the provider publishes, which are all that it takes.
    #[must_use]
    pub fn needs_secrets(&self) -> bool {
        self.keys.is_none() || self.signs_the_secret()
    }

    /// How the keys that it publishes are read.
    pub(crate) fn reading(&self) -> Option<Reading> {
        self.keys.as_ref().zip(self.method()).map(|(rule, method)| rule.reading(method))
    }

    /// What a source must be able to show the provider, by name, before it is given keys.
    #[must_use]
    pub fn access(&self) -> BTreeSet<&str> {
        self.keys.as_ref().map(KeysRule::access).unwrap_or_default()
    }

    /// Whether a source must have a word of its own for handshakes.
    #[must_use]
    pub fn asks_for_a_token(&self) -> bool {
        self.handshakes.iter().any(|rule| rule.token.is_some())
    }

    /// What its events are about.
    pub(crate) fn about(&self) -> About {
        About { subject: self.subject.clone(), ordering_key: self.ordering_key.clone(), correlation_id: self.correlation_id.clone() }
    }

    /// How signatures are made, if with a private key.
    pub(crate) fn method(&self) -> Option<Method> {
        match self.algorithm {
            Algorithm::Ed25519 => Some(Method::Ed25519),
            Algorithm::EcdsaP256 => Some(Method::P256),
            Algorithm::RsaSha1 => Some(Method::RsaSha1),
            Algorithm::RsaSha256 => Some(Method::RsaSha256),
            Algorithm::Jwt => self.jwt.as_ref().map(|rule| rule.algorithm.method()),
            _ => None,
        }
    }
}
