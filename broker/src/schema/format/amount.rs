//! Amounts of time in texts: decimal numbers, ISO 8601, and numbers with their units.
//!
//! Constraint: every amount is a whole number of nanoseconds, computed in integers; one that does not fit is none.

use super::SECOND;

/// A decimal number of something that has so many nanoseconds; what is finer than a nanosecond is cut.
pub(super) fn decimal(text: &str, nanos: i128) -> Option<i128> {
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
pub(super) fn iso8601(text: &str) -> Option<i128> {
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
pub(super) fn units(text: &str) -> Option<i128> {
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
pub(super) fn decimal_seconds(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (whole, fraction) = (nanos.abs() / SECOND, nanos.abs() % SECOND);
    let fraction = format!("{fraction:09}");
    match fraction.trim_end_matches('0') {
        "" => format!("{sign}{whole}s"),
        fraction => format!("{sign}{whole}.{fraction}s"),
    }
}
