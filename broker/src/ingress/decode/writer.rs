//! The wire side of decoding: what has been written, and where in the document that was.
//!
//! Constraints: what is preceded by its length is written in one pass and moved only when it is long; a field with its default value and
//! no presence is left out, as every encoder does.

use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};
use prost_reflect::{DeserializeOptions, DynamicMessage};
use serde::de::{Deserializer, Error};

use super::scalar::{self, Scalar};
use crate::schema::{
    FieldPath,
    format::{Read, Reading},
    path::Step,
    plan::{FieldPlan, FieldShape, MessagePlan, Plans},
};

pub(super) struct Writer<'p> {
    pub(super) plans: &'p Plans,
    pub(super) out: Vec<u8>,
    /// Left where it is when something is wrong.
    pub(super) path: Vec<Step<'p>>,
    /// A key that occurs twice.
    pub(super) duplicate: Option<FieldPath>,
    /// Whether every message so far is one that a check would have nothing against. Taken back when in doubt.
    pub(super) sound: bool,
}

impl<'p> Writer<'p> {
    /// For a document of that many bytes, which is seldom shorter than its message.
    pub(super) fn new(plans: &'p Plans, length: usize) -> Self {
        Self { plans, out: Vec::with_capacity(length), path: Vec::with_capacity(8), duplicate: None, sound: true }
    }

    /// Begins something that is preceded by its length. The end takes the place that is answered.
    pub(super) fn begin(&mut self) -> usize {
        self.out.push(0);
        self.out.len()
    }

    /// Most parts are short: one byte for the length was right, else the part moves up.
    pub(super) fn end(&mut self, start: usize) {
        let length = self.out.len() - start;
        let extra = encoded_len_varint(length as u64) - 1;
        if extra > 0 {
            self.out.resize(self.out.len() + extra, 0);
            self.out.copy_within(start..start + length, start + extra);
        }
        let mut prefix = &mut self.out[start - 1..start + extra];
        encode_varint(length as u64, &mut prefix);
    }

    pub(super) fn key(&mut self, field: &FieldPlan, wire: WireType) {
        encode_key(field.number, wire, &mut self.out);
    }

    /// A scalar; with a tag if it belongs to a field of its own.
    pub(super) fn scalar<E: Error>(&mut self, field: &FieldPlan, tagged: bool, value: Scalar<'_>) -> Result<(), E> {
        let at = self.out.len();
        if tagged {
            self.key(field, field.kind.wire_type());
        }
        match scalar::write(self.plans, field.kind, value, &mut self.out) {
            // The element of a list and the value of a map are written whatever they are.
            Ok(default) if default && !field.presence && field.shape == FieldShape::One => self.out.truncate(at),
            Ok(_) => {}
            Err(unfit) => return Err(E::custom(format_args!("found {}, expected {}", unfit.0, field.kind.expected()))),
        }
        Ok(())
    }

    /// A value in a format of its own.
    pub(super) fn read<E: Error>(&mut self, field: &FieldPlan, tagged: bool, reading: Reading, json: &str) -> Result<(), E> {
        match reading.read(json) {
            Some(Read::Text(text)) => self.scalar(field, tagged, Scalar::Text(&text)),
            Some(Read::Integer(number)) => self.scalar(field, tagged, Scalar::Signed(number)),
            Some(Read::Parts { seconds, nanos }) => {
                if tagged {
                    self.key(field, WireType::LengthDelimited);
                }
                let start = self.begin();
                self.parts(seconds, nanos)?;
                self.end(start);
                Ok(())
            }
            None => Err(E::custom(format_args!("expected {}", reading.expected()))),
        }
    }

    /// The fields of a `Timestamp` or a `Duration`, which are alike.
    pub(super) fn parts<E: Error>(&mut self, seconds: i64, nanos: i32) -> Result<(), E> {
        prost_types::Timestamp { seconds, nanos }.encode(&mut self.out).map_err(E::custom)
    }

    /// What prost-reflect knows better.
    pub(super) fn reflected<'de, D: Deserializer<'de>>(&mut self, plan: &MessagePlan, deserializer: D) -> Result<(), D::Error> {
        self.sound = false;
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let message = DynamicMessage::deserialize_with_options(plan.descriptor.clone(), deserializer, &options)?;
        message.encode(&mut self.out).map_err(D::Error::custom)
    }
}
