//! Message types, compiled: all that decoding and checking need to know of a field, in one place.
//!
//! Constraint: a plan refers to other plans by index, so that types may contain themselves.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use prost::encoding::WireType;
use prost_reflect::{Cardinality, DescriptorPool, ExtensionDescriptor, FieldDescriptor, Kind as Reflected, MessageDescriptor};

use super::format::Reading;

/// Every message type of a pool. A clone shares its plans, so that a mapping can have some of its own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    messages: Vec<Arc<MessagePlan>>,
    enums: Arc<[HashMap<Box<str>, i32>]>,
}

/// Names a plan among its [`Plans`].
pub(crate) type MessageId = usize;

#[derive(Clone, Debug)]
pub(crate) struct MessagePlan {
    pub(crate) descriptor: MessageDescriptor,
    pub(crate) form: Form,
    /// By number.
    pub(crate) fields: Vec<FieldPlan>,
    /// A bit for each of `fields` that is required.
    pub(crate) required: u128,
    /// JSON names and original names to indexes of `fields`, in the order of [`by_length`].
    names: Vec<(Box<str>, usize)>,
}

/// How a message is written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As an object of its fields.
    Fields,
    /// `google.protobuf.Timestamp`, as RFC 3339.
    Timestamp,
    /// Left to prost-reflect: the other well-known types, messages with groups, and those beyond [`MAX_PLANNED_FIELDS`].
    Reflected,
}

#[derive(Clone, Debug)]
pub(crate) struct FieldPlan {
    pub(crate) name: Box<str>,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) shape: FieldShape,
    /// Whether "not set" differs from the default value.
    pub(crate) presence: bool,
    pub(crate) required: bool,
    /// Which oneof of its message it belongs to.
    pub(crate) oneof: Option<usize>,
    /// Whether a JSON null is a value, not absence.
    pub(crate) null_is_value: bool,
    /// How its values are written, if not as proto3 JSON has them.
    pub(crate) reading: Option<Reading>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldShape {
    One,
    List {
        packed: bool,
    },
    /// The kind is the entry: a message of key (1) and value (2).
    Map,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(usize),
    Message(MessageId),
}

/// The most fields of a message that is planned: one bit each is kept while decoding.
const MAX_PLANNED_FIELDS: usize = 128;

impl Plans {
    /// Compiles every message of a pool. `required` is the option that marks a field; the second value finds plans by full name.
    pub(crate) fn compile(pool: &DescriptorPool, required: Option<&ExtensionDescriptor>) -> (Self, HashMap<String, MessageId>) {
        let ids: HashMap<String, MessageId> =
            pool.all_messages().enumerate().map(|(id, message)| (message.full_name().to_owned(), id)).collect();
        let enum_ids: HashMap<String, usize> = pool.all_enums().enumerate().map(|(id, item)| (item.full_name().to_owned(), id)).collect();
        let compiler = Compiler { ids: &ids, enum_ids: &enum_ids, required };
        let messages = pool.all_messages().map(|message| Arc::new(compiler.message(message))).collect();
        let enums = pool.all_enums().map(|item| item.values().map(|value| (value.name().into(), value.number())).collect()).collect();
        (Self { messages, enums }, ids)
    }

    /// A plan. Ids come from the same compilation.
    pub(crate) fn get(&self, id: MessageId) -> &MessagePlan {
        &self.messages[id]
    }

    /// The number of an enum value by its name.
    pub(crate) fn enum_number(&self, id: usize, name: &str) -> Option<i32> {
        self.enums[id].get(name).copied()
    }

    /// The names of an enum's values, in the order of their numbers.
    pub(crate) fn enum_names(&self, id: usize) -> Vec<&str> {
        let mut values: Vec<_> = self.enums[id].iter().map(|(name, number)| (*number, &**name)).collect();
        values.sort_unstable();
        values.into_iter().map(|(_, name)| name).collect()
    }

