//! How providers write times, durations and ids where proto3 JSON would have them otherwise.
//!
//! Constraints:
//! - A value is read from its text, never through a floating-point number: exact to the nanosecond, and what is finer is cut.
//! - What is not in its format is refused; nothing is guessed from how large a number is.

use std::borrow::Cow;

use jiff::{Timestamp, civil, fmt::rfc2822, tz::TimeZone};
use serde::Deserialize;

use super::plan::Kind;

/// How a provider writes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// A time with its offset, as RFC 3339 or ISO 8601 have it. What a `Timestamp` is read as without a format.
    Rfc3339,
    /// The same without an offset; it is UTC.
    Utc,
    /// A day; its midnight in UTC.
    Date,
    /// A time as in e-mails (RFC 2822) and HTTP.
    Rfc2822,
    /// Seconds since 1970, as a number or a string, fractions allowed.
    Unix,
    /// Milliseconds since 1970, likewise.
    UnixMs,
    /// Microseconds since 1970, likewise.
    UnixUs,
    /// A duration in seconds, as a number or a string.
    Seconds,
    /// A duration in milliseconds, likewise.
    Milliseconds,
    /// A duration such as `PT5M`; a day is 24 hours, months and years are refused.
    Iso8601,
    /// A duration with its units, such as `90s` or `1h30m`.
    Units,
    /// A string, a number as it was written, `true` or `false`; for a string.
    Text,
}

/// In what an integer field counts a time, since 1970, or a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
}

/// A format, and what becomes of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    format: Format,
    becomes: Becomes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    Time,
    Duration,
    Text,
    Integer(Unit),
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// Seconds and nanoseconds, as `Timestamp` and `Duration` both have them.
    Parts {
        seconds: i64,
        nanos: i32,
    },
    Text(Cow<'a, str>),
    Integer(i64),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Time,
    Duration,
    Text,
}

/// How long `2026-04-05` is.
const DAY: usize = 10;

const SECOND: i128 = 1_000_000_000;

/// 0001-01-01T00:00:00Z to the last nanosecond of 9999, which is what a `Timestamp` may be.
const TIMES: std::ops::Range<i128> = -62_135_596_800 * SECOND..253_402_300_800 * SECOND;

/// What a `Duration` may be, about 10,000 years.
const DURATIONS: std::ops::RangeInclusive<i128> = -315_576_000_000 * SECOND..=315_576_000_000 * SECOND;

impl Reading {
    /// A format for a field of a kind. `message` is the full name of the field's type if it is a message.
    ///
    /// # Errors
    /// For people: why a field of this kind cannot hold such a value.
    pub(crate) fn new(format: Format, unit: Option<Unit>, kind: Kind, message: Option<&str>) -> Result<Self, String> {
        let sort = format.sort();
        let becomes = match (kind, message) {
            (Kind::Message(_), Some("google.protobuf.Timestamp")) if sort == Sort::Time => Becomes::Time,
            (Kind::Message(_), Some("google.protobuf.Duration")) if sort == Sort::Duration => Becomes::Duration,
            (Kind::String, _) => Becomes::Text,
            (Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 | Kind::Uint64 | Kind::Fixed64, _) if sort != Sort::Text => {
                let problem = "an integer field needs a unit: seconds, milliseconds or microseconds";
                Becomes::Integer(unit.ok_or(problem)?)
            }
            _ => {
                return Err(match sort {
                    Sort::Time => "a time needs a field of type google.protobuf.Timestamp, string or int64",
                    Sort::Duration => "a duration needs a field of type google.protobuf.Duration, string or int64",
                    Sort::Text => "text needs a field of type string",
                }
                .to_owned());
            }
        };
        match (unit, becomes) {
            (Some(_), Becomes::Time | Becomes::Duration | Becomes::Text) => Err("a unit is for integer fields only".to_owned()),
            _ => Ok(Self { format, becomes }),
        }
    }

