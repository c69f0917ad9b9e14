//! Public keys, and signatures made with the private ones.
//!
//! Constraints:
//! - Which algorithm is used is said by the scheme, never by the request: a key of another kind verifies nothing.
//! - What a key is read from is checked when it is read, so that a wrong one is found at start.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY as RSA_SHA1,
    RSA_PKCS1_2048_8192_SHA256 as RSA_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519},
    pem::Pem,
    prelude::FromDer,
    x509::SubjectPublicKeyInfo,
};

/// How a signature was made with a private key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Ed25519,
    /// The signature in DER.
    P256,
    /// The signature as two numbers of 32 bytes, as in a JWT.
    P256Fixed,
    RsaSha1,
    RsaSha256,
}

/// A public key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    Ed25519(Vec<u8>),
    /// A point, uncompressed.
    P256(Vec<u8>),
    /// As in PKCS #1.
    Rsa(Vec<u8>),
    /// As in a JWK.
    RsaNumbers {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ed25519(_) => "Ed25519",
            Self::P256(_) => "P256",
            Self::Rsa(_) | Self::RsaNumbers { .. } => "Rsa",
        })
    }
}

impl PublicKey {
    /// Whether a signature of a message was made with the private key.
    pub(crate) fn verifies(&self, method: Method, message: &[u8], signature: &[u8]) -> bool {
        match (method, self) {
            (Method::Ed25519, Self::Ed25519(key)) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
            (Method::P256, Self::P256(key)) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key).verify(message, signature),
            (Method::P256Fixed, Self::P256(key)) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature),
            (Method::RsaSha1, Self::Rsa(key)) => UnparsedPublicKey::new(&RSA_SHA1, key).verify(message, signature),
            (Method::RsaSha256, Self::Rsa(key)) => UnparsedPublicKey::new(&RSA_SHA256, key).verify(message, signature),
            (Method::RsaSha1, Self::RsaNumbers { n, e }) => RsaPublicKeyComponents { n, e }.verify(&RSA_SHA1, message, signature),
            (Method::RsaSha256, Self::RsaNumbers { n, e }) => RsaPublicKeyComponents { n, e }.verify(&RSA_SHA256, message, signature),
            _ => return false,
        }
        .is_ok()
    }

    fn fits(&self, method: Method) -> bool {
        matches!(
            (method, self),
            (Method::Ed25519, Self::Ed25519(_))
                | (Method::P256 | Method::P256Fixed, Self::P256(_))
                | (Method::RsaSha1 | Method::RsaSha256, Self::Rsa(_) | Self::RsaNumbers { .. })
        )
    }

    /// The key in bytes that were decoded: bare (Ed25519: 32 bytes, P-256: an uncompressed point), or with its kind (SubjectPublicKeyInfo).
    fn decode(method: Method, bytes: &[u8]) -> Option<Self> {
        match method {
            Method::Ed25519 if bytes.len() == 32 => Some(Self::Ed25519(bytes.to_vec())),
            Method::P256 | Method::P256Fixed if bytes.len() == 65 => Some(Self::P256(bytes.to_vec())),
            _ => SubjectPublicKeyInfo::from_der(bytes).ok().filter(|(rest, _)| rest.is_empty()).and_then(|(_, info)| Self::of(&info)),
        }
    }

    fn of(info: &SubjectPublicKeyInfo<'_>) -> Option<Self> {
        let key = info.subject_public_key.data.to_vec();
        let algorithm = &info.algorithm;
        let curve = || algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        if algorithm.algorithm == OID_PKCS1_RSAENCRYPTION {
            Some(Self::Rsa(key))
        } else if algorithm.algorithm == OID_SIG_ED25519 {
            Some(Self::Ed25519(key))
        } else if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve().is_some_and(|curve| curve == OID_EC_P256) {
            Some(Self::P256(key))
        } else {
            None
        }
    }
}

/// Public keys, of which one may have made a signature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(Vec<NamedKey>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct NamedKey {
    id: Option<String>,
    key: PublicKey,
    /// Seconds since 1970, of a key that came in a certificate.
    valid: Option<(i64, i64)>,
}

#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
}

