//! Encoded bytes against a plan: does it decode, and does it have its required fields?
//!
//! Constraints:
//! - Nothing is decoded into a message: one pass over the bytes, no allocation unless something is wrong.
//! - What counts as missing is what `waypost/v1/options.proto` says, for the last occurrence of a field, which is the one that counts.

use std::borrow::Cow;

use bytes::Buf;
use prost::{
    DecodeError, Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use prost_reflect::DynamicMessage;

use super::{
    FieldPath, PathStep, Schemas,
    path::Step,
    plan::{FieldPlan, FieldShape, Form, Kind, MessageId, MessagePlan, Plans},
};

/// What the data of an event is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", if path.0.is_empty() { message.clone() } else { format!("{message}.{}", path.dotted()) })]
pub struct InvalidData {
    /// The full name of the message that it should be.
    pub message: String,
    /// Where in the message; empty for the whole.
    pub path: FieldPath,
    /// What is wrong.
    pub problem: String,
    /// Whether a required field is missing, rather than the bytes being wrong.
    pub missing: bool,
}

/// Whether the broker knows a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// It does, and the data is one.
    Registered,
    /// It does not: the data was not looked at.
    Unregistered,
}

/// As prost: deeper messages are refused.
pub(crate) const MAX_DEPTH: usize = 100;

impl Schemas {
    /// Checks the data of a published event: it must decode as its type and have its required fields; a `JsonPayload` must hold JSON.
    ///
    /// # Errors
    /// [`InvalidData`] names the first field that is wrong.
    pub fn check(&self, type_url: &str, value: &[u8]) -> Result<Registration, InvalidData> {
        let name = waypost_proto::full_name(type_url);
        let Some(id) = self.message_id(name) else { return Ok(Registration::Unregistered) };
        check_message(&self.plans, id, value)?;
        if name == <waypost_proto::v1::JsonPayload as prost::Name>::full_name() {
            check_json_payload(name, value)?;
        }
        Ok(Registration::Registered)
    }
}

fn check_json_payload(name: &str, value: &[u8]) -> Result<(), InvalidData> {
    let json = waypost_proto::v1::JsonPayload::decode(value).map_err(|error| error.to_string()).and_then(|payload| {
        let text = str::from_utf8(&payload.json).map_err(|error| error.to_string())?;
        serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| error.to_string())
    });
    json.map(drop).map_err(|problem| InvalidData {
        message: name.to_owned(),
        path: FieldPath(vec![PathStep::Name("json".to_owned())]),
        problem: format!("is not JSON: {problem}"),
        missing: false,
    })
}

/// Checks an encoded message against its plan.
pub(crate) fn check_message(plans: &Plans, id: MessageId, value: &[u8]) -> Result<(), InvalidData> {
    let mut check = Check { plans, path: Vec::new() };
    let fault = match check.message(id, value, 0) {
        Ok(()) => return Ok(()),
        // What is missing in one piece may be in another.
        Err(Fault::Split | Fault::Missing) => match whole(plans.get(id), value) {
            Ok(whole) => {
                check.path.clear();
                match check.message(id, &whole, 0) {
                    Ok(()) => return Ok(()),
                    Err(fault) => fault,
                }
            }
            Err(error) => error.into(),
        },
        Err(fault) => fault,
    };
    let (problem, missing) = match fault {
        Fault::Missing => ("is required and missing".to_owned(), true),
        Fault::Wrong(problem) => (problem, false),
        Fault::Split => ("occurs twice".to_owned(), false),
    };
    Err(InvalidData { message: plans.get(id).descriptor.full_name().to_owned(), path: check.path.into(), problem, missing })
}

/// The same message with every field in one piece: encoders may split a message, and its parts count together.
fn whole(plan: &MessagePlan, value: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(DynamicMessage::decode(plan.descriptor.clone(), value)?.encode_to_vec())
}

enum Fault {
    Missing,
    Wrong(String),
    Split,
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        Self::Wrong(format!("does not decode: {error}"))
    }
}

struct Check<'a> {
    plans: &'a Plans,
    /// Left where it is when something is wrong.
    path: Vec<Step<'a>>,
}