    /// What a value looks like, for messages to people.
    pub(crate) fn expected(self) -> &'static str {
        match self.format {
            Format::Rfc3339 => "a time with its offset, such as \"2026-04-05T10:30:00Z\"",
            Format::Utc => "a time without an offset, such as \"2026-04-05T10:30:00\" or \"2026-04-05 10:30:00\"",
            Format::Date => "a day such as \"2026-04-05\"",
            Format::Rfc2822 => "a time such as \"Sun, 05 Apr 2026 10:30:00 GMT\"",
            Format::Unix => "seconds since 1970, such as 1775385000 or \"1775385000.000005\"",
            Format::UnixMs => "milliseconds since 1970, such as 1775385000000",
            Format::UnixUs => "microseconds since 1970, such as 1775385000000000",
            Format::Seconds => "seconds, such as 90 or \"1.5\"",
            Format::Milliseconds => "milliseconds, such as 1500",
            Format::Iso8601 => "a duration such as \"PT5M\" or \"P1DT12H\", without months and years",
            Format::Units => "a duration such as \"90s\", \"1h30m\" or \"250ms\"",
            Format::Text => "a string, a number, true or false",
        }
    }

    /// Reads a JSON value. `None` if it is not in the format, or beyond what the field can hold.
    pub(crate) fn read<'a>(self, json: &'a str) -> Option<Read<'a>> {
        let text = scalar(json)?;
        if self.format == Format::Text {
            return Some(Read::Text(text));
        }
        // A flag is neither a time nor a duration.
        let nanos = self.format.nanos(&text)?;
        Some(match self.becomes {
            Becomes::Time => Read::Parts { seconds: seconds(nanos.div_euclid(SECOND))?, nanos: subseconds(nanos.rem_euclid(SECOND))? },
            Becomes::Duration => Read::Parts { seconds: seconds(nanos / SECOND)?, nanos: subseconds(nanos % SECOND)? },
            Becomes::Text if self.format.sort() == Sort::Time => Read::Text(Timestamp::from_nanosecond(nanos).ok()?.to_string().into()),
            Becomes::Text => Read::Text(decimal_seconds(nanos).into()),
            Becomes::Integer(unit) => Read::Integer(seconds(nanos.div_euclid(unit.nanos()))?),
        })
    }
}

impl Unit {
    fn nanos(self) -> i128 {
        match self {
            Self::Seconds => SECOND,
            Self::Milliseconds => 1_000_000,
            Self::Microseconds => 1_000,
        }
    }
}

impl Format {
    fn sort(self) -> Sort {
        match self {
            Self::Rfc3339 | Self::Utc | Self::Date | Self::Rfc2822 | Self::Unix | Self::UnixMs | Self::UnixUs => Sort::Time,
            Self::Seconds | Self::Milliseconds | Self::Iso8601 | Self::Units => Sort::Duration,
            Self::Text => Sort::Text,
        }
    }

    fn nanos(self, text: &str) -> Option<i128> {
        match self {
            Self::Rfc3339 => rfc3339(text),
            // Jiff would read past an offset.
            Self::Utc if !text.get(DAY..)?.contains(['+', '-', '[']) => at_utc(text.parse().ok()?),
            // A time would be lost without a word.
            Self::Date if text.len() == DAY => at_utc(text.parse::<civil::Date>().ok()?.to_datetime(civil::Time::midnight())),
            Self::Rfc2822 => within_times(rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?.as_nanosecond()),
            Self::Unix => within_times(decimal(text, SECOND)?),
            Self::UnixMs => within_times(decimal(text, 1_000_000)?),
            Self::UnixUs => within_times(decimal(text, 1_000)?),
            Self::Seconds => within_durations(decimal(text, SECOND)?),
            Self::Milliseconds => within_durations(decimal(text, 1_000_000)?),
            Self::Iso8601 => within_durations(iso8601(text)?),
            Self::Units => within_durations(units(text)?),
            Self::Utc | Self::Date | Self::Text => None,
        }
    }
}

/// A time with its offset, in nanoseconds since 1970, if a `Timestamp` can hold it.
pub(crate) fn rfc3339(text: &str) -> Option<i128> {
    within_times(text.parse::<Timestamp>().ok()?.as_nanosecond())
}

