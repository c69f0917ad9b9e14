//! Signatures that are a JSON Web Token.
//!
//! Constraints:
//! - The scheme says which algorithm it is; a token that names another one is refused, and so is one without.
//! - A token covers itself: what it says of the body (its hash) is compared by the scheme's `body_hash`.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;

use super::{engine::Rejection, public::KeySet, rules::JwtRule};
use crate::limits::CLOCK_LEEWAY;

/// What a verified token says.
#[derive(Debug, Default)]
pub(crate) struct Claims(BTreeMap<String, Value>);

impl Claims {
    /// A claim that is a text, a number, true or false.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Some(value.to_string()),
            _ => None,
        }
    }

    fn micros(&self, name: &str) -> Result<Option<u64>, Rejection> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        // Seconds, of which some issuers give fractions.
        let seconds = value.as_f64().filter(|seconds| (0.0..=1e12).contains(seconds)).ok_or(Rejection::TimestampMalformed)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
        Ok(Some((seconds * 1e6) as u64))
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood: there are none that we do.
    #[serde(default)]
    crit: Option<Value>,
}

/// A token taken apart, not verified yet.
pub(crate) struct Token<'a> {
    header: Header,
    /// Header and claims as they are signed.
    signed: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
}

impl<'a> Token<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, Rejection> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Rejection::SignatureGrammar)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejection::SignatureGrammar)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Rejection::SignatureEncoding);
        let header = serde_json::from_slice(&decode(header)?).map_err(|_| Rejection::SignatureEncoding)?;
        Ok(Self { header, signed, claims, signature: decode(signature)? })
    }

    /// The name of the key that signed it, as it says.
    pub(crate) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Its claims, once they are verified.
    pub(super) fn verify(&self, rule: &JwtRule, keys: &[&KeySet], wall: u64) -> Result<Claims, Rejection> {
        let method = rule.algorithm.method();
        if self.header.alg != rule.algorithm.name() || self.header.crit.is_some() {
            return Err(Rejection::SignatureWrong);
        }
        if !keys.iter().any(|keys| keys.knows(self.key_id())) {
            return Err(Rejection::KeyUnknown);
        }
        let verifies = |keys: &&KeySet| keys.verifies(self.key_id(), method, self.signed.as_bytes(), &self.signature, wall);
        if !keys.iter().any(verifies) {
            return Err(Rejection::SignatureWrong);
        }
        let claims = URL_SAFE_NO_PAD.decode(self.claims).map_err(|_| Rejection::SignatureEncoding)?;
        let claims = Claims(serde_json::from_slice(&claims).map_err(|_| Rejection::SignatureEncoding)?);
        check_times(&claims, rule, wall)?;
        let holds = |(name, allowed): (&String, &Vec<String>)| claims.text(name).is_some_and(|text| allowed.contains(&text));
        if rule.claims.iter().all(holds) { Ok(claims) } else { Err(Rejection::NotAllowed) }
    }
}

fn check_times(claims: &Claims, rule: &JwtRule, wall: u64) -> Result<(), Rejection> {
    let leeway = CLOCK_LEEWAY.micros();
    match claims.micros("exp")? {
        Some(end) if end.saturating_add(leeway) < wall => return Err(Rejection::TimestampOld),
        None if rule.expires => return Err(Rejection::TimestampMalformed),
        _ => {}
    }
    for name in ["nbf", "iat"] {
        if claims.micros(name)?.is_some_and(|start| start > wall.saturating_add(leeway)) {
            return Err(Rejection::TimestampAhead);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;
    use crate::ingress::verify::{
        Covers, JwtAlgorithm,
        tests::{Vector, vectors},
    };

    const NOW: u64 = 1_700_000_000_000_000;

    /// The token of a vector with parts of its header, or its signature, exchanged.
    fn verify(change: impl FnOnce(&mut Value), signature: Option<&str>) -> Result<Claims, Rejection> {
        let vector = Vector::find("google-pubsub");
        let token = vector.headers["Authorization"].strip_prefix("Bearer ").unwrap().to_owned();
        let mut parts: Vec<&str> = token.split('.').collect();
        let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        let before = header.clone();
        change(&mut header);
        let changed = URL_SAFE_NO_PAD.encode(header.to_string());
        if header != before {
            parts[0] = &changed;
        }
        parts[2] = signature.unwrap_or(parts[2]);
        let rule = vector.scheme().jwt.clone().unwrap();
        Token::parse(&parts.join("."))?.verify(&rule, &[&vector.keys().unwrap()], NOW)
    }

    #[test]
    fn the_scheme_says_the_algorithm_and_not_the_token() {
        assert_eq!(verify(|_| (), None).unwrap().text("aud").unwrap(), "https://hooks.example.com");
        for algorithm in ["none", "None", "HS256", "ES256", "RS512", ""] {
            for signature in [None, Some("")] {
                let found = verify(|header| header["alg"] = json!(algorithm), signature);
                assert_eq!(found.unwrap_err(), Rejection::SignatureWrong, "{algorithm}");
            }
        }
        assert_eq!(verify(|header| header["crit"] = json!(["b64"]), None).unwrap_err(), Rejection::SignatureWrong);
        assert_eq!(verify(|header| header["kid"] = json!("g2"), None).unwrap_err(), Rejection::KeyUnknown);
        assert_eq!(verify(|_| (), Some("")).unwrap_err(), Rejection::SignatureWrong);
    }

    #[test]
    fn a_token_must_say_what_the_scheme_wants_and_no_more() {
        let vector = Vector::find("google-pubsub");
        let token = vector.headers["Authorization"].strip_prefix("Bearer ").unwrap().to_owned();
        let keys = vector.keys().unwrap();
        let verify = |claims: &[(&str, &str)], wall| {
            let claims = claims.iter().map(|(name, value)| ((*name).to_owned(), vec![(*value).to_owned()])).collect();
            let rule = JwtRule { algorithm: JwtAlgorithm::RS256, claims, expires: true };
            Token::parse(&token).unwrap().verify(&rule, &[&keys], wall).map(|_| ())
        };
        assert_eq!(verify(&[("iss", "https://accounts.google.com"), ("email_verified", "true")], NOW), Ok(()));
        assert_eq!(verify(&[("iss", "https://evil.example")], NOW), Err(Rejection::NotAllowed));
        assert_eq!(verify(&[("azp", "x")], NOW), Err(Rejection::NotAllowed), "a claim that is not there");
        assert_eq!(verify(&[], NOW + 3_661_000_000), Err(Rejection::TimestampOld));
        assert_eq!(verify(&[], NOW - 61_000_000), Err(Rejection::TimestampAhead));
    }

    #[test]
    fn whoever_signs_nothing_of_the_body_is_weak() {
        let weak = |name: &str| vectors().iter().find(|vector| vector.scheme.name == name).unwrap().scheme().is_weak();
        assert!(weak("google-pubsub") && weak("mailgun") && weak("okta") && weak("vercel") && weak("aws-sns-v1"));
        assert!(!weak("plaid") && !weak("aws-sns") && !weak("adyen") && !weak("discord") && !weak("paypal"));
        assert_eq!(Vector::find("mailgun").scheme().covers, Covers::Nothing);
    }
}
