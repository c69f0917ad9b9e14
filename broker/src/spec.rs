//! The rules of a subscription: what a caller sets, completed with the defaults and checked.
//!
//! Constraints:
//! - What is in force has every field set, so there is one way to write it, to store it and to compare it.
//! - Bounds and defaults are those that `subscription.proto` documents.

use std::time::Duration;

use waypost_delivery::{Config, RetryPolicy};
use waypost_proto::v1;

use crate::{
    error::Violation,
    filter::{Filter, normalised},
    grpc::convert::{duration, proto_duration},
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;

/// What every subscription of a broker has in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// How long the leases of a broken stream wait for their session.
    pub resume_grace: Duration,
    /// The most unsettled events of one subscription (P12).
    pub max_unsettled: u32,
}

/// The rules in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// With every field set.
    proto: v1::SubscriptionSpec,
    filter: Filter,
    ack_deadline: Duration,
    max_lease_total: Duration,
    retry: RetryPolicy,
    /// Unsettled events older than this go.
    pub backlog_age: Option<Duration>,
    /// Beyond this many bytes of unsettled events the oldest go.
    pub backlog_bytes: Option<u64>,
    /// The subscription goes after this long without a session.
    pub expire_after: Duration,
}

impl Spec {
    /// Completes what a caller asks for, and checks it.
    ///
    /// # Errors
    /// Every field that is out of its bounds, by its path within the spec.
    pub fn new(asked: &v1::SubscriptionSpec) -> Result<Self, Vec<Violation>> {
        let mut checks = Checks::default();
        let retry = asked.retry_policy.unwrap_or_default();
        let max_lease_total = checks.duration("max_lease_total", asked.max_lease_total, 3_600 * SECOND, Duration::from_millis(100), DAY);
        let ack_deadline = checks.duration(
            "ack_deadline",
            asked.ack_deadline,
            (30 * SECOND).min(max_lease_total),
            Duration::from_millis(100),
            max_lease_total,
        );
        let max_backoff = checks.duration("retry_policy.max_backoff", retry.max_backoff, 600 * SECOND, Duration::from_millis(10), DAY);
        let min_backoff =
            checks.duration("retry_policy.min_backoff", retry.min_backoff, SECOND.min(max_backoff), Duration::from_millis(10), max_backoff);
        let retry = RetryPolicy {
            min_backoff,
            max_backoff,
            max_attempts: checks.number("retry_policy.max_attempts", retry.max_attempts, 16, 1, 1_000),
            max_losses: checks.number("retry_policy.max_losses", retry.max_losses, 10, 1, 1_000),
        };
        let max_outstanding = checks.number("max_outstanding", asked.max_outstanding, 256, 1, 10_000);
        let max_outstanding_bytes = checks.number("max_outstanding_bytes", asked.max_outstanding_bytes, 128 * MIB, MIB, u64::MAX);
        let backlog = asked.backlog.unwrap_or_default();
        let forever = Duration::from_secs(100 * 365 * 86_400);
        let backlog_age = backlog.max_age.map(|age| checks.duration("backlog.max_age", Some(age), forever, 60 * SECOND, forever));
        let backlog_bytes = backlog.max_bytes.map(|bytes| checks.number("backlog.max_bytes", Some(bytes), u64::MAX, MIB, u64::MAX));
        let expire_after = checks.duration("expire_after", asked.expire_after, 31 * DAY, 60 * SECOND, 365 * DAY);
        let filter = normalised(asked.filter.as_ref().unwrap_or(&v1::Filter::default()));
        let compiled = Filter::compile(&filter).map_err(|wrong| checks.0.extend(wrong.into_iter().map(|v| v.within("filter"))));
        let start = checks.start(asked.start_position);

        let Ok(compiled) = compiled else { return Err(checks.0) };
        if !checks.0.is_empty() {
            return Err(checks.0);
        }
        let proto = v1::SubscriptionSpec {
            filter: Some(filter),
            ack_deadline: Some(proto_duration(ack_deadline)),
            retry_policy: Some(v1::RetryPolicy {
                min_backoff: Some(proto_duration(retry.min_backoff)),
                max_backoff: Some(proto_duration(retry.max_backoff)),
                max_attempts: Some(retry.max_attempts),
                max_losses: Some(retry.max_losses),
            }),
            max_lease_total: Some(proto_duration(max_lease_total)),
            max_outstanding: Some(max_outstanding),
            max_outstanding_bytes: Some(max_outstanding_bytes),
            start_position: Some(start),
            backlog: Some(v1::BacklogPolicy { max_age: backlog_age.map(proto_duration), max_bytes: backlog_bytes }),
            expire_after: Some(proto_duration(expire_after)),
        };
        Ok(Self { proto, filter: compiled, ack_deadline, max_lease_total, retry, backlog_age, backlog_bytes, expire_after })
    }

