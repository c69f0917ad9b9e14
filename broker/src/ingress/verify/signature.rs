//! How a signature, and the time that it covers, are written and made; as data.
//!
//! Constraint: each word here is one that a configuration may say.

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};

use crate::{config::Span, ingress::template::Template};

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
