//! A JSON document to the wire, field by field, in one pass.
//!
//! Constraints:
//! - The grammar is serde_json's: its limits (128 deep) and its strictness. Only what is behind a value is ours.
//! - Fields are written in the order of the document.
//! - A key that occurs twice counts with its last value, and is reported: such a document is first reduced to the last of each key.

use std::{borrow::Cow, fmt};

use prost::encoding::WireType;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{DecodeError, containers::document, scalar::Scalar, writer::Writer};
use crate::schema::{
    FieldPath,
    check::MAX_DEPTH,
    format,
    path::Step,
    plan::{FieldPlan, FieldShape, Form, Kind, MessageId, MessagePlan, Plans},
};

/// A message, encoded.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// A key that occurs twice.
    pub(super) duplicate: Option<FieldPath>,
    /// Whether it is known to have its required fields and to be one that every decoder takes; if not, only a check can tell.
    pub(super) sound: bool,
}

/// What a document is to become.
#[derive(Clone, Copy)]
pub(super) enum Target<'p> {
    /// A message, without a tag.
    Message(MessageId),
    /// The value of a field, with its tag. A null leaves it out.
    Field(&'p FieldPlan),
}

/// Decodes a document.
pub(super) fn encode(plans: &Plans, target: Target<'_>, json: &str) -> Result<Encoded, DecodeError> {
    let mut writer = Writer::new(plans, json.len());
    let result = document(json, TargetSeed { writer: &mut writer, target });
    if let Some(duplicate) = writer.duplicate.take() {
        return reduced(plans, target, json, duplicate);
    }
    encoded(writer, result)
}

/// The slow way of a document with duplicate keys: a map keeps the last of each.
fn reduced(plans: &Plans, target: Target<'_>, json: &str, duplicate: FieldPath) -> Result<Encoded, DecodeError> {
    let mut writer = Writer::new(plans, json.len());
    let result =
        serde_json::from_str(json).and_then(|document: serde_json::Value| TargetSeed { writer: &mut writer, target }.deserialize(document));
    Ok(Encoded { duplicate: Some(duplicate), ..encoded(writer, result)? })
}

fn encoded(writer: Writer<'_>, result: Result<(), serde_json::Error>) -> Result<Encoded, DecodeError> {
    match result {
        Ok(()) => Ok(Encoded { bytes: writer.out, duplicate: None, sound: writer.sound }),
        Err(error) if error.is_data() => Err(DecodeError::Mismatch { path: writer.path.into(), problem: error.to_string() }),
        Err(error) => Err(DecodeError::Malformed(error.to_string())),
    }
}

struct TargetSeed<'w, 'p> {
    writer: &'w mut Writer<'p>,
    target: Target<'p>,
}

impl<'de> DeserializeSeed<'de> for TargetSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.target {
            Target::Message(id) => MessageSeed { writer: self.writer, id }.deserialize(deserializer),
            Target::Field(field) => FieldSeed { writer: self.writer, field }.deserialize(deserializer).map(drop),
        }
    }
}

/// A message without tag and length.
struct MessageSeed<'w, 'p> {
    writer: &'w mut Writer<'p>,
    id: MessageId,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let plan = self.writer.plans.get(self.id);
        match plan.form {
            Form::Fields => deserializer.deserialize_map(FieldsVisitor { writer: self.writer, plan }),
            Form::Timestamp => deserializer.deserialize_str(TimestampVisitor { writer: self.writer }),
            Form::Reflected => self.writer.reflected(plan, deserializer),
        }
    }
}

struct FieldsVisitor<'w, 'p> {
    writer: &'w mut Writer<'p>,
    plan: &'p MessagePlan,
}

impl<'de> Visitor<'de> for FieldsVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object for {}", self.plan.descriptor.full_name())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { writer, plan } = self;
        let (mut seen, mut carried, mut oneofs) = (0_u128, 0_u128, 0_u128);
        while let Some(index) = map.next_key_seed(KeySeed(plan))? {
            let Some(index) = index else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &plan.fields[index];
            writer.path.push(Step::Name(Cow::Borrowed(&field.name)));
            if seen & (1 << index) != 0 {
                // Decoded again from the reduced document, so that how this one ends does not matter.
                writer.duplicate = Some(std::mem::take(&mut writer.path).into());
                return Err(A::Error::custom("a duplicate key"));
            }
            seen |= 1 << index;
            let before = writer.out.len();
            let set = map.next_value_seed(FieldSeed { writer, field })?;
            // Whatever counts as missing is left out.
            carried |= u128::from(writer.out.len() > before) << index;
            if let (true, Some(oneof)) = (set, field.oneof) {
                if oneofs & (1 << oneof) != 0 {
                    return Err(A::Error::custom("another field of the same oneof is set as well; only one of them can be"));
                }
                oneofs |= 1 << oneof;
            }
            writer.path.pop();
        }
        writer.sound &= plan.required & !carried == 0 && writer.path.len() < MAX_DEPTH;
        Ok(())
    }
}

/// A key: the field that it means, if any.
struct KeySeed<'p>(&'p MessagePlan);

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.field_index(key))
    }
}