    /// Every field set.
    #[must_use]
    pub fn proto(&self) -> &v1::SubscriptionSpec {
        &self.proto
    }

    /// The filter, compiled.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.filter
    }

    /// The filter as the machine keeps it.
    #[must_use]
    pub fn filter_bytes(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(self.proto.filter.as_ref().unwrap_or(&v1::Filter::default()))
    }

    /// The limits as the machine takes them.
    #[must_use]
    pub fn config(&self, settings: &DeliverySettings, ephemeral: bool, jitter_seed: u64) -> Config {
        Config {
            ack_deadline: self.ack_deadline,
            max_lease_total: self.max_lease_total,
            retry: self.retry.clone(),
            max_outstanding: self.proto.max_outstanding(),
            max_outstanding_bytes: self.proto.max_outstanding_bytes(),
            max_unsettled: settings.max_unsettled,
            resume_grace: settings.resume_grace,
            ordered: true,
            ephemeral,
            jitter_seed,
        }
    }

    /// The fields that a caller set and that are otherwise here, each with both values.
    #[must_use]
    pub fn mismatches(&self, asked: &v1::SubscriptionSpec) -> Vec<Violation> {
        let (mine, retry, backlog) = (&self.proto, self.proto.retry_policy.unwrap_or_default(), self.proto.backlog.unwrap_or_default());
        let (asked_retry, asked_backlog) = (asked.retry_policy.unwrap_or_default(), asked.backlog.unwrap_or_default());
        let mut found = Vec::new();
        differs("filter", asked.filter.as_ref().map(normalised).as_ref(), mine.filter.as_ref(), show_filter, &mut found);
        for (field, asked, mine) in [
            ("ack_deadline", asked.ack_deadline, mine.ack_deadline),
            ("retry_policy.min_backoff", asked_retry.min_backoff, retry.min_backoff),
            ("retry_policy.max_backoff", asked_retry.max_backoff, retry.max_backoff),
            ("max_lease_total", asked.max_lease_total, mine.max_lease_total),
            ("backlog.max_age", asked_backlog.max_age, backlog.max_age),
            ("expire_after", asked.expire_after, mine.expire_after),
        ] {
            let (asked, mine) = (asked.and_then(duration), mine.and_then(duration));
            differs(field, asked.as_ref(), mine.as_ref(), |span| format!("{span:?}"), &mut found);
        }
        for (field, asked, mine) in [
            ("retry_policy.max_attempts", asked_retry.max_attempts.map(u64::from), retry.max_attempts.map(u64::from)),
            ("retry_policy.max_losses", asked_retry.max_losses.map(u64::from), retry.max_losses.map(u64::from)),
            ("max_outstanding", asked.max_outstanding.map(u64::from), mine.max_outstanding.map(u64::from)),
            ("max_outstanding_bytes", asked.max_outstanding_bytes, mine.max_outstanding_bytes),
            ("backlog.max_bytes", asked_backlog.max_bytes, backlog.max_bytes),
        ] {
            differs(field, asked.as_ref(), mine.as_ref(), u64::to_string, &mut found);
        }
        found
    }

    /// These rules with some fields set and others back at their defaults.
    ///
    /// # Errors
    /// Fields that are out of bounds, not known, set and reset at once, or cannot be changed.
    pub fn updated(&self, set: &v1::SubscriptionSpec, reset: &[String]) -> Result<Self, Vec<Violation>> {
        let mut spec = self.proto.clone();
        let mut wrong = Vec::new();
        if set.start_position.is_some() {
            wrong.push(Violation::new("spec.start_position", "matters only when a subscription is created; seek instead"));
        }
        for (index, path) in reset.iter().enumerate() {
            if let Err(problem) = reset_field(path, &mut spec, set) {
                wrong.push(Violation::new(format!("reset_fields[{index}]"), problem));
            }
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        overlay(&mut spec, set);
        Self::new(&spec).map_err(|wrong| wrong.into_iter().map(|violation| violation.within("spec")).collect())
    }
}

