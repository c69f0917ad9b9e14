//! How providers write times, durations and ids where proto3 JSON would have them otherwise.
//!
//! Constraints:
//! - A value is read from its text, never through a floating-point number: exact to the nanosecond, and what is finer is cut.
//! - What is not in its format is refused; nothing is guessed from how large a number is.

mod amount;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use jiff::{Timestamp, civil, fmt::rfc2822, tz::TimeZone};
use serde::Deserialize;

use self::amount::{decimal, decimal_seconds, iso8601, units};
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