    /// A plan that takes no value by name for the field at `path`: a mapping fills it instead. Answers the id of the new plan of the
    /// whole message; `None` if there is no such path through singular messages.
    pub(crate) fn without(&mut self, id: MessageId, path: &[&str]) -> Option<MessageId> {
        self.changed(id, path, &mut |plan, index| plan.names.retain(|(_, field)| *field != index))
    }

    /// A plan whose field at `path` is read in a way of its own; otherwise as [`without`](Self::without). The path may lead through lists.
    pub(crate) fn with_reading(&mut self, id: MessageId, path: &[&str], reading: Reading) -> Option<MessageId> {
        self.changed(id, path, &mut |plan, index| plan.fields[index].reading = Some(reading))
    }

    fn changed(&mut self, id: MessageId, path: &[&str], change: &mut dyn FnMut(&mut MessagePlan, usize)) -> Option<MessageId> {
        let (first, rest) = path.split_first()?;
        let mut plan = MessagePlan::clone(self.get(id));
        let index = plan.field_index(first)?;
        if rest.is_empty() {
            change(&mut plan, index);
        } else {
            let Kind::Message(inner) = plan.fields[index].kind else { return None };
            plan.fields[index].kind = Kind::Message(self.changed(inner, rest, change)?);
        }
        self.messages.push(Arc::new(plan));
        Some(self.messages.len() - 1)
    }
}

impl MessagePlan {
    /// The field that a JSON key means.
    pub(crate) fn field_index(&self, key: &str) -> Option<usize> {
        let at = self.names.binary_search_by(|(name, _)| by_length(name, key)).ok()?;
        Some(self.names[at].1)
    }

    /// The index of the field with a number.
    pub(crate) fn index_by_number(&self, number: u32) -> Option<usize> {
        // Most messages number their fields without holes.
        let guess = (number as usize).wrapping_sub(1);
        if self.fields.get(guess).is_some_and(|field| field.number == number) {
            return Some(guess);
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }

    /// The original names of the fields, for messages to people.
    pub(crate) fn field_names(&self) -> Vec<&str> {
        self.fields.iter().map(|field| &*field.name).collect()
    }
}

/// Shorter ones first: few names are of one length, so that a search hardly looks at their letters.
fn by_length(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

struct Compiler<'a> {
    ids: &'a HashMap<String, MessageId>,
    enum_ids: &'a HashMap<String, usize>,
    required: Option<&'a ExtensionDescriptor>,
}

impl Compiler<'_> {
    fn message(&self, descriptor: MessageDescriptor) -> MessagePlan {
        let mut sources: Vec<FieldDescriptor> = descriptor.fields().collect();
        sources.sort_unstable_by_key(FieldDescriptor::number);
        let fields: Vec<FieldPlan> = sources.iter().filter_map(|field| self.field(field)).collect();

        let mut names = Vec::with_capacity(fields.len() * 2);
        // A JSON name wins over another field's original name.
        for by_json_name in [true, false] {
            for (index, field) in sources.iter().enumerate() {
                let name = if by_json_name { field.json_name() } else { field.name() };
                if !names.iter().any(|(known, _): &(Box<str>, usize)| **known == *name) {
                    names.push((name.into(), index));
                }
            }
        }
        names.sort_unstable_by(|(a, _), (b, _)| by_length(a, b));

        let form = if descriptor.full_name() == "google.protobuf.Timestamp" {
            Form::Timestamp
        } else if descriptor.parent_file().package_name() == "google.protobuf" && is_well_known(descriptor.full_name())
            || sources.iter().any(FieldDescriptor::is_group)
            || fields.len() != sources.len()
            || fields.len() > MAX_PLANNED_FIELDS
        {
            Form::Reflected
        } else {
            Form::Fields
        };
        let planned = fields.iter().take(MAX_PLANNED_FIELDS).enumerate();
        let required = planned.fold(0, |bits, (index, field)| bits | u128::from(field.required) << index);
        MessagePlan { descriptor, form, fields, required, names }
    }