/// The text of a JSON scalar; `None` for null, arrays and objects.
fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn within_times(nanos: i128) -> Option<i128> {
    TIMES.contains(&nanos).then_some(nanos)
}

fn within_durations(nanos: i128) -> Option<i128> {
    DURATIONS.contains(&nanos).then_some(nanos)
}

fn seconds(seconds: i128) -> Option<i64> {
    i64::try_from(seconds).ok()
}

fn subseconds(nanos: i128) -> Option<i32> {
    i32::try_from(nanos).ok()
}

fn at_utc(time: civil::DateTime) -> Option<i128> {
    within_times(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_nanosecond())
}

/// A decimal number of something that has so many nanoseconds; what is finer than a nanosecond is cut.
fn decimal(text: &str, nanos: i128) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    if whole.is_empty() || fraction.is_empty() || whole.len() + fraction.len() > MAX_DIGITS {
        return None;
    }
    let digits = whole.bytes().chain(fraction.bytes());
    let number =
        digits.into_iter().try_fold(0_i128, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i128::from(byte - b'0')))?;
    let shift = exponent.saturating_sub(i32::try_from(fraction.len()).ok()?);
    let amount = number.checked_mul(nanos)?;
    let shifted = match 10_i128.checked_pow(shift.unsigned_abs()) {
        Some(power) if shift < 0 => amount / power,
        Some(power) => amount.checked_mul(power)?,
        None if shift < 0 => 0,
        None => return None,
    };
    Some(sign * shifted)
}

/// More than any time or duration has, and so few that a number of them fits with its nanoseconds.
const MAX_DIGITS: usize = 28;

/// `-P1W2DT3H4M5.6S`.
fn iso8601(text: &str) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let text = text.strip_prefix('P')?;
    let (days, time) = text.split_once('T').map_or((text, None), |(days, time)| (days, Some(time)));
    if days.is_empty() && time.is_none() || time == Some("") {
        return None;
    }
    let days = amounts(days, &[("W", 7 * 86_400 * SECOND), ("D", 86_400 * SECOND)])?;
    let time = amounts(time.unwrap_or_default(), &[("H", 3_600 * SECOND), ("M", 60 * SECOND), ("S", SECOND)])?;
    Some(sign * days.checked_add(time)?)
}

/// `1h30m`, `90s`, `-1.5h`.
fn units(text: &str) -> Option<i128> {
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    if text.is_empty() {
        return None;
    }
    let known = [
        ("d", 86_400 * SECOND),
        ("h", 3_600 * SECOND),
        ("m", 60 * SECOND),
        ("s", SECOND),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("µs", 1_000),
        ("ns", 1),
    ];
    Some(sign * amounts(text, &known)?)
}

/// Amounts with their units, each unit once and in order.
fn amounts(mut text: &str, units: &[(&str, i128)]) -> Option<i128> {
    let (mut total, mut units) = (0_i128, units);
    while !text.is_empty() {
        let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (amount, rest) = text.split_at(end);
        let unit = rest.split(|c: char| c.is_ascii_digit() || c == ' ').next()?;
        let at = units.iter().position(|(name, _)| *name == unit)?;
        total = total.checked_add(decimal(amount, units[at].1)?)?;
        units = &units[at + 1..];
        text = rest[unit.len()..].trim_start_matches(' ');
    }
    Some(total)
}

