//! Payloads as indented JSON.
//!
//! Constraints: numbers and texts stay as they were sent, digit for digit; no more is made than is shown, however a payload expands; bytes that
//! are no text are never guessed at.

use bytes::Bytes;
use maud::{Markup, html};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::Any;
use serde::de::IgnoredAny;
use waypost_proto::{full_name, v1::JsonPayload};

use super::shown;

/// A payload, ready to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Payload {
    /// What it is: the name of its type, or `JSON`, `text`, `bytes`.
    kind: String,
    /// All of its bytes, as they are stored.
    bytes: usize,
    text: String,
    /// There is more than `text`.
    is_cut: bool,
}

impl Payload {
    /// The data of an event, of which at most `max` bytes are shown.
    pub(super) fn of_data(pool: &DescriptorPool, data: &Any, max: usize) -> Self {
        let name = full_name(&data.type_url);
        let bytes = data.value.len();
        if name == JsonPayload::full_name()
            && let Ok(payload) = JsonPayload::decode(data.value.as_slice())
        {
            return Self { kind: "JSON".to_owned(), ..Self::of_bytes(&payload.json, max) };
        }
        let typed = pool.get_message_by_name(name).and_then(|descriptor| DynamicMessage::decode(descriptor, data.value.as_slice()).ok());
        match typed.and_then(|message| serde_json::to_string(&message).ok()) {
            Some(json) => {
                let (text, is_cut) = indented(&json, max);
                Self { kind: name.to_owned(), bytes, text, is_cut }
            }
            None => Self { kind: format!("{name} (not a registered type)"), ..Self::of_raw(&data.value, max) },
        }
    }

    /// Bytes that somebody sent: JSON if they are, text if they are.
    pub(super) fn of_bytes(body: &Bytes, max: usize) -> Self {
        let Ok(text) = str::from_utf8(body) else { return Self::of_raw(body, max) };
        if serde_json::from_str::<IgnoredAny>(text).is_ok() {
            let (text, is_cut) = indented(text, max);
            return Self { kind: "JSON".to_owned(), bytes: body.len(), text, is_cut };
        }
        let end = text.floor_char_boundary(max);
        Self { kind: "text".to_owned(), bytes: body.len(), text: text[..end].to_owned(), is_cut: end < text.len() }
    }

    fn of_raw(body: &[u8], max: usize) -> Self {
        let end = body.len().min(max / 4);
        let lines: Vec<_> = body[..end].chunks(32).map(hex::encode).collect();
        Self { kind: "bytes".to_owned(), bytes: body.len(), text: lines.join("\n"), is_cut: end < body.len() }
    }

    /// As a block of text that can be scrolled by keyboard.
    pub(super) fn render(&self, label: &str) -> Markup {
        html! {
            p.caption {
                (shown::plain(&self.kind)) ", " (shown::size(self.bytes as u64))
                @if self.is_cut { ": " strong { "cut, the beginning is shown" } }
            }
            pre.payload tabindex="0" role="region" aria-label=(label) { (shown::lines(&self.text)) @if self.is_cut { "\n…" } }
        }
    }
}

/// JSON that was found to be valid, indented, up to about `max` bytes; and whether that was not all.
fn indented(json: &str, max: usize) -> (String, bool) {
    let mut out = String::with_capacity(json.len().min(max) + 256);
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    let mut rest = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = rest.next() {
        if out.len() >= max {
            return (out, true);
        }
        if in_text {
            out.push(c);
            (in_text, is_escaped) = (is_escaped || c != '"', c == '\\' && !is_escaped);
            continue;
        }
        match c {
            '{' | '[' => {
                out.push(c);
                while rest.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if let Some(end) = rest.next_if(|c| matches!(c, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => {
                in_text = c == '"';
                out.push(c);
            }
        }
    }
    (out, false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use waypost_proto::{TYPE_URL_PREFIX, logistics::v1::ShippingDelayed};

    use super::*;

    #[test]
    fn json_is_indented_and_nothing_of_it_changes() {
        let json = r#"{"n":12345678901234567890.10, "t":"a \"{[,:]}\\", "e": [ ], "o":{ },"l":[1,{"x":null}]}"#;
        let (text, is_cut) = indented(json, 10_000);
        let expected = r#"{
  "n": 12345678901234567890.10,
  "t": "a \"{[,:]}\\",
  "e": [],
  "o": {},
  "l": [
    1,
    {
      "x": null
    }
  ]
}"#;
        assert_eq!((text.as_str(), is_cut), (expected, false));
    }

    #[test]
    fn a_payload_that_would_expand_is_cut() {
        let nested = format!("{}{}{}", "[".repeat(120), "1,".repeat(300_000) + "1", "]".repeat(120));
        let payload = Payload::of_bytes(&nested.clone().into(), 10_000);
        assert!(payload.is_cut && payload.text.len() < 11_000, "{}", payload.text.len());
        assert_eq!(payload.bytes, nested.len());
        assert!(payload.render("x").into_string().contains("cut"));
    }

    #[test]
    fn each_payload_is_called_what_it_is() {
        let pool = DescriptorPool::decode(waypost_proto::FILE_DESCRIPTOR_SET).unwrap();
        let any = |name: &str, value: Vec<u8>| Any { type_url: format!("{TYPE_URL_PREFIX}/{name}"), value };
        let delay = ShippingDelayed { shipment_id: "SHIP-1".to_owned(), ..ShippingDelayed::default() };
        let typed = Payload::of_data(&pool, &any("logistics.v1.ShippingDelayed", delay.encode_to_vec()), 1_000);
        assert_eq!((typed.kind.as_str(), typed.text.contains("\"shipmentId\": \"SHIP-1\"")), ("logistics.v1.ShippingDelayed", true));
        let unknown = Payload::of_data(&pool, &any("com.example.Nobody", vec![8, 1]), 1_000);
        assert_eq!((unknown.kind.as_str(), unknown.text.as_str()), ("com.example.Nobody (not a registered type)", "0801"));
        assert_eq!(Payload::of_bytes(&Bytes::from_static(b"{oops"), 3), {
            Payload { kind: "text".to_owned(), bytes: 5, text: "{oo".to_owned(), is_cut: true }
        });
        assert_eq!(Payload::of_bytes(&Bytes::from_static(b"\xff\x00"), 100).text, "ff00");
    }
}