impl Jwk {
    /// `None` for a key of a kind that is not known: others of the set may be.
    fn key(self) -> Option<NamedKey> {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| !bytes.is_empty());
        let coordinate = |text: &str| decode(text).filter(|bytes| bytes.len() == 32);
        let key = match (&*self.kty, &*self.crv) {
            ("RSA", _) => PublicKey::RsaNumbers { n: decode(&self.n)?, e: decode(&self.e)? },
            ("EC", "P-256") => PublicKey::P256([&[4], &*coordinate(&self.x)?, &*coordinate(&self.y)?].concat()),
            ("OKP", "Ed25519") => PublicKey::Ed25519(coordinate(&self.x)?),
            _ => return None,
        };
        Some(NamedKey { id: self.kid, key, valid: None })
    }
}

impl KeySet {
    /// The key in decoded bytes.
    ///
    /// # Errors
    /// What is wrong, without the bytes.
    pub(super) fn of_bytes(method: Method, bytes: &[u8]) -> Result<Self, String> {
        let key = PublicKey::decode(method, bytes).filter(|key| key.fits(method));
        let key = key.ok_or_else(|| format!("is no public key for {method:?}, neither bare nor as SubjectPublicKeyInfo"))?;
        Ok(Self(vec![NamedKey { id: None, key, valid: None }]))
    }

    /// The keys and certificates of a PEM text.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn of_pem(text: &[u8]) -> Result<Self, String> {
        let mut keys = Vec::new();
        for block in Pem::iter_from_buffer(text) {
            let block = block.map_err(|_| "is not PEM".to_owned())?;
            let unknown = || format!("holds a {:?} that is no key of RSA, P-256 or Ed25519", block.label);
            let (key, valid) = if block.label == "CERTIFICATE" {
                let (_, certificate) = X509Certificate::from_der(&block.contents).map_err(|_| unknown())?;
                let validity = certificate.validity();
                let valid = (validity.not_before.timestamp(), validity.not_after.timestamp());
                (PublicKey::of(certificate.public_key()).ok_or_else(unknown)?, Some(valid))
            } else {
                let (_, info) = SubjectPublicKeyInfo::from_der(&block.contents).map_err(|_| unknown())?;
                (PublicKey::of(&info).ok_or_else(unknown)?, None)
            };
            keys.push(NamedKey { id: None, key, valid });
            // Those that follow a certificate lead to its authority: they sign nothing here.
            if valid.is_some() {
                break;
            }
        }
        Self::some(keys, "is not PEM with a public key or a certificate")
    }

    /// The keys of a JWK, or of a set of them.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn of_jwks(text: &[u8]) -> Result<Self, String> {
        let keys = match serde_json::from_slice::<Jwks>(text) {
            Ok(set) => set.keys,
            Err(_) => vec![serde_json::from_slice::<Jwk>(text).map_err(|_| "is neither a JWK nor a set of them".to_owned())?],
        };
        Self::some(keys.into_iter().filter_map(Jwk::key).collect(), "holds no key of RSA, P-256 or Ed25519")
    }

    fn some(keys: Vec<NamedKey>, otherwise: &str) -> Result<Self, String> {
        if keys.is_empty() { Err(otherwise.to_owned()) } else { Ok(Self(keys)) }
    }

    /// Whether one of the keys can be used so.
    pub(super) fn fits(&self, method: Method) -> bool {
        self.0.iter().any(|named| named.key.fits(method))
    }

    /// Whether a key of this id is there. Without ids any key may be it.
    pub(crate) fn knows(&self, id: Option<&str>) -> bool {
        self.named(id).next().is_some()
    }

    fn named<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a NamedKey> {
        self.0.iter().filter(move |named| id.is_none() || named.id.is_none() || named.id.as_deref() == id)
    }

    /// Whether one of the keys of this id made the signature. `wall` is the wall time in microseconds.
    pub(super) fn verifies(&self, id: Option<&str>, method: Method, message: &[u8], signature: &[u8], wall: u64) -> bool {
        let now = i64::try_from(wall / 1_000_000).unwrap_or(i64::MAX);
        let is_valid = |named: &&NamedKey| named.valid.is_none_or(|(from, to)| (from..=to).contains(&now));
        self.named(id).filter(is_valid).any(|named| named.key.verifies(method, message, signature))
    }
}
