//! How a payload becomes a message: fields by their names, others from where a mapping says, constants.
//!
//! Constraints:
//! - A mapping is checked against the message type at start, constants and value tables included; what is wrong is named.
//! - A field that a mapping fills is not taken by name as well.
//! - The result has its required fields, or is an error that says which one is missing.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{
    DecodeError, Pointer, Selected, Selector, Slot,
    json::{self, Target},
};
use crate::{
    ingress::words::{Word, word_or_table},
    schema::{
        FieldPath, PathStep, Schemas,
        check::check_message,
        plan::{FieldPlan, FieldShape, Kind, MessageId, Plans},
    },
};

/// Where a field comes from: a JSON pointer, or a table of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConfig(pub FieldRule);

/// Where a field comes from, and how its values are translated.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// The JSON pointer of the value.
    pub at: String,
    /// The provider's words and what each one is in the message. A word that is not here is an error, or the default. Empty: as it comes.
    #[serde(default)]
    pub values: BTreeMap<String, Value>,
    /// What the field gets when there is no value, or one that `values` does not have.
    #[serde(default)]
    pub default: Option<Value>,
}

impl<'de> Deserialize<'de> for FieldConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_table::<Self, FieldRule, D>(deserializer)
    }
}

impl Word for FieldConfig {
    const EXPECTED: &'static str = "a JSON pointer, or a table with at, values and default";

    fn word(text: &str) -> Result<Self, String> {
        Ok(Self(FieldRule { at: text.to_owned(), values: BTreeMap::new(), default: None }))
    }
}

impl From<FieldRule> for FieldConfig {
    fn from(rule: FieldRule) -> Self {
        Self(rule)
    }
}

/// What is wrong with a mapping.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappingProblem {
    /// The key, from the mapping's table.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// A payload, typed.
#[derive(Debug)]
pub struct Decoded {
    /// The encoded message.
    pub bytes: Bytes,
    /// A key that occurs twice in an object of the payload; its last value counts.
    pub duplicate_key: Option<FieldPath>,
}

/// A compiled mapping.
#[derive(Clone, Debug)]
pub struct Mapping {
    plans: Arc<Plans>,
    /// The message without the fields that rules fill.
    by_name: MessageId,
    whole: MessageId,
    /// The part of the payload that is the message; the whole if there is none.
    part: Option<(Pointer, Slot)>,
    rules: Vec<Rule>,
    constants: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Rule {
    pointer: Pointer,
    slot: Slot,
    target: FieldTarget,
    /// Encoded.
    values: BTreeMap<String, Vec<u8>>,
    default: Option<Vec<u8>>,
}

/// A field inside a message.
#[derive(Clone, Debug)]
struct FieldTarget {
    /// The numbers of the messages around it, outermost first.
    around: Vec<u32>,
    field: FieldPlan,
}

impl Mapping {
    /// Compiles a mapping to a registered message. Its pointers are added to the selector of the source.
    ///
    /// # Errors
    /// Every problem that it has.
    pub fn compile(
        schemas: &Schemas,
        message: &str,
        part: Option<&str>,
        fields: &BTreeMap<String, FieldConfig>,
        constants: &BTreeMap<String, Value>,
        selector: &mut Selector,
    ) -> Result<Self, Vec<MappingProblem>> {
        let Some(whole) = schemas.message_id(message) else {
            return Err(vec![MappingProblem { key: "message".to_owned(), problem: unknown_message(schemas, message) }]);
        };
        let mut mapping =
            Self { plans: Arc::clone(&schemas.plans), by_name: whole, whole, part: None, rules: Vec::new(), constants: Vec::new() };
        let mut problems = Vec::new();
        let mut note = |key: String, problem: String| problems.push(MappingProblem { key, problem });
        match part.map(str::parse::<Pointer>) {
            Some(Ok(pointer)) => mapping.part = Some((pointer.clone(), selector.add(&pointer))),
            Some(Err(error)) => note("at".to_owned(), error.to_string()),
            None => {}
        }
        for (path, FieldConfig(rule)) in fields {
            match mapping.rule(path, rule, selector) {
                Ok(rule) => mapping.rules.push(rule),
                Err(problem) => note(format!("fields.{path}"), problem),
            }
        }
        for (path, value) in constants {
            match mapping.target(path).and_then(|target| mapping.constant(&target, value)) {
                Ok(bytes) => mapping.constants.extend(bytes),
                Err(problem) => note(format!("constants.{path}"), problem),
            }
        }
        if problems.is_empty() {
            mapping.take_out(fields.keys().chain(constants.keys()));
            Ok(mapping)
        } else {
            Err(problems)
        }
    }