impl<'a> Check<'a> {
    fn message(&mut self, id: MessageId, mut bytes: &[u8], depth: usize) -> Result<(), Fault> {
        let plan = self.plans.get(id);
        if depth > MAX_DEPTH {
            return Err(Fault::Wrong(format!("is nested more than {MAX_DEPTH} deep")));
        }
        if plan.form == Form::Reflected {
            DynamicMessage::decode(plan.descriptor.clone(), bytes)?;
            return Ok(());
        }
        let mut present = 0_u128;
        let mut counts = Vec::new();
        while bytes.has_remaining() {
            let (number, wire) = decode_key(&mut bytes)?;
            let Some(index) = plan.index_by_number(number) else {
                skip_field(wire, number, &mut bytes, DecodeContext::default())?;
                continue;
            };
            let field = &plan.fields[index];
            self.path.push(Step::Name(Cow::Borrowed(&field.name)));
            let count = if field.shape == FieldShape::One { 0 } else { count(&mut counts, plan.fields.len(), index) };
            let before = present & (1 << index) != 0;
            let carries = self.field(field, wire, &mut bytes, before, count, depth)?;
            let keeps = before && field.shape != FieldShape::One;
            present = if carries || keeps { present | 1 << index } else { present & !(1 << index) };
            self.path.pop();
        }
        for (index, field) in plan.fields.iter().enumerate() {
            if field.required && present & (1 << index) == 0 {
                self.path.push(Step::Name(Cow::Borrowed(&field.name)));
                return Err(Fault::Missing);
            }
        }
        Ok(())
    }

    /// One occurrence of a field. Answers whether it carries a value, as "required" means it.
    fn field(
        &mut self,
        field: &'a FieldPlan,
        wire: WireType,
        bytes: &mut &[u8],
        before: bool,
        count: usize,
        depth: usize,
    ) -> Result<bool, Fault> {
        let expected = field.kind.wire_type();
        if wire == WireType::LengthDelimited && expected != wire && matches!(field.shape, FieldShape::List { .. }) {
            let mut packed = delimited(bytes)?;
            let filled = packed.has_remaining();
            while packed.has_remaining() {
                scalar(expected, &mut packed)?;
            }
            return Ok(filled);
        }
        if wire != expected {
            return Err(Fault::Wrong(format!(
                "has wire type {wire:?} where {expected:?} belongs: compare the versions of the .proto file"
            )));
        }
        match field.kind {
            Kind::Message(inner) => {
                let value = delimited(bytes)?;
                match field.shape {
                    FieldShape::One if before => return Err(Fault::Split),
                    FieldShape::One => self.message(inner, value, depth + 1)?,
                    FieldShape::List { .. } | FieldShape::Map => {
                        self.path.push(Step::Index(count));
                        self.message(inner, value, depth + 1)?;
                        self.path.pop();
                    }
                }
                Ok(true)
            }
            Kind::String => {
                let value = delimited(bytes)?;
                str::from_utf8(value).map_err(|error| Fault::Wrong(format!("is not UTF-8: {error}")))?;
                Ok(field.presence || field.shape != FieldShape::One || !value.is_empty())
            }
            Kind::Bytes => Ok(!delimited(bytes)?.is_empty() || field.presence || field.shape != FieldShape::One),
            _ => Ok(scalar(expected, bytes)? || field.presence || field.shape != FieldShape::One),
        }
    }
}

fn count(counts: &mut Vec<usize>, fields: usize, index: usize) -> usize {
    counts.resize(fields, 0);
    counts[index] += 1;
    counts[index] - 1
}

/// Reads a value that has no length. Answers whether it is another than zero.
fn scalar(wire: WireType, bytes: &mut &[u8]) -> Result<bool, Fault> {
    let end = || Fault::Wrong("does not decode: it ends too early".to_owned());
    Ok(match wire {
        WireType::Varint => decode_varint(bytes)? != 0,
        WireType::ThirtyTwoBit => bytes.try_get_u32_le().map_err(|_| end())? != 0,
        _ => bytes.try_get_u64_le().map_err(|_| end())? != 0,
    })
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let length = usize::try_from(decode_varint(bytes)?).unwrap_or(usize::MAX);
    let Some((value, rest)) = bytes.split_at_checked(length) else {
        return Err(Fault::Wrong("does not decode: it ends too early".to_owned()));
    };
    *bytes = rest;
    Ok(value)
}
