//! Times, numbers and texts as people read them.
//!
//! Constraint: a text from outside is shown as what it is: what would be invisible, or turn the text around, is written out.

use std::{borrow::Cow, fmt::Write};

use jiff::Timestamp;
use maud::{Markup, html};
use waypost_store::Micros;

/// A text on one line: characters that cannot be seen, or that change how others are seen, are written as `\u{…}`.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if text.chars().any(|c| c.is_control() || is_hidden(c)) { Cow::Owned(written_out(text, |_| false)) } else { Cow::Borrowed(text) }
}

/// The same of several lines.
pub(super) fn lines(text: &str) -> Cow<'_, str> {
    let is_layout = |c: char| c == '\n' || c == '\t';
    if text.chars().any(|c| !is_layout(c) && (c.is_control() || is_hidden(c))) {
        Cow::Owned(written_out(text, is_layout))
    } else {
        Cow::Borrowed(text)
    }
}

fn written_out(text: &str, keep: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len() + 16), |mut out, c| {
        if !keep(c) && (c.is_control() || is_hidden(c)) {
            // A String takes everything.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
        out
    })
}

/// Directions, and spaces without width. The joiners of emoji and of several scripts are not among them.
fn is_hidden(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The first characters, and an ellipsis if there are more.
pub(super) fn short(text: &str, max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(max.saturating_sub(1)) {
        Some((at, last)) if at + last.len_utf8() < text.len() => Cow::Owned(format!("{}…", &text[..at])),
        _ => Cow::Borrowed(text),
    }
}

/// The last part of an event type.
pub(super) fn short_type(event_type: &str) -> &str {
    event_type.rsplit('.').next().filter(|last| !last.is_empty()).unwrap_or(event_type)
}

/// With commas between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Bytes in the unit that fits.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut whole = bytes;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        whole /= 1024;
        unit += 1;
    }
    if unit == 0 || whole >= 10 {
        return format!("{whole} {}", UNITS[unit]);
    }
    let tenths = bytes / (1024_u64.pow(u32::try_from(unit).unwrap_or(0)) / 10).max(1);
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// How long ago, or how long from now.
pub(super) fn when(time: Option<&prost_types::Timestamp>, now: Micros) -> Markup {
    let Some((stamp, exact)) = time.and_then(exact) else { return nothing() };
    let distance = |micros: u64| span(micros / 1_000_000);
    let then = u64::try_from(stamp.as_microsecond()).unwrap_or(0);
    let text = match now.checked_sub(then) {
        Some(ago) if ago < 1_000_000 => "now".to_owned(),
        Some(ago) => format!("{} ago", distance(ago)),
        None => format!("in {}", distance(then - now)),
    };
    html! { time datetime=(exact) title=(exact) { (text) } }
}

/// The exact time, and how long ago that was.
pub(super) fn exactly(time: Option<&prost_types::Timestamp>, now: Micros) -> Markup {
    match time.and_then(exact) {
        Some((_, exact)) => html! { span.exact { (exact) } " " span.muted { "(" (when(time, now)) ")" } },
        None => nothing(),
    }
}

fn exact(time: &prost_types::Timestamp) -> Option<(Timestamp, String)> {
    let stamp = Timestamp::new(time.seconds, time.nanos).ok()?;
    Some((stamp, format!("{stamp:.3}")))
}

/// Seconds, in the unit that fits.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A span of the contract.
pub(super) fn duration(span: Option<&prost_types::Duration>) -> Markup {
    let Some(span) = span else { return nothing() };
    let millis = u64::try_from(span.seconds).unwrap_or(0) * 1_000 + u64::try_from(span.nanos).unwrap_or(0) / 1_000_000;
    if millis % 1_000 == 0 {
        html! { (self::span(millis / 1_000)) }
    } else {
        html! { (millis) " ms" }
    }
}

/// Where there is nothing to say.
pub(super) fn nothing() -> Markup {
    html! { span.muted { span aria-hidden="true" { "–" } span.unseen { "none" } } }
}

/// A word with a colour: `good`, `busy`, `warn`, `bad` or `idle`. The word says all that the colour does.
pub(super) fn badge(kind: &str, word: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (word) } }
}

/// A number that should be zero.
pub(super) fn alarming(number: u64, kind: &str) -> Markup {
    if number == 0 {
        html! { span.muted { "0" } }
    } else {
        html! { span class={ "count " (kind) } { (count(number)) } }
    }
}

/// A path with a query of what is not empty.
pub(super) fn link(path: &str, query: &[(&str, &str)]) -> String {
    let mut link = path.to_owned();
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        link.push(if link.contains('?') { '&' } else { '?' });
        link.push_str(name);
        link.push('=');
        link.push_str(&encoded(value));
    }
    link
}

/// A text as a part of a path or of a query.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // A String takes everything.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_written_out() {
        assert_eq!(plain("SHIP-1 ❤️ 👩‍🚀 نمی‌خواهم"), "SHIP-1 ❤️ 👩‍🚀 نمی‌خواهم");
        assert_eq!(plain("a\u{202e}b\nc\u{0}"), "a\\u{202e}b\\u{a}c\\u{0}");
        assert_eq!(lines("a\n\tb\r\u{200b}"), "a\n\tb\\u{d}\\u{200b}");
    }

    #[test]
    fn texts_are_cut_at_characters() {
        assert_eq!(short("Zürich", 6), "Zürich");
        assert_eq!(short("Zürichs", 6), "Züric…");
        assert_eq!(short("", 6), "");
        assert_eq!(short("ab", 0), "…");
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([count(0), count(999), count(1_000), count(12_345_678)], ["0", "999", "1,000", "12,345,678"]);
        assert_eq!([size(0), size(1_023), size(1_536), size(10 << 30)], ["0 bytes", "1023 bytes", "1.5 KiB", "10 GiB"]);
        assert_eq!([span(0), span(119), span(120), span(7_200), span(200_000)], ["0 s", "119 s", "2 min", "2 h", "2 d"]);
    }

    #[test]
    fn a_link_carries_any_text() {
        assert_eq!(link("/story", &[("source", "a/b c"), ("id", ""), ("after", "\"&=ü")]), "/story?source=a%2Fb%20c&after=%22%26%3D%C3%BC");
    }
}
