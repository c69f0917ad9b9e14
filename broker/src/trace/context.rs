//! `traceparent` and `tracestate`, as W3C Trace Context has them and CloudEvents' distributed tracing extension keeps them in an event.
//!
//! Constraints: what is not a `traceparent` to the letter is none, and never a panic; a later version is read as far as this one knows it;
//! `tracestate` is passed on as it came, within bounds, and never looked into.

use std::{collections::BTreeMap, fmt};

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::limits;

/// The header, and the extension attribute of an event.
pub const TRACEPARENT: &str = "traceparent";
/// What goes with it.
pub const TRACESTATE: &str = "tracestate";

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// One span of a trace, as others may name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// Whether the spans of the trace are recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`. `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_whole = match bytes.get(..2)? {
            b"00" => bytes.len() == LENGTH,
            // Never a version. What later ones add comes after one more dash.
            b"ff" => false,
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let dashes = [2, 35, 52].iter().all(|&at| bytes.get(at) == Some(&b'-'));
        if !is_whole || !dashes {
            return None;
        }
        hex(bytes, 0..2)?;
        let (trace, span, flags) = (hex(bytes, 3..35)?, hex(bytes, 36..52)?, hex(bytes, 53..LENGTH)?);
        let span = u64::try_from(span).ok()?;
        (trace != 0 && span != 0).then_some(Self { trace, span, sampled: flags & 1 == 1 })
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn with_span(self, span: u64) -> Self {
        Self { span, ..self }
    }

    /// As the exporter takes it.
    pub(super) fn exported(self) -> SpanContext {
        let flags = if self.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        SpanContext::new(TraceId::from(self.trace), SpanId::from(self.span), flags, false, TraceState::NONE)
    }
}

/// Lower-case hexadecimal digits; upper-case ones are not allowed.
fn hex(bytes: &[u8], range: std::ops::Range<usize>) -> Option<u128> {
    bytes.get(range)?.iter().try_fold(0, |number: u128, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.sampled))
    }
}

/// The context that something came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The span that it came from.
    pub context: TraceContext,
    /// Its `tracestate`; empty without one.
    pub state: String,
}

impl Incoming {
    /// Of a request, or of the metadata of a call. Two of them are none.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let mut found = headers.get_all(TRACEPARENT).iter();
        let context = TraceContext::parse(found.next()?.to_str().ok()?.trim())?;
        if found.next().is_some() {
            return None;
        }
        let states: Vec<_> = headers.get_all(TRACESTATE).iter().map(|value| value.to_str().unwrap_or_default()).collect();
        Some(Self { context, state: bounded(states.join(",")) })
    }

    /// Of an event.
    #[must_use]
    pub fn of_attributes(attributes: &BTreeMap<String, String>) -> Option<Self> {
        let context = TraceContext::parse(attributes.get(TRACEPARENT)?)?;
        Some(Self { context, state: attributes.get(TRACESTATE).cloned().map(bounded).unwrap_or_default() })
    }

    /// The same trace, from another of its spans.
    #[must_use]
    pub fn with_span(self, span: u64) -> Self {
        Self { context: self.context.with_span(span), ..self }
    }
}

fn bounded(state: String) -> String {
    let is_fine = state.len() <= limits::MAX_TRACESTATE_BYTES && state.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_fine { state } else { String::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [SAMPLED, "00-00000000000000000000000000000001-0000000000000001-00"] {
            assert_eq!(TraceContext::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn later_versions_and_flags_are_read_as_far_as_they_are_known() {
        let known = TraceContext::parse(SAMPLED).unwrap();
        for text in
            [SAMPLED.replacen("00", "cc", 1), format!("{}-what-comes", SAMPLED.replacen("00", "01", 1)), format!("{}03", &SAMPLED[..53])]
        {
            assert_eq!(TraceContext::parse(&text), Some(known), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_in_any_way_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            SAMPLED[..54].to_owned(),
            format!("{SAMPLED}-"),
            format!("{SAMPLED}0"),
            SAMPLED.to_uppercase(),
            SAMPLED.replacen("00", "ff", 1),
            SAMPLED.replacen("00", "0g", 1),
            format!("{}0", SAMPLED.replacen("00", "01", 1)),
            SAMPLED.replace('-', "_"),
            SAMPLED.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            SAMPLED.replace("b7ad6b7169203331", &zeros[..16]),
            SAMPLED.replace("0af7", "+af7"),
            SAMPLED.replace("0af7", "é7"),
        ] {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn two_traceparents_are_none_and_several_tracestates_are_one() {
        let mut headers = HeaderMap::new();
        headers.append(TRACEPARENT, SAMPLED.parse().unwrap());
        headers.append(TRACESTATE, "a=1".parse().unwrap());
        headers.append(TRACESTATE, "b=2".parse().unwrap());
        assert_eq!(Incoming::of_headers(&headers).unwrap().state, "a=1,b=2");
        headers.append(TRACESTATE, "x".repeat(600).parse().unwrap());
        assert_eq!(Incoming::of_headers(&headers).unwrap().state, "", "too long a state is no state, and the trace goes on");
        headers.append(TRACEPARENT, SAMPLED.parse().unwrap());
        assert_eq!(Incoming::of_headers(&headers), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = TraceContext::parse(&text);
        }

        #[test]
        fn nothing_like_a_traceparent_makes_it_panic(text in "[0-9a-f]{2}.[0-9a-fA-F]{30,34}-[0-9a-f]{15,17}.[0-9a-z]{1,3}(-.*)?") {
            if let Some(read) = TraceContext::parse(&text) {
                prop_assert_eq!(TraceContext::parse(&read.to_string()), Some(read));
            }
        }

        #[test]
        fn every_context_is_read_back(trace in 1..=u128::MAX, span in 1..=u64::MAX, sampled: bool) {
            let context = TraceContext { trace, span, sampled };
            prop_assert_eq!(TraceContext::parse(&context.to_string()), Some(context));
        }
    }
}
