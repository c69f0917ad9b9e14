//! What can be wrong with a webhook that is not verified, and how people are told.
//!
//! Constraint: it names what would have to be otherwise, and repeats no secret and no signature.

use std::fmt;

use crate::ingress::verify::Rejection;

/// What is wrong with a webhook that is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The signature fits; the time that was signed is this many seconds before (or, below zero, after) the request's.
    ClockSkew(i64),
    /// The signature stands under another header.
    HeaderName {
        /// Where it is.
        found: String,
        /// Where the scheme looks.
        due: String,
    },
    /// The signature header is there several times, with one of which it fits.
    HeaderRepeated,
    /// What stands before the signature is missing.
    PrefixMissing(String),
    /// Something stands before the signature which the scheme does not have.
    PrefixUnexpected(String),
    /// The signature is written in hexadecimal where base64 is due.
    HexForBase64,
    /// The signature is written in base64 where hexadecimal is due.
    Base64ForHex,
    /// The signature is in the alphabet of base64 for addresses.
    UrlSafeBase64,
    /// It was made with another algorithm of the same kind.
    Algorithm(&'static str),
    /// The secret is meant to be decoded otherwise.
    KeyEncoding(&'static str),
    /// There are spaces or a line break around the secret as it is configured.
    SecretPadded,
    /// It is the signature of another source's secret.
    SecretOf(String),
    /// The body was changed on its way; how.
    Body(&'static str),
    /// The content type says another thing of the body than the provider did.
    ContentType(&'static str),
    /// The provider called another address than `public_base_url` and the path say.
    Url(String),
    /// Something that stands in the request, and need not be guessed.
    Plain(&'static str),
    /// None of what was tried makes it fit.
    Unknown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockSkew(seconds) if *seconds >= 0 => {
                write!(
                    f,
                    "clock skew: the signature fits, but it was signed {seconds} s before the request came; check the clocks, or it was kept back or replayed"
                )
            }
            Self::ClockSkew(seconds) => {
                write!(
                    f,
                    "clock skew: the signature fits, but it was signed {} s after the request came; a clock is wrong",
                    seconds.unsigned_abs()
                )
            }
            Self::HeaderName { found, due } => write!(f, "wrong header: the signature is in {found}, and the scheme looks in {due}"),
            Self::HeaderRepeated => {
                f.write_str("the signature header is there several times, one of which fits: something on the way adds it again")
            }
            Self::PrefixMissing(prefix) => write!(f, "prefix missing: {prefix:?} is due before the signature"),
            Self::PrefixUnexpected(prefix) => {
                write!(f, "unexpected prefix: {prefix:?} stands before the signature, and the scheme has none")
            }
            Self::HexForBase64 => f.write_str("hex where base64 is due: the signature fits, written otherwise"),
            Self::Base64ForHex => f.write_str("base64 where hex is due: the signature fits, written otherwise"),
            Self::UrlSafeBase64 => f.write_str("base64 for addresses (- and _) where the usual one (+ and /) is due"),
            Self::Algorithm(name) => write!(f, "another algorithm: it was made with {name}"),
            Self::KeyEncoding(how) => write!(f, "the secret is to be taken otherwise: it fits {how}"),
            Self::SecretPadded => f.write_str("the secret has a space or a line break at its end, here or at the provider"),
            Self::SecretOf(source) => write!(f, "wrong secret: it fits the secret of the source {source}"),
            Self::Body(how) => write!(f, "body changed: {how}"),
            Self::ContentType(how) => write!(f, "content type: {how}"),
            Self::Url(url) => write!(f, "URL mismatch: the provider signed {url}; public_base_url and the path must give that"),
            Self::Plain(what) => f.write_str(what),
            Self::Unknown => {
                f.write_str("wrong secret, or a body or address that is not the one that was signed: nothing that was tried makes it fit")
            }
        }
    }
}

impl From<Rejection> for Fault {
    /// What a rejection says by itself.
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::SignatureWrong => Self::Unknown,
            Rejection::SignatureMissing => Self::Plain("there is no signature where the scheme has it"),
            Rejection::SignatureRepeated => Self::Plain("the signature header is there several times, and none of them fits"),
            Rejection::SignatureEmpty => Self::Plain("the signature is empty"),
            Rejection::SignatureGrammar => {
                Self::Plain("the signature is not written as the scheme has it: a prefix, or an item of a list, is missing")
            }
            Rejection::SignatureEncoding => Self::Plain("the signature is neither hexadecimal nor base64, as the scheme has it"),
            Rejection::SignedPartMissing => {
                Self::Plain("something that is signed with the body is missing, or there twice: a header or a parameter")
            }
            Rejection::BodyHashWrong => Self::Plain("body changed: it is not the one whose hash was signed"),
            Rejection::TimestampMalformed => Self::Plain("the signed time is missing, or not written as the scheme has it"),
            Rejection::TimestampOld => Self::Plain("clock skew: the token was over when the request came"),
            Rejection::TimestampAhead => Self::Plain("clock skew: the token had not begun when the request came"),
            Rejection::KeyUnknown => {
                Self::Plain("it was made with a key that the provider does not have, or names one at an address that is not the provider's")
            }
            Rejection::NotAllowed => Self::Plain("it is signed, but for somebody else: what the source lists under allow is not in it"),
        }
    }
}