fn overlay(spec: &mut v1::SubscriptionSpec, set: &v1::SubscriptionSpec) {
    fn put<T: Clone>(field: &mut Option<T>, value: Option<&T>) {
        if let Some(value) = value {
            *field = Some(value.clone());
        }
    }
    put(&mut spec.filter, set.filter.as_ref());
    put(&mut spec.ack_deadline, set.ack_deadline.as_ref());
    put(&mut spec.max_lease_total, set.max_lease_total.as_ref());
    put(&mut spec.max_outstanding, set.max_outstanding.as_ref());
    put(&mut spec.max_outstanding_bytes, set.max_outstanding_bytes.as_ref());
    put(&mut spec.expire_after, set.expire_after.as_ref());
    if let Some(new) = &set.retry_policy {
        let retry = spec.retry_policy.get_or_insert_default();
        put(&mut retry.min_backoff, new.min_backoff.as_ref());
        put(&mut retry.max_backoff, new.max_backoff.as_ref());
        put(&mut retry.max_attempts, new.max_attempts.as_ref());
        put(&mut retry.max_losses, new.max_losses.as_ref());
    }
    if let Some(new) = &set.backlog {
        let backlog = spec.backlog.get_or_insert_default();
        put(&mut backlog.max_age, new.max_age.as_ref());
        put(&mut backlog.max_bytes, new.max_bytes.as_ref());
    }
}

fn reset_field(path: &str, spec: &mut v1::SubscriptionSpec, set: &v1::SubscriptionSpec) -> Result<(), String> {
    fn clear<T>(field: &mut Option<T>, is_set: bool) -> bool {
        *field = None;
        is_set
    }
    let retry = spec.retry_policy.get_or_insert_default();
    let backlog = spec.backlog.get_or_insert_default();
    let (set_retry, set_backlog) = (set.retry_policy.unwrap_or_default(), set.backlog.unwrap_or_default());
    let is_set = match path {
        "filter" => clear(&mut spec.filter, set.filter.is_some()),
        "ack_deadline" => clear(&mut spec.ack_deadline, set.ack_deadline.is_some()),
        "max_lease_total" => clear(&mut spec.max_lease_total, set.max_lease_total.is_some()),
        "max_outstanding" => clear(&mut spec.max_outstanding, set.max_outstanding.is_some()),
        "max_outstanding_bytes" => clear(&mut spec.max_outstanding_bytes, set.max_outstanding_bytes.is_some()),
        "expire_after" => clear(&mut spec.expire_after, set.expire_after.is_some()),
        "retry_policy" => clear(&mut spec.retry_policy, set.retry_policy.is_some()),
        "retry_policy.min_backoff" => clear(&mut retry.min_backoff, set_retry.min_backoff.is_some()),
        "retry_policy.max_backoff" => clear(&mut retry.max_backoff, set_retry.max_backoff.is_some()),
        "retry_policy.max_attempts" => clear(&mut retry.max_attempts, set_retry.max_attempts.is_some()),
        "retry_policy.max_losses" => clear(&mut retry.max_losses, set_retry.max_losses.is_some()),
        "backlog" => clear(&mut spec.backlog, set.backlog.is_some()),
        "backlog.max_age" => clear(&mut backlog.max_age, set_backlog.max_age.is_some()),
        "backlog.max_bytes" => clear(&mut backlog.max_bytes, set_backlog.max_bytes.is_some()),
        _ => return Err(format!("{path:?} is not a field of a spec that can be reset, such as ack_deadline or retry_policy.max_attempts")),
    };
    if is_set { Err(format!("{path:?} is also set in spec; choose one")) } else { Ok(()) }
}

fn differs<T: PartialEq>(field: &str, asked: Option<&T>, mine: Option<&T>, show: impl Fn(&T) -> String, found: &mut Vec<Violation>) {
    if let Some(asked) = asked
        && mine != Some(asked)
    {
        let mine = mine.map_or_else(|| "not set".to_owned(), &show);
        let text = format!("is {mine} in force, {} was asked for; leave it out, or change it with UpdateSubscription", show(asked));
        found.push(Violation::new(field, text));
    }
}

fn show_filter(filter: &v1::Filter) -> String {
    let v1::Filter { types, sources, subject_prefix, attributes } = filter;
    format!("{{types: {types:?}, sources: {sources:?}, subject_prefix: {subject_prefix:?}, attributes: {attributes:?}}}")
}

/// Collects what is wrong, and answers with the default meanwhile.
#[derive(Default)]
struct Checks(Vec<Violation>);

impl Checks {
    fn duration(&mut self, field: &str, asked: Option<prost_types::Duration>, default: Duration, min: Duration, max: Duration) -> Duration {
        let Some(asked) = asked else { return default };
        match duration(asked).filter(|span| (min..=max).contains(span)) {
            Some(span) => span,
            None => {
                let text = format!("is {}.{:09} s, {min:?} to {max:?} is allowed", asked.seconds, asked.nanos.unsigned_abs());
                self.0.push(Violation::new(field, text));
                default
            }
        }
    }

