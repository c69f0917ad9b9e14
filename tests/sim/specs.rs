//! The subscriptions of the simulation.

use prost_types::Duration;
use waypost_proto::v1;

/// All names.
pub(crate) const NAMES: [&str; 5] = ["by-type", "by-prefix", "everything", "by-subject", "rare"];

/// The rules of a subscription when it is created. An empty name is an ephemeral one.
pub(crate) fn spec(name: &str) -> v1::SubscriptionSpec {
    let millis = |millis: i32| Some(Duration { seconds: i64::from(millis / 1000), nanos: millis % 1000 * 1_000_000 });
    let (deadline, total, attempts, losses, outstanding) = match name {
        "by-type" => (600, 2_500, 3, 2, 6),
        "by-prefix" => (1_500, 4_000, 5, 3, 4),
        "everything" => (800, 3_000, 4, 2, 10),
        "by-subject" => (400, 1_000, 3, 3, 3),
        "rare" => (2_000, 5_000, 2, 2, 2),
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
        ("", _) => v1::Filter { types: types(&["sim.a.*"]), ..v1::Filter::default() },
        _ => v1::Filter::default(),
    }
}
