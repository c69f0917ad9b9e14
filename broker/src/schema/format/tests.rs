//! Times and durations as providers write them, read exactly or not at all.

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
