//! Publish: a batch, a result for each.

use waypost_proto::{v1, wire};

use crate::{access::Caller, broker::Broker, error::Fault, limits, publisher::Published, trace::Incoming};

pub(super) async fn publish(
    broker: &Broker,
    caller: &Caller,
    call: Option<Incoming>,
    request: wire::PublishRequest,
) -> Result<v1::PublishResponse, Fault> {
    check_count("items", request.items.len())?;
    let results = broker.publisher.publish(caller, call, request.items).await?;
    Ok(v1::PublishResponse { results: results.into_iter().map(result).collect() })
}

/// Checks the number of items in a call.
pub(super) fn check_count(field: &str, count: usize) -> Result<(), Fault> {
    if (1..=limits::MAX_ITEMS_PER_CALL).contains(&count) {
        return Ok(());
    }
    Err(Fault::invalid(field, format!("has {count} items, 1 to {} are allowed in one call", limits::MAX_ITEMS_PER_CALL)))
}

/// What became of one event.
pub(super) fn result(result: Result<Published, Fault>) -> v1::PublishResult {
    use v1::publish_result::Result as Outcome;
    let outcome = match result {
        Ok(Published { id, offset, duplicate }) => Outcome::Accepted(v1::PublishAccepted { id, offset, duplicate }),
        Err(fault) => Outcome::Refused(fault.refusal()),
    };
    v1::PublishResult { result: Some(outcome) }
}
