//! What cannot work in a scheme, and what protects from nothing.
//!
//! Constraint: found at start, each with its key and what would be right; the engine runs what is left without questions.

use super::{
    rules::HandshakeRule,
    scheme::{Covers, Scheme},
    signature::{Algorithm, TimestampRule},
};
use crate::ingress::{
    shapes::stands_in_headers,
    template::{Part, Template},
};

/// (key, problem).
type Problem = (&'static str, String);

impl Scheme {
    /// What cannot work, as (key, problem).
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        self.check_signature(&mut problems);
        if self.algorithm.signs() {
            self.check_signed(&mut problems);
        }
        self.check_keys(&mut problems);
        if let Some(rule) = &self.timestamp {
            problems.extend(self.timestamp_problem(rule).map(|problem| ("timestamp.at", problem)));
        }
        problems.extend(self.body_hash.as_ref().and_then(|hash| self.hash_problem(hash)).map(|problem| ("body_hash", problem)));
        for (name, template) in &self.allow {
            if !matches!(&*template.0, [Part::Claim(_) | Part::Pointer(_)]) {
                problems.push(("allow", format!("{name} is not a single part such as {{claim:aud}} or {{/TopicArn}}")));
            }
        }
        if self.batch.as_ref().is_some_and(|batch| batch.signed) && self.covers == Covers::Body {
            problems.push(("batch.signed", "signs items, so that covers must be \"fields\"".to_owned()));
        }
        for rule in &self.handshakes {
            let problem = handshake_problem(rule).or_else(|| self.mac_problem(rule));
            problems.extend(problem.map(|problem| ("handshakes", problem)));
        }
        if !self.shapes.is_empty() && !stands_in_headers(&self.event_type) {
            problems
                .push(("shapes", "are of types that stand in headers: let event_type begin with one, such as {header:X-Event}".to_owned()));
        }
        let in_reply = self.reply.iter().flat_map(|reply| reply.templates());
        problems.extend(in_reply.flat_map(Template::parts).find_map(not_an_answer).map(|problem| ("reply", problem)));
        problems
    }

    fn check_signature(&self, problems: &mut Vec<Problem>) {
        let rule = &self.signature;
        match (&*rule.header, &rule.at) {
            ([], None) => problems.push(("signature", "says not where it is: give a header, or at".to_owned())),
            ([_, ..], Some(_)) => problems.push(("signature", "is in a header and at another place; take one of them away".to_owned())),
            ([], Some(at)) => match &*at.0 {
                [Part::Pointer(_)] if self.covers != Covers::Body => {}
                [Part::Pointer(pointer)] => {
                    let problem =
                        format!("{{{pointer}}} is in the body, which cannot sign itself; say what covers is: \"fields\" or \"nothing\"");
                    problems.push(("signature.at", problem));
                }
                [Part::Query(_)] => {}
                _ => problems.push(("signature.at", "is not a single part such as {/pointer} or {query:NAME}".to_owned())),
            },
            _ => {}
        }
        if rule.list.as_ref().is_some_and(|list| list.key.is_empty() || list.separator == list.assign) {
            problems.push(("signature.list", "needs a key, and a separator and an assign that differ".to_owned()));
        }
    }

    fn check_signed(&self, problems: &mut Vec<Problem>) {
        let has = |wanted: &dyn Fn(&Part) -> bool| self.signed.parts().any(wanted);
        let covers_body = self.body_hash.is_some() || has(&|part| matches!(part, Part::Body | Part::Crc32));
        if self.covers == Covers::Body && !covers_body {
            problems.push(("signed", "does not hold {body}: anybody could change the body and keep the signature".to_owned()));
        }
        let early = |part: &&Part| matches!(part, Part::Pointer(_)) && self.covers == Covers::Body;
        if let Some(part) = self.signed.parts().find(early) {
            let instead = "use headers and {body}, or say that the signature covers = \"fields\"";
            problems.push(("signed", format!("{part} cannot be used before the body is verified; {instead}")));
        }
        let odd = |part: &&Part| matches!(part, Part::FirstOf(_) | Part::Mac(_) | Part::Claim(_) | Part::KeyId | Part::Access(_));
        if let Some(part) = self.signed.parts().find(odd) {
            problems.push(("signed", format!("{part} cannot be signed: only the sender knows what it stood for")));
        }
        if let (None, Some(part)) = (&self.signature.list, self.signed.parts().find(|part| matches!(part, Part::Signature(_)))) {
            problems.push(("signed", format!("{part} needs signature.list, which says how the header is taken apart")));
        }
        if self.algorithm == Algorithm::Sha256 && !self.signs_the_secret() {
            problems.push(("signed", "does not hold {secret}: with algorithm = \"sha256\" anybody could sign".to_owned()));
        }
    }

    fn check_keys(&self, problems: &mut Vec<Problem>) {
        if (self.algorithm == Algorithm::Jwt) != self.jwt.is_some() {
            problems.push(("jwt", "and algorithm = \"jwt\" go together".to_owned()));
        }
        let Some(rule) = &self.keys else { return };
        if self.method().is_none() {
            problems.push(("keys", "are public keys, which this algorithm does not have".to_owned()));
        }
        let usable = |part: &Part| matches!(part, Part::Literal(_) | Part::Header(_) | Part::Pointer(_));
        if let Some(part) = rule.url.parts().find(|part| !usable(part)) {
            problems.push(("keys.url", format!("{part} cannot be a part of an address; use {{header:NAME}} and {{/json/pointer}}")));
        }
        if let Some(part) = rule.odd_part() {
            let problem = format!("{part} cannot be shown to a provider; use {{access:NAME}}, {{header:NAME}} and {{kid}}");
            problems.push(("keys.headers", problem));
        }
        let is_fixed = rule.url.0.iter().all(|part| matches!(part, Part::Literal(_)));
        if !is_fixed && rule.pinned.is_empty() {
            problems.push(("keys.pinned", "is missing: whoever sends a webhook could name the key that verifies it".to_owned()));
        }
        if is_fixed && !rule.url.to_string().starts_with("https://") {
            problems.push(("keys.url", "does not begin with https://".to_owned()));
        }
    }

    /// Whether a signed body could be sent again under another id of this form: it is made of headers that nothing signs, and not of the body.
    pub(crate) fn leaves_open(&self, id: &Template) -> bool {
        let of_the_body = |part: &Part| matches!(part, Part::Pointer(_) | Part::Body);
        let open = |part: &Part| matches!(part, Part::Header(_)) && !self.is_signed(part);
        id.parts().any(open) && !id.parts().any(of_the_body)
    }

    /// Whether the signature covers a part.
    fn is_signed(&self, part: &Part) -> bool {
        match part {
            Part::Claim(_) => self.algorithm == Algorithm::Jwt,
            Part::Pointer(_) => self.signed.0.contains(&Part::Body) || self.signed.parts().any(|signed| signed == part),
            Part::Query(_) => self.signs_the_url(),
            Part::Header(_) | Part::Signature(_) => self.signed.0.contains(part),
            _ => false,
        }
    }

    /// Whether what a handshake has signed could be used for something else.
    fn mac_problem(&self, rule: &HandshakeRule) -> Option<String> {
        let part = rule.templates().flat_map(Template::parts).find(|part| matches!(part, Part::Mac(_)))?;
        if !matches!(self.algorithm, Algorithm::HmacSha1 | Algorithm::HmacSha256 | Algorithm::HmacSha512) {
            return Some(format!("{part} needs an HMAC: with another algorithm it would give the secret away, or cannot be made"));
        }
        let is_harmless = !rule.is_open() || *self.signed.0 == [Part::Body];
        (!is_harmless).then(|| format!("{part} is signed for whoever asks, who could put together what is signed of a webhook"))
    }

    fn timestamp_problem(&self, rule: &TimestampRule) -> Option<String> {
        let [part] = &*rule.at.0 else { return Some("is not a single part such as {header:NAME} or {signature:t}".to_owned()) };
        let unsigned = || format!("{part} is not in signed, so anybody could set it: a time that is not signed protects from nothing");
        (!self.is_signed(part)).then(unsigned)
    }

    fn hash_problem(&self, hash: &Template) -> Option<String> {
        let [part] = &*hash.0 else { return Some("is not a single part such as {query:NAME} or {claim:NAME}".to_owned()) };
        (!self.is_signed(part)).then(|| format!("{part} is not in signed, so anybody could set it"))
    }
}

fn handshake_problem(rule: &HandshakeRule) -> Option<String> {
    if rule.method != http::Method::POST && rule.needs_the_body() {
        return Some(format!("looks into the body, which a {} has not", rule.method));
    }
    if rule.method == http::Method::POST && rule.when.is_none() && rule.learns.is_none() {
        return Some("needs when: otherwise every webhook would be one".to_owned());
    }
    if rule.is.is_some() && rule.when.is_none() {
        return Some("says is without when".to_owned());
    }
    if rule.fetch.is_some() && rule.is_open() {
        return Some("fetches an address for whoever asks; only a verified webhook may have one called".to_owned());
    }
    if rule.fetch.as_ref().is_some_and(|fetch| fetch.pinned.is_empty()) {
        return Some("fetches an address that is not pinned".to_owned());
    }
    rule.templates().flat_map(Template::parts).find_map(not_an_answer)
}

/// What would give something away.
fn not_an_answer(part: &Part) -> Option<String> {
    matches!(part, Part::Secret | Part::Body | Part::Signature(_) | Part::Claim(_) | Part::KeyId | Part::Access(_))
        .then(|| format!("{part} cannot be used in a handshake or an answer"))
}
