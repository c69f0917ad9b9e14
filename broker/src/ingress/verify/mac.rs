//! Algorithms and keys.
//!
//! Constraint: a key's preparation is done once, not per request; a computed signature leaves this module only to be written into a sample,
//! or into the answer to a challenge that could not be a body.

use std::borrow::Cow;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use serde::de::IgnoredAny;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::{
    public::{KeySet, Method},
    scheme::Scheme,
    signature::{Algorithm, Encoding, KeyEncoding},
};
use zeroize::Zeroizing;

use crate::{config::Secret, limits::MAX_CHALLENGE_BYTES};

const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A secret, ready to verify with.
#[derive(Clone)]
pub(crate) struct Key {
    kind: Kind,
    encoding: Encoding,
    /// What stands for `{secret}`; empty in schemes that do not ask for it.
    secret: Secret,
}

#[derive(Clone)]
enum Kind {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
    Equals(Secret),
    /// A hash over a content that holds the secret.
    Digest,
    Public(Method, KeySet),
    /// The key comes from the network; the secret is a part of what is signed.
    Elsewhere,
}

impl Key {
    /// Makes the key of a secret.
    ///
    /// # Errors
    /// What is wrong with the secret, without it.
    pub(super) fn new(scheme: &Scheme, secret: &Secret) -> Result<Self, String> {
        let text = secret.expose();
        let text = text.strip_prefix(scheme.key_prefix.as_bytes()).unwrap_or(text);
        let bytes = Zeroizing::new(match scheme.key {
            KeyEncoding::Utf8 | KeyEncoding::Pem | KeyEncoding::Jwk => text.to_vec(),
            KeyEncoding::Hex => hex::decode(text).map_err(|_| "is not hexadecimal, as this scheme's keys are".to_owned())?,
            KeyEncoding::Base64 => BASE64.decode(text).map_err(|_| "is not base64, as this scheme's keys are".to_owned())?,
        });
        if bytes.is_empty() {
            return Err("is empty; an empty secret verifies nothing".to_owned());
        }
        let kind = Kind::new(scheme, &bytes)?;
        let secret = if scheme.signs_the_secret() { Secret::new(bytes.to_vec()) } else { Secret::new("") };
        Ok(Self { kind, encoding: scheme.signature.encoding, secret })
    }

    /// What stands for `{secret}`.
    pub(super) fn secret(&self) -> &[u8] {
        self.secret.expose()
    }

    /// The public keys, of a scheme that has such.
    pub(super) fn public(&self) -> Option<&KeySet> {
        match &self.kind {
            Kind::Public(_, keys) => Some(keys),
            _ => None,
        }
    }

