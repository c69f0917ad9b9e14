//! `docs/providers.md` and the end of `docs/typing.md`: what the table says, for people.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Algorithm, Covers};
use crate::ingress::{
    Template, TypeConfig,
    verify::{Checked, Scheme},
};

/// What stands before the table, in the page itself: it is written by hand.
const TABLE: &str = "\
## The table

| provider | `scheme` | signed with | time | needs | batch | checked | remarks |
|---|---|---|---|---|---|---|---|
";

/// What the page should be, from what it is.
pub(super) fn render(written: &str, table: &BTreeMap<String, Scheme>) -> String {
    let by_hand = written.split("## The table\n").next().unwrap_or_default();
    let mut page = format!("{by_hand}{TABLE}");
    for (name, scheme) in table {
        let facts = &scheme.facts;
        let time = scheme.timestamp.as_ref().map(|rule| rule.tolerance.to_string()).unwrap_or_default();
        let time = if time.is_empty() && scheme.jwt.is_some() { "its own end".to_owned() } else { time };
        let batch = if scheme.batch.is_some() { "yes" } else { "" };
        let title = facts.title.clone();
        let cells =
            [title, format!("`{name}`"), algorithm(scheme), time, needs(scheme), batch.to_owned(), checked(scheme), remarks(scheme)];
        let _ = writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
    }
    page
}

pub(super) fn algorithm(scheme: &Scheme) -> String {
    let name = match scheme.algorithm {
        Algorithm::HmacSha1 => "HMAC-SHA1",
        Algorithm::HmacSha256 => "HMAC-SHA256",
        Algorithm::HmacSha512 => "HMAC-SHA512",
        Algorithm::Sha256 => "SHA-256 over the secret",
        Algorithm::Ed25519 => "Ed25519",
        Algorithm::EcdsaP256 => "ECDSA P-256",
        Algorithm::RsaSha1 => "RSA-SHA1",
        Algorithm::RsaSha256 => "RSA-SHA256",
        Algorithm::Jwt => "a JWT",
        Algorithm::Equals => "the secret itself",
        Algorithm::Basic => "user and password",
    };
    let covers = match scheme.covers {
        Covers::Body => "",
        Covers::Fields => ", over some fields",
        Covers::Nothing => ", not over the payload",
    };
    let covers = if scheme.algorithm.signs() { covers } else { "" };
    format!("{name}{covers}{}", if scheme.is_weak() { " (weak)" } else { "" })
}

fn needs(scheme: &Scheme) -> String {
    let mut needs: Vec<String> = scheme.allow.keys().map(|name| format!("`allow.{name}`")).collect();
    needs.extend(scheme.access().into_iter().map(|name| format!("`access.{name}`")));
    if scheme.signs_the_url() {
        needs.push("`public_base_url`".to_owned());
    }
    if scheme.asks_for_a_token() {
        needs.push("`handshake_token`".to_owned());
    }
    if scheme.handshakes.iter().any(|rule| rule.learns.is_some()) {
        needs.push("`pairing`, once".to_owned());
    }
    if !scheme.needs_secrets() {
        needs.push("no secret".to_owned());
    }
    needs.join(", ")
}

fn checked(scheme: &Scheme) -> String {
    let facts = &scheme.facts;
    let what = match facts.verified {
        Some(Checked::Vector) => format!("[signature]({})", facts.checked),
        Some(Checked::Sdk) => format!("[code]({})", facts.checked),
        Some(Checked::Docs) => format!("[docs]({})", facts.checked),
        None => String::new(),
    };
    if facts.experimental { format!("{what} **experimental**").trim().to_owned() } else { what }
}

fn remarks(scheme: &Scheme) -> String {
    let facts = &scheme.facts;
    let waits = facts.timeout.map(|timeout| format!("waits {timeout}")).unwrap_or_default();
    let retries = if facts.retries.is_empty() { String::new() } else { format!("retries: {}", facts.retries) };
    let parts: Vec<String> = [waits, retries, facts.note.clone()].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

/// What stands before the types, in the page itself.
const TYPES: &str = "\
| provider | its types | become | about | in order by | story |
|---|---|---|---|---|---|
";

/// What `docs/typing.md` should be, from what it is.
pub(super) fn render_types(written: &str, table: &BTreeMap<String, Scheme>) -> String {
    let by_hand = written.split(TYPES.lines().next().unwrap_or_default()).next().unwrap_or_default();
    let mut page = format!("{by_hand}{TYPES}");
    for scheme in table.values().filter(|scheme| !scheme.types.is_empty()) {
        for (name, TypeConfig(entry)) in &scheme.types {
            let about = |own: &Option<Template>, shared: &Option<Template>| {
                own.as_ref().or(shared.as_ref()).map(|template| format!("`{template}`")).unwrap_or_default()
            };
            let cells = [
                scheme.facts.title.clone(),
                format!("`{name}`"),
                format!("`{}`", entry.message),
                about(&entry.subject, &scheme.subject),
                about(&entry.ordering_key, &scheme.ordering_key),
                about(&entry.correlation_id, &scheme.correlation_id),
            ];
            let _ = writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
    }
    page
}
