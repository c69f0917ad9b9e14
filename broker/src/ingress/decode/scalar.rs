//! A JSON value as a protobuf scalar, written to the wire.
//!
//! Constraints: what proto3 JSON accepts for a kind, and nothing else: numbers also as strings, exact or refused, never rounded (except to
//! the precision of `float`).

use base64::{
    Engine as _,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::BufMut;
use prost::encoding::encode_varint;

use crate::schema::plan::{Kind, Plans};

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

/// A JSON value that is no object and no array.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text(&'a str),
}

/// Why a value does not fit its field; the caller says what would.
#[derive(Debug)]
pub(super) struct Unfit(pub(super) String);

/// Writes the value of a field, without its tag. Answers whether it is the default value of the kind.
pub(super) fn write(plans: &Plans, kind: Kind, value: Scalar<'_>, out: &mut Vec<u8>) -> Result<bool, Unfit> {
    let at = out.len();
    match kind {
        Kind::Bool => match value {
            Scalar::Bool(value) => out.push(u8::from(value)),
            _ => return Err(unfit(value)),
        },
        Kind::String => match value {
            Scalar::Text(text) => {
                encode_varint(text.len() as u64, out);
                out.put_slice(text.as_bytes());
            }
            _ => return Err(unfit(value)),
        },
        Kind::Bytes => match value {
            Scalar::Text(text) => {
                let bytes = BASE64.decode(text).or_else(|_| BASE64_URL.decode(text)).map_err(|_| unfit(value))?;
                encode_varint(bytes.len() as u64, out);
                out.put_slice(&bytes);
            }
            _ => return Err(unfit(value)),
        },
        Kind::Enum(id) => {
            let number = match value {
                Scalar::Text(name) => {
                    plans.enum_number(id, name).ok_or_else(|| Unfit(format!("{name:?} is none of {}", plans.enum_names(id).join(", "))))?
                }
                _ => integer(value)?,
            };
            encode_varint(i64::from(number).cast_unsigned(), out);
        }
        Kind::Double => out.put_f64_le(double(value)?),
        Kind::Float => out.put_f32_le(float(value)?),
        Kind::Int32 => encode_varint(i64::from(integer::<i32>(value)?).cast_unsigned(), out),
        Kind::Int64 => encode_varint(integer::<i64>(value)?.cast_unsigned(), out),
        Kind::Uint32 => encode_varint(u64::from(integer::<u32>(value)?), out),
        Kind::Uint64 => encode_varint(integer(value)?, out),
        Kind::Sint32 => {
            let value: i32 = integer(value)?;
            encode_varint(u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()), out);
        }
        Kind::Sint64 => {
            let value: i64 = integer(value)?;
            encode_varint(((value << 1) ^ (value >> 63)).cast_unsigned(), out);
        }
        Kind::Fixed32 => out.put_u32_le(integer(value)?),
        Kind::Fixed64 => out.put_u64_le(integer(value)?),
        Kind::Sfixed32 => out.put_i32_le(integer(value)?),
        Kind::Sfixed64 => out.put_i64_le(integer(value)?),
        Kind::Message(_) => return Err(unfit(value)),
    }
    // Zero, false and the empty text all have only zero bytes; nothing else has.
    Ok(out[at..].iter().all(|byte| *byte == 0))
}

/// What a value is, for messages to people. A string is not repeated: it may be long, or private.
fn unfit(value: Scalar<'_>) -> Unfit {
    Unfit(match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Signed(value) => value.to_string(),
        Scalar::Unsigned(value) => value.to_string(),
        Scalar::Float(value) => value.to_string(),
        Scalar::Text(_) => "a string that is none".to_owned(),
    })
}

fn integer<T: TryFrom<i64> + TryFrom<u64>>(value: Scalar<'_>) -> Result<T, Unfit> {
    let found = match value {
        Scalar::Signed(number) => T::try_from(number).ok(),
        Scalar::Unsigned(number) => T::try_from(number).ok(),
        Scalar::Float(number) => whole(number).and_then(|number| T::try_from(number).ok()),
        Scalar::Text(text) => match (text.parse::<i64>(), text.parse::<u64>()) {
            (Ok(number), _) => T::try_from(number).ok(),
            (_, Ok(number)) => T::try_from(number).ok(),
            // `1.0` and `1e3` are integers too.
            _ => plain_number(text).and_then(whole).and_then(|number| T::try_from(number).ok()),
        },
        Scalar::Bool(_) => None,
    };
    found.ok_or_else(|| unfit(value))
}

/// An integer that was written with a point or an exponent: exact below 2^53, beyond it is not known what was meant.
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    (number.fract() == 0.0 && number.abs() < EXACT).then_some(number as i64)
}

fn plain_number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|_| plain)
}

fn double(value: Scalar<'_>) -> Result<f64, Unfit> {
    #[expect(clippy::cast_precision_loss, reason = "what a JSON number is to a double field")]
    match value {
        Scalar::Signed(number) => Ok(number as f64),
        Scalar::Unsigned(number) => Ok(number as f64),
        Scalar::Float(number) => Ok(number),
        Scalar::Text("NaN") => Ok(f64::NAN),
        Scalar::Text("Infinity") => Ok(f64::INFINITY),
        Scalar::Text("-Infinity") => Ok(f64::NEG_INFINITY),
        Scalar::Text(text) => plain_number(text).filter(|number| number.is_finite()).ok_or_else(|| unfit(value)),
        Scalar::Bool(_) => Err(unfit(value)),
    }
}

fn float(value: Scalar<'_>) -> Result<f32, Unfit> {
    let wide = double(value)?;
    #[expect(clippy::cast_possible_truncation, reason = "to the precision of the field, which is what it asks for")]
    let narrow = wide as f32;
    if narrow.is_finite() || !wide.is_finite() { Ok(narrow) } else { Err(unfit(value)) }
}
