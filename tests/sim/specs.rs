//! The subscriptions of the simulation.

use prost_types::Duration;
use waypost_proto::v1;

/// Those that the operator looks after.
pub(crate) const NAMES: [&str; 7] = ["by-type", "by-prefix", "everything", "by-subject", "rare", "backlog", "fleeting"];

/// Its agent takes everything at once, so that whoever else is slow must not show in it (P12).
pub(crate) const PROMPT: &str = "prompt";

/// What [`PROMPT`] asks for.
pub(crate) const PROMPT_TYPE: &str = "sim.prompt.One";

/// How long events may wait for a subscription until they go by its policy.
pub(crate) fn backlog_age(name: &str) -> Option<u64> {
    (name == "backlog").then_some(60_000_000)
}

/// How long a subscription stays without a session, if that is in reach of a run.
pub(crate) fn expires_after(name: &str) -> Option<u64> {
    (name == "fleeting").then_some(60_000_000)
}

fn span(micros: u64) -> Option<Duration> {
    Some(Duration { seconds: i64::try_from(micros / 1_000_000).ok()?, nanos: 0 })
}

/// The rules of a subscription when it is created. An empty name is an ephemeral one.
pub(crate) fn spec(name: &str) -> v1::SubscriptionSpec {
    let millis = |millis: i32| Some(Duration { seconds: i64::from(millis / 1000), nanos: millis % 1000 * 1_000_000 });
    let (deadline, total, attempts, losses, outstanding) = match name {
        "by-type" => (600, 2_500, 3, 2, 6),
        "by-prefix" => (1_500, 4_000, 5, 3, 4),
        "everything" => (800, 3_000, 4, 2, 10),
        "by-subject" => (400, 1_000, 3, 3, 3),
        "rare" => (2_000, 5_000, 2, 2, 2),
        PROMPT => (5_000, 10_000, 5, 5, 200),
        _ => (700, 2_000, 3, 2, 5),
    };
    v1::SubscriptionSpec {
        filter: Some(filter(name, 0)),
        ack_deadline: millis(deadline),
        retry_policy: Some(v1::RetryPolicy {
            min_backoff: millis(50),
            max_backoff: millis(900),
            max_attempts: Some(attempts),
            max_losses: Some(losses),
        }),
        max_lease_total: millis(total),
        max_outstanding: Some(outstanding),
        backlog: backlog_age(name).map(|age| v1::BacklogPolicy { max_age: span(age), max_bytes: None }),
        expire_after: expires_after(name).and_then(span),
        start_position: Some(v1::StartPosition {
            position: Some(v1::start_position::Position::Point(
                (if name == "everything" { v1::StartPoint::Earliest } else { v1::StartPoint::New }).into(),
            )),
        }),
        ..v1::SubscriptionSpec::default()
    }
}

/// The filters that a subscription has in turn.
pub(crate) fn filter(name: &str, turn: u8) -> v1::Filter {
    let types = |types: &[&str]| types.iter().map(|&name| name.to_owned()).collect();
    match (name, turn % 2) {
        ("by-type", 0) => v1::Filter { types: types(&["sim.a.One"]), ..v1::Filter::default() },
        ("by-type", _) => v1::Filter { types: types(&["sim.a.Two", "sim.a.One"]), ..v1::Filter::default() },
        ("by-prefix", 0) => v1::Filter { types: types(&["sim.b.*"]), ..v1::Filter::default() },
        ("by-prefix", _) => v1::Filter { types: types(&["sim.b.One", "sim.a.*"]), ..v1::Filter::default() },
        ("by-subject", 0) => v1::Filter { subject_prefix: "s1".to_owned(), ..v1::Filter::default() },
        ("by-subject", _) => v1::Filter { sources: types(&["agents/p0"]), subject_prefix: "s2".to_owned(), ..v1::Filter::default() },
        ("rare", 0) => v1::Filter { types: types(&["sim.rare.*"]), ..v1::Filter::default() },
        ("rare", _) => v1::Filter { types: types(&["sim.rare.One"]), sources: types(&["agents/p1"]), ..v1::Filter::default() },
        ("backlog", _) => v1::Filter { types: types(&["sim.a.*", "sim.b.One"]), ..v1::Filter::default() },
        ("fleeting", _) => v1::Filter { types: types(&["sim.b.Two"]), ..v1::Filter::default() },
        (PROMPT, _) => v1::Filter { types: types(&[PROMPT_TYPE]), ..v1::Filter::default() },
        ("", _) => v1::Filter { types: types(&["sim.a.*"]), ..v1::Filter::default() },
        _ => v1::Filter::default(),
    }
}
