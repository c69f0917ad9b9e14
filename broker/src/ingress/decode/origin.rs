//! Where the fields of a message came from.
//!
//! Constraint: it explains what was decoded, and decodes nothing by itself: the values are those of the message.

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, SerializeOptions};
use serde_json::Value;

use super::{Mapping, Selected, mapping::Source};

/// A field, and where its value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The JSON pointer of the value in the payload; or `constant`, `default` or `computed`, by the mapping.
    pub from: String,
    /// The path of the field: `items[0].sku`.
    pub field: String,
    /// The value, as proto3 JSON.
    pub value: String,
}

impl Mapping {
    /// The fields of a message that this mapping made of a payload. Empty if the message does not decode.
    #[must_use]
    pub fn origins(&self, message: &[u8], json: &str, selected: &Selected<'_>) -> Vec<Origin> {
        let descriptor = self.plans.get(self.whole).descriptor.clone();
        let Ok(made) = DynamicMessage::decode(descriptor.clone(), message) else { return Vec::new() };
        let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
        let Ok(made) = made.serialize_with_options(serde_json::value::Serializer, &options) else { return Vec::new() };
        let payload = serde_json::from_str(json).unwrap_or(Value::Null);
        let part = self.part.as_ref().map(|(pointer, _)| pointer.to_string()).unwrap_or_default();
        let mut walk = Walk { mapping: self, payload: &payload, selected, found: Vec::new() };
        walk.message(&descriptor, &made, &part, "");
        walk.found
    }
}

struct Walk<'a> {
    mapping: &'a Mapping,
    payload: &'a Value,
    selected: &'a Selected<'a>,
    found: Vec<Origin>,
}

impl Walk<'_> {
    /// `pointer` is where in the payload the message stands, `path` where in the whole message.
    fn message(&mut self, descriptor: &MessageDescriptor, made: &Value, pointer: &str, path: &str) {
        for field in descriptor.fields() {
            let Some(value) = made.get(field.name()) else { continue };
            let path = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
            self.field(&field, value, &self.origin(&field, pointer, &path), &path);
        }
    }

    fn origin(&self, field: &FieldDescriptor, pointer: &str, path: &str) -> String {
        if let Some(rule) = self.mapping.rules.iter().find(|rule| rule.path == path) {
            return match &rule.source {
                Source::At(pointer, slot) if self.selected.json(*slot).is_some_and(|json| json != "null") => pointer.to_string(),
                Source::At(..) => "default".to_owned(),
                Source::Computed(_) => "computed".to_owned(),
            };
        }
        if self.mapping.constant_paths.iter().any(|constant| constant == path) {
            return "constant".to_owned();
        }
        let name = [field.json_name(), field.name()].map(|name| format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")));
        let [by_json_name, by_name] = name;
        if self.payload.pointer(&by_json_name).is_none() && self.payload.pointer(&by_name).is_some() { by_name } else { by_json_name }
    }

    fn field(&mut self, field: &FieldDescriptor, value: &Value, from: &str, path: &str) {
        let Kind::Message(inner) = field.kind() else { return self.leaf(from, path, value) };
        // Well-known types are one value; entries of a map have names that are no fields.
        if field.is_map() || inner.package_name() == "google.protobuf" {
            return self.leaf(from, path, value);
        }
        match value {
            Value::Array(elements) => {
                for (index, element) in elements.iter().enumerate() {
                    self.message(&inner, element, &format!("{from}/{index}"), &format!("{path}[{index}]"));
                }
            }
            Value::Object(fields) if !fields.is_empty() => self.message(&inner, value, from, path),
            _ => self.leaf(from, path, value),
        }
    }

    fn leaf(&mut self, from: &str, path: &str, value: &Value) {
        self.found.push(Origin { from: from.to_owned(), field: path.to_owned(), value: value.to_string() });
    }
}
