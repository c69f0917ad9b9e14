//! What an operator and the sources say must not be kept.

use std::{collections::BTreeSet, fmt, str::FromStr};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};

use super::json::Step;
use crate::ingress::Source;

/// Values of a payload by their place: a JSON pointer in which `*` stands for any key or position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Vec<String>);

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!(
                "{text:?} does not begin with a /: write it as a JSON pointer, such as \"/customer/email\" or \"/items/*/price\""
            ));
        };
        Ok(Self(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl PathPattern {
    /// Whether it names a value: the whole way to it, from the root.
    pub(super) fn fits<'s>(&self, path: impl Iterator<Item = &'s Step<'s>>) -> bool {
        let mut pattern = self.0.iter();
        for step in path {
            let Some(wanted) = pattern.next() else { return false };
            let is_it = wanted == "*"
                || match step {
                    Step::Key(key) => key == wanted,
                    Step::Index(index) => wanted.parse() == Ok(*index),
                };
            if !is_it {
                return false;
            }
        }
        pattern.next().is_none()
    }
}

/// Everything that must not be kept of a request.
#[derive(Clone, Debug, Default)]
pub struct Rules<'a> {
    headers: &'a [HeaderName],
    paths: &'a [PathPattern],
    /// Where the scheme has its signature, or a secret, in the body.
    own_paths: Vec<PathPattern>,
    /// Where the scheme has a secret in the head.
    own_headers: Vec<&'a HeaderName>,
    /// Headers of the source's that are no secrets, whatever their names: its identities and types.
    pub(super) looked_at: Vec<&'a HeaderName>,
    /// The source.
    pub(super) source: Option<&'a Source>,
    /// Secrets as they may be written, the longest first.
    needles: Vec<Vec<u8>>,
}

impl<'a> Rules<'a> {
    /// Of the configuration, and of the source that a request was for; `sources` are those whose secrets are looked for.
    #[must_use]
    pub fn new(
        headers: &'a [HeaderName],
        paths: &'a [PathPattern],
        source: Option<&'a Source>,
        sources: impl IntoIterator<Item = &'a Source>,
    ) -> Self {
        let mut needles: BTreeSet<Vec<u8>> = BTreeSet::new();
        for secret in sources.into_iter().flat_map(Source::secrets) {
            needles.extend(spellings(secret));
        }
        let mut needles: Vec<Vec<u8>> = needles.into_iter().collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        let secret = source.map(Source::secret_pointers).unwrap_or_default();
        Self {
            headers,
            paths,
            own_paths: secret.iter().filter_map(|pointer| pointer.parse().ok()).collect(),
            own_headers: source.map(Source::secret_headers).unwrap_or_default(),
            looked_at: source.map(Source::headers_looked_at).unwrap_or_default(),
            source,
            needles,
        }
    }

    pub(super) fn paths(&self) -> impl Iterator<Item = &PathPattern> {
        self.paths.iter().chain(&self.own_paths)
    }

    pub(super) fn names(&self, header: &HeaderName) -> bool {
        self.headers.contains(header) || self.own_headers.contains(&header)
    }

    pub(super) fn needles(&self) -> &[Vec<u8>] {
        &self.needles
    }
}

/// The ways in which a secret may be written: as it is, escaped for JSON or an address, in hexadecimal, in base64 wherever it begins.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut spellings = vec![secret.to_vec()];
    // What is shorter would be found everywhere.
    if secret.len() >= 6 {
        spellings.extend([hex::encode(secret).into_bytes(), hex::encode_upper(secret).into_bytes()]);
        for offset in 0..3 {
            // The characters of base64 that depend on nothing before or after.
            let padded = [&vec![0; offset], secret].concat();
            let (skip, whole) = ([0, 2, 3][offset], padded.len() / 3 * 4);
            for text in [STANDARD_NO_PAD.encode(&padded), URL_SAFE_NO_PAD.encode(&padded)] {
                spellings.extend(text.get(skip..whole.max(skip)).map(|inner| inner.as_bytes().to_vec()));
            }
        }
    }
    if let Ok(text) = str::from_utf8(secret) {
        let quoted = serde_json::to_string(text).unwrap_or_default();
        spellings.push(quoted.trim_matches('"').as_bytes().to_vec());
        for space in ["%20", "+"] {
            let escaped = text.bytes().fold(String::new(), |out, byte| match byte {
                b' ' => out + space,
                byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => out + char::from(byte).encode_utf8(&mut [0; 4]),
                byte => out + &format!("%{byte:02X}"),
            });
            spellings.push(escaped.to_ascii_lowercase().into_bytes());
            spellings.push(escaped.into_bytes());
        }
    }
    spellings.retain(|spelling| spelling.len() >= secret.len().min(4) && !spelling.is_empty());
    spellings
}
