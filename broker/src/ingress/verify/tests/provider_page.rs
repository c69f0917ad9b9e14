//! `docs/providers/NAME.md`: what the table says of one provider, for whoever sets it up; what stands behind it is written by hand.

use std::fmt::Write as _;

use super::page;
use crate::ingress::verify::Scheme;

/// The providers that have a page.
pub(super) const PAGES: [&str; 12] =
    ["discord", "github", "gitlab", "jira", "linear", "pagerduty", "sentry", "shopify", "slack", "stripe", "twilio", "zoom"];

/// Where the written part begins.
const WRITTEN: &str = "## Where to click\n";

/// What the page should be, from what it is.
pub(super) fn render(name: &str, scheme: &Scheme, page: &str) -> String {
    let by_hand = page.split_once(WRITTEN).map_or("\n", |(_, rest)| rest);
    format!("{}{WRITTEN}{by_hand}", generated(name, scheme))
}

fn generated(name: &str, scheme: &Scheme) -> String {
    let facts = &scheme.facts;
    let mut out = format!(
        "# {}\n\n<!-- Up to \"Where to click\" this is made of broker/src/ingress/verify/providers.toml; a test compares the two:\n     \
         WAYPOST_WRITE_DOCS=1 cargo test -p waypost-broker --lib the_page_of_each_provider -->\n\n```toml\n{}```\n\n| | |\n|---|---|\n",
        facts.title,
        configuration(name, scheme)
    );
    for (what, text) in rows(name, scheme) {
        if !text.is_empty() {
            let _ = writeln!(out, "| {what} | {} |", text.replace('|', "\\|"));
        }
    }
    out.push_str("\nAll providers, and schemes of one's own: [providers](../providers.md). Why a webhook is refused: [operations](../operations.md#why-a-webhook-is-refused).\n\n");
    out
}

/// The least that a source of it takes.
fn configuration(name: &str, scheme: &Scheme) -> String {
    let mut out = format!("[sources.{name}]\nscheme = \"{name}\"\n");
    if scheme.needs_secrets() {
        let _ = writeln!(out, "secrets = [\"env:{}_SECRET\"]", name.to_uppercase().replace('-', "_"));
    }
    if scheme.signs_the_url() {
        out.push_str("public_base_url = \"https://hooks.example.com\"\n");
    }
    for allow in scheme.allow.keys() {
        let _ = writeln!(out, "allow.{allow} = [\"…\"]");
    }
    if scheme.asks_for_a_token() {
        let _ = writeln!(out, "handshake_token = \"env:{}_TOKEN\"", name.to_uppercase());
    }
    out
}

fn rows(name: &str, scheme: &Scheme) -> Vec<(&'static str, String)> {
    let facts = &scheme.facts;
    let code = |text: &dyn std::fmt::Display| format!("`{text}`");
    let list = |texts: Vec<String>| texts.join(", ");
    let signature = match &scheme.signature.at {
        Some(at) => code(at),
        None => list(scheme.signature.header.iter().map(|name| code(name)).collect()),
    };
    let time = scheme.timestamp.as_ref().map(|rule| format!("{}, at most {} from now", code(&rule.at), rule.tolerance));
    let types = scheme.types.iter().map(|(provider, table)| format!("`{provider}` → `{}`", table.0.message)).collect();
    let poll = scheme.poll.as_ref().map(|_| format!("can be [asked for](../operations.md#what-never-came): `[sources.{name}.poll]`"));
    let checked = facts.verified.map(|_| format!("<{}>", facts.checked));
    vec![
        ("signed with", page::algorithm(scheme)),
        ("signature", signature),
        ("over", if scheme.algorithm.signs() { code(&scheme.signed) } else { String::new() }),
        ("signed time", time.unwrap_or_default()),
        ("identity", scheme.delivery_id.as_ref().map_or_else(|| "the hash of the body".to_owned(), |id| code(id))),
        ("event type", list(scheme.event_type.iter().map(|part| code(part)).collect())),
        ("typed as", list(types)),
        ("a form", if scheme.form == crate::ingress::verify::Form::Refuse { String::new() } else { "is taken as well as JSON".to_owned() }),
        ("handshake", if scheme.handshakes.is_empty() { String::new() } else { "answered by the source itself".to_owned() }),
        ("waits for an answer", facts.timeout.map(|timeout| timeout.to_string()).unwrap_or_default()),
        ("sends again", facts.retries.clone()),
        ("what never came", poll.unwrap_or_default()),
        ("to know", facts.note.clone()),
        ("the scheme was checked against", checked.unwrap_or_default()),
    ]
}
