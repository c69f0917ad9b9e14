//! The kinds of values a configuration file holds, each written the way people write it.
//!
//! Constraints: what is written is what `Display` gives back; an error names the text, and an example of what would be right; nothing
//! overflows.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// A text that is not a value of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not {1}")]
pub struct InvalidValue(String, &'static str);

/// A length of time: a whole number and a unit, `500ms`, `30s`, `10m`, `72h` or `7d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

const SPAN_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SPAN_HELP: &str = "a length of time: a whole number and one of ms, s, m, h, d, such as \"30s\", \"10m\" or \"7d\"";

impl Span {
    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// In microseconds, as the store counts time.
    #[must_use]
    pub fn micros(self) -> u64 {
        u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Span {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        number_and_unit(text, &SPAN_UNITS).map(Self::from_millis).ok_or_else(|| InvalidValue(text.to_owned(), SPAN_HELP))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write_with_unit(f, millis, &SPAN_UNITS)
    }
}

/// An amount of bytes: a whole number and a unit, `512B`, `64KiB`, `1MiB`, `10GiB` or `2TiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

const SIZE_UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const SIZE_HELP: &str = "a size: a whole number and one of B, KiB, MiB, GiB, TiB, such as \"64KiB\" or \"10GiB\"";

impl Size {
    /// From bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// In bytes, for a buffer in memory.
    #[must_use]
    pub fn to_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for Size {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        number_and_unit(text, &SIZE_UNITS).map(Self).ok_or_else(|| InvalidValue(text.to_owned(), SIZE_HELP))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, &SIZE_UNITS)
    }
}

/// A part of a whole, `0%` to `100%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u8);

impl Share {
    /// This part of an amount, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        // Two steps instead of one product, which could overflow.
        whole / 100 * u64::from(self.0) + whole % 100 * u64::from(self.0) / 100
    }
}

impl FromStr for Share {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let percent = number_and_unit(text, &[("%", 1)]).and_then(|percent| u8::try_from(percent).ok());
        let help = "a share from \"0%\" to \"100%\", in whole percent";
        percent.filter(|percent| *percent <= 100).map(Self).ok_or_else(|| InvalidValue(text.to_owned(), help))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// An address to listen on: an IP address and a port, `127.0.0.1:8480` or `[::1]:8480`. Port 0 takes a free one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(SocketAddr);

impl Address {
    /// As the standard library has it.
    #[must_use]
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Address {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let help = "an address to listen on: an IP address and a port, such as \"127.0.0.1:8480\" or \"[::1]:8480\"";
        // The one name whose meaning needs no resolver.
        let numeric = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        numeric.as_deref().unwrap_or(text).parse().map(Self).map_err(|_| InvalidValue(text.to_owned(), help))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'_').count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    number.replace('_', "").parse::<u64>().ok()?.checked_mul(factor)
}

/// In the largest unit that needs no fraction.
fn write_with_unit(f: &mut fmt::Formatter<'_>, value: u64, units: &[(&str, u64)]) -> fmt::Result {
    let whole = |(_, factor): &&(&str, u64)| *factor == 1 || (value != 0 && value.is_multiple_of(*factor));
    match units.iter().rev().find(whole) {
        Some((unit, factor)) => write!(f, "{}{unit}", value / factor),
        None => write!(f, "{value}"),
    }
}

macro_rules! deserialize_from_str {
    ($($kind:ty),*) => { $(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )* };
}
deserialize_from_str!(Span, Size, Share, Address);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn values_are_shown_as_they_are_written() {
        for text in ["500ms", "30s", "10m", "72h", "7d"] {
            let shown = text.parse::<Span>().unwrap().to_string();
            assert_eq!(shown, if text == "72h" { "3d" } else { text });
        }
        for text in ["0B", "512B", "64KiB", "1MiB", "10GiB", "2TiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("80%".parse::<Share>().unwrap().to_string(), "80%");
        assert_eq!("localhost:0".parse::<Address>().unwrap().to_string(), "127.0.0.1:0");
    }

    #[test]
    fn values_mean_what_they_say() {
        assert_eq!("10m".parse::<Span>().unwrap().get(), Duration::from_secs(600));
        assert_eq!("1_000 s".parse::<Span>().unwrap().micros(), 1_000_000_000);
        assert_eq!("3MiB".parse::<Size>().unwrap().bytes(), 3 << 20);
        let share: Share = "80%".parse().unwrap();
        assert_eq!((share.of(1_000), share.of(99)), (800, 79));
        assert_eq!("100%".parse::<Share>().unwrap().of(u64::MAX), u64::MAX);
    }

    #[test]
    fn what_is_wrong_is_told_with_an_example() {
        for text in ["", "30", "s", "3 weeks", "-1s", "1.5h", "99999999999999999d", "30S"] {
            assert!(text.parse::<Span>().unwrap_err().to_string().contains("\"30s\""), "{text}");
        }
        for text in ["10", "10GB", "1 mib", "99999999TiB"] {
            assert!(text.parse::<Size>().unwrap_err().to_string().contains("\"10GiB\""), "{text}");
        }
        for text in ["101%", "80", "%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        for text in ["8480", "example.com:1", "127.0.0.1", "127.0.0.1:70000"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
