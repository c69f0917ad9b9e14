//! Traces: the span of a delivery's work, as the continuation of the trace that its event came with.
//!
//! Constraints: the parent is named by `traceparent` and `tracestate`, as W3C Trace Context has them; without the feature `otel` nothing
//! here knows OpenTelemetry, and what is published goes out as it came; a span that nobody is interested in costs a look.

use tracing::{Span, field};
#[cfg(feature = "otel")]
use waypost_proto::v1::Event;

use crate::delivery::Delivery;
use crate::observe::Outcome;

/// The extension attributes of an event that name the span it was made in.
pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";

/// The span of one delivery's work.
pub(crate) fn span<T>(delivery: &Delivery<T>) -> Span {
    let event = delivery.event();
    let span = tracing::info_span!(
        "process",
        subscription = delivery.subscription(),
        event = event.id,
        r#type = event.r#type,
        source = event.source,
        offset = delivery.offset(),
        attempt = delivery.attempt(),
        outcome = field::Empty,
        otel.name = field::Empty,
        otel.kind = field::Empty,
    );
    #[cfg(feature = "otel")]
    if !span.is_disabled() {
        otel::describe(&span, delivery);
    }
    span
}

/// Notes how the work of a span ended.
pub(crate) fn ended(span: &Span, outcome: Outcome) {
    span.record("outcome", outcome.as_str());
    #[cfg(feature = "otel")]
    otel::ended(span, outcome);
}

/// Has an event continue the trace of whoever makes it, unless it says itself what it continues. Nothing without the feature `otel`.
#[cfg(feature = "otel")]
pub(crate) fn continue_in(event: &mut Event) {
    otel::stamp(event);
}

/// OpenTelemetry, through the layer of `tracing-opentelemetry`.
#[cfg(feature = "otel")]
mod otel {
    use std::str::FromStr;

    use opentelemetry::Context;
    use opentelemetry::trace::{SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState};
    use tracing::Span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use waypost_proto::v1::Event;

    use super::{TRACEPARENT, TRACESTATE};
    use crate::delivery::Delivery;
    use crate::observe::Outcome;

    /// Names the parent, and says what OpenTelemetry's conventions for messaging ask for.
    pub(super) fn describe<T>(span: &Span, delivery: &Delivery<T>) {
        if let Some(parent) = delivery.traceparent().and_then(|parent| parse(parent, delivery.tracestate().unwrap_or_default())) {
            // Without a layer of OpenTelemetry there is nothing to continue.
            let _no_layer = span.set_parent(Context::new().with_remote_span_context(parent));
        }
        let event = delivery.event();
        span.record("otel.name", format_args!("process {}", delivery.subscription()).to_string());
        span.record("otel.kind", "consumer");
        span.set_attribute("messaging.system", "waypost");
        span.set_attribute("messaging.operation.name", "process");
        span.set_attribute("messaging.operation.type", "process");
        span.set_attribute("messaging.destination.name", event.r#type.clone());
        span.set_attribute("messaging.destination.subscription.name", delivery.subscription().to_owned());
        span.set_attribute("messaging.message.id", event.id.clone());
        if let Some(lineage) = &event.lineage {
            span.set_attribute("messaging.message.conversation_id", lineage.correlation_id.clone());
        }
    }

    pub(super) fn ended(span: &Span, outcome: Outcome) {
        match outcome {
            Outcome::Done | Outcome::Cancelled => {}
            Outcome::Nacked | Outcome::Rejected | Outcome::Panicked => span.set_status(Status::error(outcome.as_str())),
        }
    }

    pub(super) fn stamp(event: &mut Event) {
        if event.attributes.contains_key(TRACEPARENT) {
            return;
        }
        let context = current();
        if !context.is_valid() {
            return;
        }
        let (trace, span, flags) = (context.trace_id(), context.span_id(), context.trace_flags());
        event.attributes.insert(TRACEPARENT.to_owned(), format!("00-{trace}-{span}-{:02x}", flags & TraceFlags::SAMPLED));
        let state = context.trace_state().header();
        if !state.is_empty() {
            event.attributes.insert(TRACESTATE.to_owned(), state);
        }
    }

    /// That of the current span of `tracing`; without one, that of OpenTelemetry itself.
    fn current() -> SpanContext {
        let traced = Span::current().context().span().span_context().clone();
        if traced.is_valid() { traced } else { Context::current().span().span_context().clone() }
    }

    /// A `traceparent` of version 00, or the part of a later one that this version knows. `None` for anything else.
    pub(super) fn parse(parent: &str, state: &str) -> Option<SpanContext> {
        let mut parts = parent.split('-');
        let [version, trace, span, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
        let is_hex = |part: &str, length| part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let is_whole = match version {
            "ff" => false,
            "00" => parts.next().is_none(),
            _ => true,
        };
        if !is_whole || !is_hex(version, 2) || !is_hex(trace, 32) || !is_hex(span, 16) || !is_hex(flags, 2) {
            return None;
        }
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
        let state = TraceState::from_str(state).unwrap_or_default();
        let context = SpanContext::new(TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?, flags, true, state);
        context.is_valid().then_some(context)
    }

    #[cfg(test)]
    mod tests {
        #![allow(clippy::unwrap_used, reason = "a test may panic")]

        use super::*;

        const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

        #[test]
        fn a_traceparent_is_read_to_the_letter() {
            let context = parse(PARENT, "a=1,b=2").unwrap();
            assert_eq!(context.trace_id().to_string(), &PARENT[3..35]);
            assert_eq!(context.span_id().to_string(), &PARENT[36..52]);
            assert!(context.is_sampled() && context.is_remote());
            assert_eq!(context.trace_state().header(), "a=1,b=2");
            assert!(parse(&format!("{}-later", PARENT.replacen("00", "01", 1)), "").unwrap().is_sampled());
            assert!(parse(PARENT, "no state").unwrap().trace_state().header().is_empty(), "a bad state spoils no parent");
        }

        #[test]
        fn what_is_no_traceparent_is_none() {
            let zero = PARENT.replace("b7ad6b7169203331", "0000000000000000");
            let wrong = ["", "00", &PARENT[..54], &PARENT.to_uppercase(), &PARENT.replacen("00", "ff", 1), &format!("{PARENT}-x"), &zero];
            for text in wrong {
                assert_eq!(parse(text, ""), None, "{text}");
            }
        }
    }
}