    /// Types a payload.
    ///
    /// # Errors
    /// [`DecodeError`] says what is wrong and where.
    pub fn decode(&self, json: &str, selected: &Selected<'_>) -> Result<Decoded, DecodeError> {
        let part = match &self.part {
            None => json,
            Some((pointer, slot)) => selected.json(*slot).ok_or_else(|| DecodeError::Missing { path: path_of(pointer) })?,
        };
        let mut encoded = json::encode(&self.plans, Target::Message(self.by_name), part)?;
        for rule in &self.rules {
            encoded.bytes.extend(self.apply(rule, selected)?);
        }
        encoded.bytes.extend_from_slice(&self.constants);
        // What rules and constants add may not fit together with the rest, or be missing from it.
        if !(encoded.sound && self.rules.is_empty() && self.constants.is_empty()) {
            check_message(&self.plans, self.whole, &encoded.bytes).map_err(|invalid| {
                if invalid.missing {
                    DecodeError::Missing { path: invalid.path }
                } else {
                    DecodeError::Mismatch { path: invalid.path, problem: invalid.problem }
                }
            })?;
        }
        Ok(Decoded { bytes: encoded.bytes.into(), duplicate_key: encoded.duplicate })
    }

    fn apply(&self, rule: &Rule, selected: &Selected<'_>) -> Result<Vec<u8>, DecodeError> {
        let value = selected.json(rule.slot).filter(|json| *json != "null");
        let mismatch = |problem| DecodeError::Mismatch { path: path_of(&rule.pointer), problem };
        match (value, &rule.default) {
            (None, default) => Ok(default.clone().unwrap_or_default()),
            (Some(json), _) if rule.values.is_empty() => self.encode(&rule.target, json).map_err(|error| mismatch(error.to_string())),
            (Some(_), default) => {
                let known = selected.text(rule.slot).and_then(|text| rule.values.get(&*text));
                known.or(default.as_ref()).cloned().ok_or_else(|| {
                    let words: Vec<&str> = rule.values.keys().map(String::as_str).collect();
                    mismatch(format!("is none of {}, and the mapping has no default", words.join(", ")))
                })
            }
        }
    }

    fn rule(&self, path: &str, rule: &FieldRule, selector: &mut Selector) -> Result<Rule, String> {
        let pointer: Pointer = rule.at.parse().map_err(|error: super::PointerError| error.to_string())?;
        let target = self.target(path)?;
        let encode = |(word, value): (&String, &Value)| Ok((word.clone(), self.constant(&target, value)?));
        let values = rule.values.iter().map(encode).collect::<Result<_, String>>()?;
        let default = rule.default.as_ref().map(|value| self.constant(&target, value)).transpose()?;
        Ok(Rule { slot: selector.add(&pointer), pointer, target, values, default })
    }

    /// The field at a path such as `customer.email`.
    fn target(&self, path: &str) -> Result<FieldTarget, String> {
        let mut message = self.whole;
        let mut around = Vec::new();
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            let plan = self.plans.get(message);
            let Some(index) = plan.field_index(name) else {
                let known = plan.field_names().join(", ");
                return Err(format!("{} has no field {name:?}; it has {known}", plan.descriptor.full_name()));
            };
            let field = &plan.fields[index];
            if names.peek().is_none() {
                return Ok(FieldTarget { around, field: field.clone() });
            }
            let (Kind::Message(inner), FieldShape::One) = (field.kind, field.shape) else {
                return Err(format!("{name:?} of {} is not a single message, so nothing is inside it", plan.descriptor.full_name()));
            };
            around.push(field.number);
            message = inner;
        }
        Err("names no field".to_owned())
    }

    fn constant(&self, target: &FieldTarget, value: &Value) -> Result<Vec<u8>, String> {
        self.encode(target, &value.to_string()).map_err(|error| format!("{value} does not fit: {error}"))
    }

    fn encode(&self, target: &FieldTarget, json: &str) -> Result<Vec<u8>, DecodeError> {
        let mut bytes = json::encode(&self.plans, Target::Field(&target.field), json)?.bytes;
        if bytes.is_empty() {
            return Ok(bytes);
        }
        for number in target.around.iter().rev() {
            let mut outer = Vec::with_capacity(bytes.len() + 8);
            encode_key(*number, WireType::LengthDelimited, &mut outer);
            encode_varint(bytes.len() as u64, &mut outer);
            outer.append(&mut bytes);
            bytes = outer;
        }
        Ok(bytes)
    }

    fn take_out<'a>(&mut self, paths: impl Iterator<Item = &'a String>) {
        let mut paths = paths.peekable();
        if paths.peek().is_none() {
            return;
        }
        let mut plans = Plans::clone(&self.plans);
        for path in paths {
            let path: Vec<&str> = path.split('.').collect();
            self.by_name = plans.without(self.by_name, &path).unwrap_or(self.by_name);
        }
        self.plans = Arc::new(plans);
    }
}

/// A name that is not registered, and what was perhaps meant.
fn unknown_message(schemas: &Schemas, message: &str) -> String {
    let last = message.rsplit('.').next().unwrap_or(message);
    let near: Vec<&str> = schemas
        .list("", "", usize::MAX)
        .map(|(name, _)| name)
        .filter(|name| name.rsplit('.').next().is_some_and(|known| known.eq_ignore_ascii_case(last)))
        .collect();
    match &*near {
        [] => format!("{message:?} is no registered message type; `.proto` files of your own are registered in [schemas]"),
        _ => format!("{message:?} is no registered message type; did you mean {}?", near.join(" or ")),
    }
}

fn path_of(pointer: &Pointer) -> FieldPath {
    let steps = pointer.parts().iter().map(|part| PathStep::Name(part.clone())).collect();
    FieldPath(steps)
}
