//! When a provider is asked next: what it asks for itself goes before what is configured.
//!
//! Constraint: a function of answers and times; nothing here waits.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use waypost_store::Micros;

use super::PollPlan;
use crate::limits::{POLL_RETRY, POLL_WAIT_AT_MOST};

/// When a source is asked next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    due: Micros,
    failures: u32,
}

impl Pace {
    pub(super) fn is_due(&self, now: Micros) -> bool {
        now >= self.due
    }

    /// After a round that came to its end.
    pub(super) fn done(&mut self, plan: &PollPlan, now: Micros) {
        *self = Self { due: now.saturating_add(plan.every.micros()), failures: 0 };
    }

    /// After one that broke off: when the provider says; or else after a minute, and twice as long each time, until it is as seldom as ever.
    /// Answers how long that is.
    pub(super) fn broke_off(&mut self, plan: &PollPlan, wait: Option<Duration>, now: Micros) -> Duration {
        let doubled = POLL_RETRY.saturating_mul(1 << self.failures.min(16)).min(plan.every.get());
        let wait = wait.unwrap_or(doubled);
        self.failures = self.failures.saturating_add(1);
        self.due = now.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX));
        wait
    }
}

/// How long an answer asks to wait: `Retry-After` (RFC 9110, section 10.2.3), or the time at which a budget that is used up begins anew
/// (`X-RateLimit-Reset`, as GitHub and others send it). `wall` is the time by which others go.
pub(super) fn wait(status: StatusCode, headers: &HeaderMap, wall: Micros) -> Option<Duration> {
    if status.is_success() {
        return None;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let until = |seconds: i64| Duration::from_secs(u64::try_from(seconds).unwrap_or(0).saturating_sub(wall / 1_000_000));
    let after = text(header::RETRY_AFTER.as_str()).and_then(|after| match after.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => jiff::fmt::rfc2822::parse(after).ok().map(|date| until(date.timestamp().as_second())),
    });
    let reset = || {
        let used_up = text("x-ratelimit-remaining") == Some("0");
        text("x-ratelimit-reset").filter(|_| used_up).and_then(|at| at.parse().ok()).map(until)
    };
    let wait = after.or_else(reset)?;
    Some(wait.clamp(Duration::from_secs(1), POLL_WAIT_AT_MOST))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Span;

    /// 2026-04-05T10:30:00Z.
    const NOW: Micros = 1_775_385_000_000_000;

    fn asked(status: u16, headers: &[(&'static str, &str)]) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        wait(StatusCode::from_u16(status).unwrap(), &headers, NOW).map(|wait| wait.as_secs())
    }

    #[test]
    fn what_breaks_off_is_tried_again_ever_more_seldom_or_when_the_provider_says() {
        let rule = toml::from_str("url = 'https://x.example/l'\ntime = '/at'").unwrap();
        let plan = PollPlan::new(rule, Span::from_millis(600_000), Span::default(), None, BTreeMap::new()).unwrap();
        let mut pace = Pace::default();
        let mut seconds = |wait| pace.broke_off(&plan, wait, NOW).as_secs();
        assert_eq!([(); 6].map(|()| seconds(None)), [60, 120, 240, 480, 600, 600]);
        assert_eq!(seconds(Some(Duration::from_secs(7))), 7);
        assert!(!pace.is_due(NOW + 6_999_999) && pace.is_due(NOW + 7_000_000));
        pace.done(&plan, NOW);
        assert!(!pace.is_due(NOW + 599_999_999) && pace.is_due(NOW + 600_000_000));
        assert_eq!(pace.broke_off(&plan, None, NOW).as_secs(), 60, "what came to its end is forgotten");
    }

    #[test]
    fn a_provider_says_how_long_to_wait() {
        assert_eq!(asked(429, &[("retry-after", "2")]), Some(2));
        assert_eq!(asked(503, &[("retry-after", "Sun, 05 Apr 2026 10:31:30 GMT")]), Some(90));
        assert_eq!(asked(429, &[("retry-after", "Sun, 05 Apr 2026 10:29:00 GMT")]), Some(1), "it is over: not at once all the same");
        let budget = |left| asked(403, &[("x-ratelimit-remaining", left), ("x-ratelimit-reset", "1775385600")]);
        assert_eq!((budget("0"), budget("1")), (Some(600), None), "a 403 with a budget left is about something else");
        assert_eq!(asked(429, &[("retry-after", "9999999999")]), Some(POLL_WAIT_AT_MOST.as_secs()));
        assert_eq!(asked(500, &[]), None);
        assert_eq!(asked(429, &[("retry-after", "soon")]), None);
        assert_eq!(asked(200, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1775385600")]), None);
    }
}