    fn number<T: Copy + PartialOrd + std::fmt::Display>(&mut self, field: &str, asked: Option<T>, default: T, min: T, max: T) -> T {
        let Some(asked) = asked else { return default };
        if asked < min || asked > max {
            self.0.push(Violation::new(field, format!("is {asked}, {min} to {max} is allowed")));
            return default;
        }
        asked
    }

    fn start(&mut self, asked: Option<v1::StartPosition>) -> v1::StartPosition {
        use v1::start_position::Position;
        let new = v1::StartPosition { position: Some(Position::Point(v1::StartPoint::New.into())) };
        let Some(asked) = asked else { return new };
        let problem = match asked.position {
            None => Some("one of point, offset and time must be set"),
            Some(Position::Point(point))
                if !matches!(v1::StartPoint::try_from(point), Ok(v1::StartPoint::New | v1::StartPoint::Earliest)) =>
            {
                Some("the point must be START_POINT_NEW or START_POINT_EARLIEST")
            }
            _ => None,
        };
        self.0.extend(problem.map(|problem| Violation::new("start_position", problem)));
        asked
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn fields(violations: &[Violation]) -> Vec<&str> {
        violations.iter().map(|violation| violation.field.as_str()).collect()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let spec = Spec::new(&v1::SubscriptionSpec::default()).unwrap();
        assert_eq!(spec.proto().ack_deadline, seconds(30));
        assert_eq!(spec.proto().max_outstanding, Some(256));
        assert_eq!(spec.proto().retry_policy.unwrap().max_attempts, Some(16));
        assert_eq!(Spec::new(spec.proto()).unwrap(), spec);
    }

    #[test]
    fn every_field_out_of_bounds_is_named() {
        let asked = v1::SubscriptionSpec {
            ack_deadline: seconds(-1),
            max_outstanding: Some(0),
            retry_policy: Some(v1::RetryPolicy { max_attempts: Some(1_001), ..v1::RetryPolicy::default() }),
            start_position: Some(v1::StartPosition { position: None }),
            filter: Some(v1::Filter { types: vec!["*".into()], ..v1::Filter::default() }),
            ..v1::SubscriptionSpec::default()
        };
        let wrong = Spec::new(&asked).unwrap_err();
        assert_eq!(fields(&wrong), ["ack_deadline", "retry_policy.max_attempts", "max_outstanding", "filter.types[0]", "start_position"]);
    }

    #[test]
    fn only_the_fields_that_the_caller_set_are_compared() {
        let types = |names: &[&str]| v1::Filter { types: names.iter().map(|&name| name.to_owned()).collect(), ..v1::Filter::default() };
        let spec = Spec::new(&v1::SubscriptionSpec { filter: Some(types(&["a", "b"])), ..v1::SubscriptionSpec::default() }).unwrap();
        assert_eq!(spec.mismatches(&v1::SubscriptionSpec::default()), []);
        let same = v1::SubscriptionSpec {
            filter: Some(types(&["b", "a", "a"])),
            start_position: Some(v1::StartPosition { position: Some(v1::start_position::Position::Offset(9)) }),
            ..v1::SubscriptionSpec::default()
        };
        assert_eq!(spec.mismatches(&same), [], "order, repetitions and the start position do not matter");

        let other = v1::SubscriptionSpec {
            ack_deadline: seconds(31),
            retry_policy: Some(v1::RetryPolicy { max_losses: Some(3), ..v1::RetryPolicy::default() }),
            ..v1::SubscriptionSpec::default()
        };
        let found = spec.mismatches(&other);
        assert_eq!(fields(&found), ["ack_deadline", "retry_policy.max_losses"]);
        assert!(found[0].description.contains("30s") && found[0].description.contains("31s"), "{found:?}");
    }

    #[test]
    fn an_update_changes_what_is_set_and_resets_what_is_named() {
        let asked = v1::SubscriptionSpec { ack_deadline: seconds(5), max_outstanding: Some(7), ..v1::SubscriptionSpec::default() };
        let spec = Spec::new(&asked).unwrap();
        let set = v1::SubscriptionSpec { max_outstanding: Some(8), ..v1::SubscriptionSpec::default() };
        let updated = spec.updated(&set, &["ack_deadline".into()]).unwrap();
        assert_eq!((updated.proto().ack_deadline, updated.proto().max_outstanding), (seconds(30), Some(8)));
        let wrong = spec.updated(&set, &["max_outstanding".into(), "nonsense".into()]).unwrap_err();
        assert_eq!(fields(&wrong), ["reset_fields[0]", "reset_fields[1]"]);
    }
}