/// A duration as proto3 JSON has it: `1.5s`.
fn decimal_seconds(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, fraction) = (nanos.abs() / SECOND, nanos.abs() % SECOND);
    let fraction = format!("{fraction:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}s"),
        fraction => format!("{sign}{whole}.{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    const AT: i64 = 1_775_385_000;

    fn time(format: Format, json: &str) -> Option<(i64, i32)> {
        parts(Reading::new(format, None, Kind::Message(0), Some("google.protobuf.Timestamp")).unwrap(), json)
    }

    fn duration(format: Format, json: &str) -> Option<(i64, i32)> {
        parts(Reading::new(format, None, Kind::Message(0), Some("google.protobuf.Duration")).unwrap(), json)
    }

    fn parts(reading: Reading, json: &str) -> Option<(i64, i32)> {
        match reading.read(json)? {
            Read::Parts { seconds, nanos } => Some((seconds, nanos)),
            Read::Text(_) | Read::Integer(_) => None,
        }
    }

    #[test]
    fn a_time_is_read_as_its_provider_writes_it_and_in_no_other_way() {
        use Format::{Date, Rfc2822, Rfc3339, Unix, UnixMs, UnixUs, Utc};
        for (format, json, expected) in [
            (Rfc3339, r#""2026-04-05T10:30:00Z""#, Some((AT, 0))),
            (Rfc3339, r#""2026-04-05T12:30:00.25+02:00""#, Some((AT, 250_000_000))),
            (Rfc3339, r#""2026-04-05T12:30:00.250+0200""#, Some((AT, 250_000_000))),
            (Rfc3339, r#""2026-04-05T10:30:00""#, None),
            (Rfc3339, "1775385000", None),
            (Utc, r#""2026-04-05T10:30:00""#, Some((AT, 0))),
            (Utc, r#""2026-04-05 10:30:00.5""#, Some((AT, 500_000_000))),
            (Utc, r#""2026-04-05T10:30:00Z""#, None),
            (Utc, r#""2026-04-05T10:30:00+02:00""#, None),
            (Utc, r#""2026-04-05T10:30:00+02:00[Europe/Berlin]""#, None),
            (Date, r#""2026-04-05""#, Some((AT - 37_800, 0))),
            (Date, r#""2026-04-05T10:30:00""#, None),
            (Date, r#""20260405""#, None),
            (Date, r#""2026-02-30""#, None),
            (Rfc2822, r#""Sun, 05 Apr 2026 10:30:00 GMT""#, Some((AT, 0))),
            (Rfc2822, r#""Sun, 5 Apr 2026 12:30:00 +0200""#, Some((AT, 0))),
            (Rfc2822, r#""tomorrow""#, None),
            (Unix, "1775385000", Some((AT, 0))),
            (Unix, r#""1775385000""#, Some((AT, 0))),
            (Unix, r#""1355517523.000005""#, Some((1_355_517_523, 5_000))),
            (Unix, "1355517523.000005", Some((1_355_517_523, 5_000))),
            (Unix, "1.7753850001234567e9", Some((AT, 123_456_700))),
            (Unix, "17753850000E-1", Some((AT, 0))),
            (Unix, "-1.5", Some((-2, 500_000_000))),
            (Unix, "0.0000000019", Some((0, 1))),
            (Unix, "1e-2147483648", Some((0, 0))),
            (Unix, "1e2147483647", None),
            (Unix, "1775385000000000", None),
            (Unix, "true", None),
            (Unix, r#""""#, None),
            (Unix, r#""1.""#, None),
            (Unix, r#"".5""#, None),
            (Unix, r#""0x10""#, None),
            (Unix, "null", None),
            (Unix, "[1]", None),
            (UnixMs, "1775385000250", Some((AT, 250_000_000))),
            (UnixMs, r#""1775385000250""#, Some((AT, 250_000_000))),
            (UnixUs, "1775385000000005", Some((AT, 5_000))),
        ] {
            assert_eq!(time(format, json), expected, "{format:?} {json}");
        }
    }

    #[test]
    fn a_duration_is_read_as_its_provider_writes_it_and_in_no_other_way() {
        use Format::{Iso8601, Milliseconds, Seconds, Units};
        for (format, json, expected) in [
            (Seconds, "90", Some((90, 0))),
            (Seconds, r#""-1.5""#, Some((-1, -500_000_000))),
            (Seconds, "315576000001", None),
            (Milliseconds, "1500", Some((1, 500_000_000))),
            (Iso8601, r#""PT5M""#, Some((300, 0))),
            (Iso8601, r#""P1W2DT3H4M5.5S""#, Some((788_645, 500_000_000))),
            (Iso8601, r#""-PT1H""#, Some((-3_600, 0))),
            (Iso8601, r#""P1M""#, None),
            (Iso8601, r#""PT1M1H""#, None),
            (Iso8601, r#""P1DT""#, None),
            (Iso8601, r#""P""#, None),
            (Iso8601, r#""5M""#, None),
            (Units, r#""90s""#, Some((90, 0))),
            (Units, r#""1h30m""#, Some((5_400, 0))),
            (Units, r#""1h 30m""#, Some((5_400, 0))),
            (Units, r#""1.5h""#, Some((5_400, 0))),
            (Units, r#""250ms""#, Some((0, 250_000_000))),
            (Units, r#""5µs""#, Some((0, 5_000))),
            (Units, r#""90""#, None),
            (Units, r#""""#, None),
            (Units, r#""1 fortnight""#, None),
        ] {
            assert_eq!(duration(format, json), expected, "{format:?} {json}");
        }
    }

    #[test]
    fn a_field_of_another_type_holds_it_in_the_way_that_was_asked_for() {
        let read = |format, unit, kind, json| Reading::new(format, unit, kind, None).unwrap().read(json);
        let text = |text: &str| Some(Read::Text(text.to_owned().into()));
        assert_eq!(read(Format::Unix, None, Kind::String, "1775385000.25"), text("2026-04-05T10:30:00.25Z"));
        assert_eq!(read(Format::Iso8601, None, Kind::String, r#""PT1M30.5S""#), text("90.5s"));
        assert_eq!(read(Format::Seconds, None, Kind::String, "-0.25"), text("-0.25s"));
        assert_eq!(read(Format::Text, None, Kind::String, "820982911946154508"), text("820982911946154508"));
        assert_eq!(read(Format::Text, None, Kind::String, "1.10"), text("1.10"));
        assert_eq!(read(Format::Text, None, Kind::String, r#""caf\u00e9""#), text("café"));
        let at = r#""2026-04-05T10:30:00.25Z""#;
        assert_eq!(read(Format::Rfc3339, Some(Unit::Milliseconds), Kind::Int64, at), Some(Read::Integer(AT * 1_000 + 250)));
        assert_eq!(read(Format::Rfc3339, Some(Unit::Seconds), Kind::Int64, at), Some(Read::Integer(AT)));

        let refused = |format, unit, kind| Reading::new(format, unit, kind, None).unwrap_err();
        assert!(refused(Format::Unix, None, Kind::Int64).contains("needs a unit"));
        assert!(refused(Format::Unix, Some(Unit::Seconds), Kind::String).contains("a unit is for integer fields only"));
        assert!(refused(Format::Unix, None, Kind::Bool).contains("google.protobuf.Timestamp"));
        assert!(refused(Format::Units, None, Kind::Double).contains("google.protobuf.Duration"));
        assert!(refused(Format::Text, None, Kind::Int64).contains("type string"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_format_panic_and_what_it_reads_is_within_bounds(text in "[-+0-9.eEPTWDHMSZ:µsmhun \\[\\]]{0,40}|\\PC{0,20}") {
            use Format::*;
            let json = serde_json::Value::from(text.clone()).to_string();
            for json in [&json, &text] {
                for format in [Rfc3339, Utc, Date, Rfc2822, Unix, UnixMs, UnixUs] {
                    if let Some((seconds, nanos)) = time(format, json) {
                        prop_assert!((-62_135_596_800..253_402_300_800).contains(&seconds) && (0..1_000_000_000).contains(&nanos));
                    }
                }
                for format in [Seconds, Milliseconds, Iso8601, Units] {
                    if let Some((seconds, nanos)) = duration(format, json) {
                        prop_assert!(seconds.abs() <= 315_576_000_000 && nanos.abs() < 1_000_000_000);
                        prop_assert!(seconds.signum() * i64::from(nanos.signum()) >= 0);
                    }
                }
            }
        }

        #[test]
        fn every_nanosecond_of_a_unix_time_is_kept(seconds in -62_135_596_800_i64..253_402_300_800, nanos in 0..1_000_000_000_i32) {
            let text = if seconds < 0 && nanos > 0 {
                format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos)
            } else {
                format!("{seconds}.{nanos:09}")
            };
            prop_assert_eq!(time(Format::Unix, &text), Some((seconds, nanos)));
        }
    }
}
