//! Algorithms and keys.
//!
//! Constraint: a key's preparation is done once, not per request; a computed signature leaves this module only to be written into a sample.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::scheme::{Algorithm, Encoding, KeyEncoding, Scheme};
use zeroize::Zeroizing;

use crate::config::Secret;

const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent));

/// A key, ready to sign.
#[derive(Clone)]
pub(super) enum Key {
    Sha1(Hmac<Sha1>),
    Sha256(Hmac<Sha256>),
    Sha512(Hmac<Sha512>),
    Equals(Secret),
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
            KeyEncoding::Utf8 => text.to_vec(),
            KeyEncoding::Hex => hex::decode(text).map_err(|_| "is not hexadecimal, as this scheme's keys are".to_owned())?,
            KeyEncoding::Base64 => BASE64.decode(text).map_err(|_| "is not base64, as this scheme's keys are".to_owned())?,
        });
        if bytes.is_empty() {
            return Err("is empty; an empty secret verifies nothing".to_owned());
        }
        let long = |_| "is too long".to_owned();
        Ok(match scheme.algorithm {
            Algorithm::HmacSha1 => Self::Sha1(Hmac::new_from_slice(&bytes).map_err(long)?),
            Algorithm::HmacSha256 => Self::Sha256(Hmac::new_from_slice(&bytes).map_err(long)?),
            Algorithm::HmacSha512 => Self::Sha512(Hmac::new_from_slice(&bytes).map_err(long)?),
            Algorithm::Equals => Self::Equals(Secret::new(bytes.to_vec())),
        })
    }

    /// The signature of a content, given in pieces. For `equals` there is no content: it is the secret.
    pub(super) fn sign(&self, content: &[&[u8]]) -> Vec<u8> {
        fn run<M: Mac + Clone>(mac: &M, content: &[&[u8]]) -> Vec<u8> {
            let mut mac = mac.clone();
            content.iter().for_each(|piece| mac.update(piece));
            mac.finalize().into_bytes().to_vec()
        }
        match self {
            Self::Sha1(mac) => run(mac, content),
            Self::Sha256(mac) => run(mac, content),
            Self::Sha512(mac) => run(mac, content),
            Self::Equals(secret) => secret.expose().to_vec(),
        }
    }
}

/// Takes a signature out of its text. The text of `equals` is the secret as it is.
pub(super) fn decode(scheme: &Scheme, text: &str) -> Option<Vec<u8>> {
    match (scheme.algorithm, scheme.signature.encoding) {
        (Algorithm::Equals, _) => Some(text.as_bytes().to_vec()),
        (_, Encoding::Hex) => {
            let mut signature = vec![0; text.len() / 2];
            hex::decode_to_slice(text, &mut signature).is_ok().then_some(signature)
        }
        (_, Encoding::Base64) => BASE64.decode(text).ok(),
    }
}

/// The other way round.
pub(super) fn encode(scheme: &Scheme, signature: &[u8]) -> String {
    match (scheme.algorithm, scheme.signature.encoding) {
        (Algorithm::Equals, _) => String::from_utf8_lossy(signature).into_owned(),
        (_, Encoding::Hex) => hex::encode(signature),
        (_, Encoding::Base64) => BASE64.encode(signature),
    }
}

/// Compares in constant time, for different lengths too: how long a secret is, is part of it.
pub(super) fn equal(a: &[u8], b: &[u8]) -> Choice {
    if a.len() == b.len() { a.ct_eq(b) } else { Sha256::digest(a).ct_eq(&Sha256::digest(b)) & Choice::from(0) }
}
