//! How a provider signs, identifies and names its webhooks, as data.
//!
//! Constraints: the table of providers and an operator's own scheme are written in the same words; a scheme is checked once, so that
//! what is left can be run without questions.

use std::collections::BTreeMap;

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    provider,
    public::Method,
    rules::{BatchRule, HandshakeRule, JwtRule, KeysRule, Reply},
};
use crate::{
    config::Span,
    ingress::{
        poll::PollRule,
        template::{Part, Template},
        typing::{About, TypeConfig},
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

/// Where the signature is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureRule {
    /// The header, or several of which any may hold it. Each may be there once.
    #[serde(default, deserialize_with = "header_names")]
    pub header: Vec<HeaderName>,
    /// Elsewhere, instead of a header: `{/pointer}` or `{query:NAME}`.
    #[serde(default)]
    pub at: Option<Template>,
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
    /// A bare hash over a content that holds `{secret}`: weak, and shown as such.
    Sha256,
    /// Ed25519.
    Ed25519,
    /// ECDSA with P-256 and SHA-256, the signature in DER.
    EcdsaP256,
    /// RSA (PKCS #1) with SHA-1: weak, and shown as such.
    RsaSha1,
    /// RSA (PKCS #1) with SHA-256.
    RsaSha256,
    /// A JSON Web Token.
    Jwt,
    /// No signature: the secret itself is sent. Weak, and shown as such.
    Equals,
    /// The same as HTTP Basic authentication: the secret is `user:password`.
    Basic,
}

impl Algorithm {
    /// Whether it should not be chosen where there is a choice.
    #[must_use]
    pub fn is_weak(self) -> bool {
        matches!(self, Self::HmacSha1 | Self::RsaSha1 | Self::Sha256 | Self::Equals | Self::Basic)
    }

    /// Whether what is sent depends on the webhook at all.
    #[must_use]
    pub fn signs(self) -> bool {
        !matches!(self, Self::Jwt | Self::Equals | Self::Basic)
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
    /// A public key or a certificate in PEM.
    Pem,
    /// A public key as a JSON Web Key, or a set of them.
    Jwk,
}

/// Where a time is that the signature covers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimestampRule {
    /// A single part: `{header:NAME}`, `{signature:KEY}`, `{claim:NAME}` or, in a signed body, `{/pointer}`.
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
    /// RFC 3339, and what of ISO 8601 is like it.
    #[serde(alias = "iso8601")]
    Rfc3339,
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

/// One name or several.
fn header_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
    let names = OneOrMany::deserialize(deserializer)?;
    let names = match names {
        OneOrMany::One(name) => vec![name],
        OneOrMany::Many(names) => names,
    };
    let parse = |name: String| name.parse().map_err(|_| D::Error::custom(format!("{name:?} is not the name of a header")));
    names.into_iter().map(parse).collect()
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected the name of a header, or several")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}