    /// The signature of a content, given in pieces; `None` if it takes a private key, which the provider has. For `equals` and `basic` there
    /// is no content: it is the secret.
    pub(super) fn sign(&self, content: &[Cow<'_, [u8]>]) -> Option<Vec<u8>> {
        fn run<M: Mac + Clone>(mac: &M, content: &[Cow<'_, [u8]>]) -> Vec<u8> {
            let mut mac = mac.clone();
            content.iter().for_each(|piece| mac.update(piece));
            mac.finalize().into_bytes().to_vec()
        }
        Some(match &self.kind {
            Kind::Sha1(mac) => run(mac, content),
            Kind::Sha256(mac) => run(mac, content),
            Kind::Sha512(mac) => run(mac, content),
            Kind::Equals(secret) => secret.expose().to_vec(),
            Kind::Digest => content.iter().fold(Sha256::new(), |hash, piece| hash.chain_update(piece)).finalize().to_vec(),
            Kind::Public(..) | Kind::Elsewhere => return None,
        })
    }

    /// Whether one of the candidates is the signature of a content. `wall` is the wall time in microseconds.
    pub(super) fn verifies(&self, content: &[Cow<'_, [u8]>], candidates: &[Vec<u8>], wall: u64) -> Choice {
        if let Kind::Public(method, keys) = &self.kind {
            return verify_public(keys, *method, content, candidates, wall);
        }
        let Some(expected) = self.sign(content) else { return Choice::from(0) };
        candidates.iter().fold(Choice::from(0), |found, candidate| found | equal(&expected, candidate))
    }

    /// The signature of what somebody unknown asks for. Refused for what is long and for what could be the body of a webhook: who can have
    /// a body signed can forge one. Refused by keys whose signature is the secret, too.
    pub(super) fn sign_on_request(&self, challenge: &[u8]) -> Option<String> {
        if !matches!(self.kind, Kind::Sha1(_) | Kind::Sha256(_) | Kind::Sha512(_)) {
            return None;
        }
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/=".contains(byte);
        let is_json = serde_json::from_slice::<IgnoredAny>(challenge).is_ok();
        if challenge.is_empty() || challenge.len() > MAX_CHALLENGE_BYTES || is_json || !challenge.iter().all(is_plain) {
            return None;
        }
        let signature = self.sign(&[Cow::Borrowed(challenge)])?;
        Some(encode(self.encoding, &signature))
    }
}

impl Kind {
    fn new(scheme: &Scheme, bytes: &[u8]) -> Result<Self, String> {
        let long = |_| "is too long".to_owned();
        if scheme.keys.is_some() {
            return Ok(Self::Elsewhere);
        }
        let Some(method) = scheme.method() else {
            return Ok(match scheme.algorithm {
                Algorithm::HmacSha1 => Self::Sha1(Hmac::new_from_slice(bytes).map_err(long)?),
                Algorithm::HmacSha512 => Self::Sha512(Hmac::new_from_slice(bytes).map_err(long)?),
                Algorithm::Equals | Algorithm::Basic => Self::Equals(Secret::new(bytes.to_vec())),
                Algorithm::Sha256 => Self::Digest,
                _ => Self::Sha256(Hmac::new_from_slice(bytes).map_err(long)?),
            });
        };
        let keys = match scheme.key {
            KeyEncoding::Pem => KeySet::of_pem(bytes)?,
            KeyEncoding::Jwk => KeySet::of_jwks(bytes)?,
            _ => KeySet::of_bytes(method, bytes)?,
        };
        if keys.fits(method) { Ok(Self::Public(method, keys)) } else { Err(format!("is no key for {method:?}")) }
    }
}

/// Whether one of the candidates was made with a private key of one of the public ones.
pub(super) fn verify_public(keys: &KeySet, method: Method, content: &[Cow<'_, [u8]>], candidates: &[Vec<u8>], wall: u64) -> Choice {
    let message = content.concat();
    // What is compared is public: there is nothing that the time could tell.
    let verifies = |candidate: &Vec<u8>| keys.verifies(None, method, &message, candidate, wall);
    Choice::from(u8::from(candidates.iter().any(verifies)))
}

/// Takes a signature out of its text. The text of `equals` is the secret as it is.
pub(super) fn decode(scheme: &Scheme, text: &str) -> Option<Vec<u8>> {
    match (scheme.algorithm, scheme.signature.encoding) {
        (Algorithm::Equals, _) => Some(text.as_bytes().to_vec()),
        (Algorithm::Basic, _) | (_, Encoding::Base64) => BASE64.decode(text).ok(),
        (_, Encoding::Hex) => {
            let mut signature = vec![0; text.len() / 2];
            hex::decode_to_slice(text, &mut signature).is_ok().then_some(signature)
        }
    }
}

/// The other way round.
pub(super) fn encode_for(scheme: &Scheme, signature: &[u8]) -> String {
    match scheme.algorithm {
        Algorithm::Equals => String::from_utf8_lossy(signature).into_owned(),
        Algorithm::Basic => encode(Encoding::Base64, signature),
        _ => encode(scheme.signature.encoding, signature),
    }
}

fn encode(encoding: Encoding, signature: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex::encode(signature),
        Encoding::Base64 => BASE64.encode(signature),
    }
}

/// The SHA-256 of a body, in hex, compared with what a request says it is.
pub(super) fn is_hash_of(said: &str, body: &[u8]) -> bool {
    let mut hash = [0; 32];
    let decoded = hex::decode_to_slice(said, &mut hash).is_ok();
    bool::from(Sha256::digest(body).ct_eq(&hash) & Choice::from(u8::from(decoded)))
}

/// Compares in constant time, for different lengths too: how long a secret is, is part of it.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> Choice {
    if a.len() == b.len() { a.ct_eq(b) } else { Sha256::digest(a).ct_eq(&Sha256::digest(b)) & Choice::from(0) }
}