    fn field(&self, field: &FieldDescriptor) -> Option<FieldPlan> {
        let kind = self.kind(&field.kind())?;
        let shape = if field.is_map() {
            FieldShape::Map
        } else if field.is_list() {
            FieldShape::List { packed: field.is_packed() }
        } else {
            FieldShape::One
        };
        let marked = self.required.is_some_and(|option| field.options().get_extension(option).as_bool() == Some(true));
        let null_is_value = match field.kind() {
            Reflected::Message(message) => message.full_name() == "google.protobuf.Value",
            Reflected::Enum(item) => item.full_name() == "google.protobuf.NullValue",
            _ => false,
        };
        Some(FieldPlan {
            name: field.name().into(),
            number: field.number(),
            kind,
            shape,
            presence: field.supports_presence(),
            required: marked || field.cardinality() == Cardinality::Required,
            oneof: field.containing_oneof().and_then(|oneof| usize::try_from(*oneof.path().last()?).ok()),
            null_is_value: null_is_value && shape == FieldShape::One,
            reading: None,
        })
    }

    fn kind(&self, kind: &Reflected) -> Option<Kind> {
        Some(match kind {
            Reflected::Double => Kind::Double,
            Reflected::Float => Kind::Float,
            Reflected::Int32 => Kind::Int32,
            Reflected::Int64 => Kind::Int64,
            Reflected::Uint32 => Kind::Uint32,
            Reflected::Uint64 => Kind::Uint64,
            Reflected::Sint32 => Kind::Sint32,
            Reflected::Sint64 => Kind::Sint64,
            Reflected::Fixed32 => Kind::Fixed32,
            Reflected::Fixed64 => Kind::Fixed64,
            Reflected::Sfixed32 => Kind::Sfixed32,
            Reflected::Sfixed64 => Kind::Sfixed64,
            Reflected::Bool => Kind::Bool,
            Reflected::String => Kind::String,
            Reflected::Bytes => Kind::Bytes,
            Reflected::Enum(item) => Kind::Enum(*self.enum_ids.get(item.full_name())?),
            Reflected::Message(message) => Kind::Message(*self.ids.get(message.full_name())?),
        })
    }
}

/// The messages with a JSON form of their own; the descriptors of descriptors are ordinary messages.
fn is_well_known(full_name: &str) -> bool {
    matches!(
        full_name.trim_start_matches("google.protobuf."),
        "Any"
            | "Duration"
            | "DoubleValue"
            | "FloatValue"
            | "Int32Value"
            | "Int64Value"
            | "UInt32Value"
            | "UInt64Value"
            | "BoolValue"
            | "StringValue"
            | "BytesValue"
            | "FieldMask"
            | "Struct"
            | "ListValue"
            | "Value"
            | "Empty"
    )
}

impl Kind {
    /// How a value of this kind stands on the wire.
    pub(crate) fn wire_type(self) -> WireType {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::SixtyFourBit,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => WireType::ThirtyTwoBit,
            Self::String | Self::Bytes | Self::Message(_) => WireType::LengthDelimited,
            _ => WireType::Varint,
        }
    }

    /// What a JSON value of this kind looks like, for messages to people.
    pub(crate) fn expected(self) -> &'static str {
        match self {
            Self::Double | Self::Float => "a number",
            Self::Int32 | Self::Sint32 | Self::Sfixed32 => "a 32-bit integer, as a number or a string",
            Self::Int64 | Self::Sint64 | Self::Sfixed64 => "a 64-bit integer, as a number or a string",
            Self::Uint32 | Self::Fixed32 => "a 32-bit integer that is not negative, as a number or a string",
            Self::Uint64 | Self::Fixed64 => "a 64-bit integer that is not negative, as a number or a string",
            Self::Bool => "true or false",
            Self::String => "a string",
            Self::Bytes => "a string of base64",
            Self::Enum(_) => "the name or number of an enum value",
            Self::Message(_) => "an object",
        }
    }
}
