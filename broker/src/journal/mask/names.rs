//! Which names stand for secrets: of headers, of fields, of parameters.
//!
//! Constraint: a name is compared without its case and its separators: `X-Api-Key`, `apiKey` and `api_key` are one.

/// Anywhere in a name.
const WITHIN: [&str; 15] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "authorization",
    "cookie",
    "credential",
    "signature",
    "hmac",
    "apikey",
    "accesskey",
    "privatekey",
    "signingkey",
    "cardnumber",
    "securitycode",
];

/// At the end of a name, or the whole of it.
const AT_THE_END: [&str; 6] = ["token", "pwd", "jwt", "otp", "cvv", "cvc"];

/// The whole of a name.
const WHOLE: [&str; 4] = ["sig", "auth", "ssn", "pan"];

/// Whether a name stands for something that must not be kept.
pub(super) fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    WHOLE.contains(&&*plain)
        || AT_THE_END.iter().any(|word| plain.ends_with(word))
        || (plain.len() >= 3 && WITHIN.iter().any(|word| plain.contains(word)))
}
