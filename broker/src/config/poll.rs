//! `[sources.NAME.poll]`: asking the provider's API, seldom, for what never came as a webhook.
//!
//! Constraint: a source whose webhooks and polled items could not be told to be the same does not start.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{SecretRef, Secrets, Span};
use crate::{
    ingress::{Identity, PollPlan, PollRule, Typing},
    limits::{POLL_EVERY, POLL_EVERY_AT_LEAST},
};

/// How a source asks its provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollConfig {
    /// From the end of a round to the next one. Default: 15 min.
    #[serde(default = "every")]
    pub every: Span,
    /// How far back the first round asks. Default: not at all.
    #[serde(default)]
    pub lookback: Span,
    /// The token of the provider's API.
    #[serde(default)]
    pub token: Option<SecretRef>,
    /// What the rule's address needs, such as `hook` or `shop`.
    #[serde(default)]
    pub values: BTreeMap<String, String>,
    /// How the provider is asked, instead of the scheme's rule.
    #[serde(default)]
    pub rule: Option<PollRule>,
}

fn every() -> Span {
    POLL_EVERY
}

impl PollConfig {
    /// Checks it for a source, and makes it ready. `None` when something was reported.
    pub(super) fn build(
        &self,
        of_scheme: Option<&PollRule>,
        (identity, typing): (&Identity, &Typing),
        known: &Secrets,
        wrong: &mut impl FnMut(&str, String),
    ) -> Option<PollPlan> {
        if self.every < POLL_EVERY_AT_LEAST {
            wrong("poll.every", format!("is less than {POLL_EVERY_AT_LEAST}: what is asked for is what was missed, which is seldom"));
        }
        let Some(rule) = self.rule.as_ref().or(of_scheme) else {
            wrong("poll.rule", "is missing: the scheme has none; say how the provider is asked, see docs/operations.md".to_owned());
            return None;
        };
        let token = self.token.as_ref().map(|reference| known.get(reference)).transpose();
        let token = token.map_err(|error| wrong("poll.token", error.to_string())).ok()?;
        if rule.identity.is_none() {
            check_identity(rule, identity, wrong);
        }
        check_headers(rule, identity, typing, wrong);
        let plan = PollPlan::new(rule.clone(), self.every, self.lookback, token, self.values.clone());
        plan.map_err(|problems| problems.into_iter().for_each(|(key, problem)| wrong(&format!("poll.{key}"), problem))).ok()
    }
}

fn check_identity(rule: &PollRule, identity: &Identity, wrong: &mut impl FnMut(&str, String)) {
    match (identity, &rule.redeliver) {
        (Identity::DeliveryId(..), _) | (Identity::Template(..), None) => {}
        (_, Some(_)) => {
            wrong("identity", "is not the provider's delivery id, by which poll knows what was missed; leave it out".to_owned());
        }
        (_, None) => {
            let problem = "is the body's hash, or nothing: what poll finds is written in another way than a webhook, and would be stored \
                           again; say what tells events apart, such as { template = \"{/id}\" }";
            wrong("identity", problem.to_owned());
        }
    }
}

/// What an item has no header for would be in no header of it.
fn check_headers(rule: &PollRule, identity: &Identity, typing: &Typing, wrong: &mut impl FnMut(&str, String)) {
    if rule.redeliver.is_some() {
        return;
    }
    let of_identity = if rule.identity.is_some() { Vec::new() } else { identity.headers() };
    for (key, looked_at) in [("identity", of_identity), ("event_type", typing.headers().collect())] {
        for header in looked_at.into_iter().filter(|header| rule.webhook_headers.iter().all(|(name, _)| name != *header)) {
            let problem = format!(
                "looks at {header}, which what poll finds does not have; give it under webhook_headers of the rule, or take it from the payload"
            );
            wrong(key, problem);
        }
    }
}