/// A field with its tag, whatever its shape. Answers whether it was set.
struct FieldSeed<'w, 'p> {
    writer: &'w mut Writer<'p>,
    field: &'p FieldPlan,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.kind.expected())
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        if !self.field.null_is_value {
            return Ok(false);
        }
        match self.field.kind {
            Kind::Message(_) => {
                self.writer.key(self.field, WireType::LengthDelimited);
                // google.protobuf.Value { null_value: NULL_VALUE }
                self.writer.out.extend_from_slice(&[2, 0x08, 0]);
            }
            _ => self.writer.scalar(self.field, true, Scalar::Signed(0))?,
        }
        Ok(true)
    }

    fn visit_none<E: Error>(self) -> Result<bool, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        let Self { writer, field } = self;
        match field.shape {
            FieldShape::One => ValueSeed { writer, field, tagged: true }.deserialize(deserializer)?,
            FieldShape::List { packed } => deserializer.deserialize_seq(ListVisitor { writer, field, packed })?,
            FieldShape::Map => deserializer.deserialize_map(MapVisitor { writer, field })?,
        }
        Ok(true)
    }
}

/// One value: of a singular field, of an element, of a map's entry.
struct ValueSeed<'w, 'p> {
    writer: &'w mut Writer<'p>,
    field: &'p FieldPlan,
    tagged: bool,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if let Some(reading) = self.field.reading {
            let json = Box::<RawValue>::deserialize(deserializer)?;
            return self.writer.read(self.field, self.tagged, reading, json.get());
        }
        let Kind::Message(id) = self.field.kind else { return deserializer.deserialize_any(self) };
        self.writer.key(self.field, WireType::LengthDelimited);
        let start = self.writer.begin();
        MessageSeed { writer: self.writer, id }.deserialize(deserializer)?;
        self.writer.end(start);
        Ok(())
    }
}

impl Visitor<'_> for ValueSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field.kind.expected())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.writer.scalar(self.field, self.tagged, Scalar::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.writer.scalar(self.field, self.tagged, Scalar::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.writer.scalar(self.field, self.tagged, Scalar::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.writer.scalar(self.field, self.tagged, Scalar::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.writer.scalar(self.field, self.tagged, Scalar::Text(value))
    }
}

struct ListVisitor<'w, 'p> {
    writer: &'w mut Writer<'p>,
    field: &'p FieldPlan,
    packed: bool,
}

impl<'de> Visitor<'de> for ListVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array, each element {}", self.field.kind.expected())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { writer, field, packed } = self;
        let before = writer.out.len();
        let start = packed.then(|| {
            writer.key(field, WireType::LengthDelimited);
            writer.begin()
        });
        let mut count = 0;
        writer.path.push(Step::Index(0));
        while list.next_element_seed(ValueSeed { writer, field, tagged: !packed })?.is_some() {
            count += 1;
            if let Some(step) = writer.path.last_mut() {
                *step = Step::Index(count);
            }
        }
        writer.path.pop();
        match start {
            Some(_) if count == 0 => writer.out.truncate(before),
            Some(start) => writer.end(start),
            None => {}
        }
        Ok(())
    }
}

struct MapVisitor<'w, 'p> {
    writer: &'w mut Writer<'p>,
    field: &'p FieldPlan,
}

impl<'de> Visitor<'de> for MapVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, as this is a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { writer, field } = self;
        let Kind::Message(entry) = field.kind else { return Err(A::Error::custom("a map without entries")) };
        let [key_field, value_field] = &*writer.plans.get(entry).fields else {
            return Err(A::Error::custom("a map whose entry is not a key and a value"));
        };
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            writer.key(field, WireType::LengthDelimited);
            let start = writer.begin();
            let value = match (&*key, key_field.kind) {
                ("true", Kind::Bool) => Scalar::Bool(true),
                ("false", Kind::Bool) => Scalar::Bool(false),
                (text, _) => Scalar::Text(text),
            };
            writer.path.push(Step::Name(Cow::Owned(key.clone().into_owned())));
            writer.scalar(key_field, true, value)?;
            if !map.next_value_seed(FieldSeed { writer, field: value_field })? {
                return Err(A::Error::custom(format_args!("found null, expected {}", value_field.kind.expected())));
            }
            writer.path.pop();
            writer.end(start);
        }
        Ok(())
    }
}

struct TimestampVisitor<'w, 'p> {
    writer: &'w mut Writer<'p>,
}

impl Visitor<'_> for TimestampVisitor<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time as RFC 3339, such as \"2026-04-05T10:30:00Z\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let unfit = || E::custom("found a string that is none, expected a time as RFC 3339, such as \"2026-04-05T10:30:00Z\"");
        let nanos = format::rfc3339(text).ok_or_else(unfit)?;
        // Protobuf counts nanoseconds forward also before 1970.
        let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).map_err(|_| unfit())?;
        let nanos = i32::try_from(nanos.rem_euclid(1_000_000_000)).map_err(|_| unfit())?;
        self.writer.parts(seconds, nanos)
    }
}
