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
    error::path_of,
    expression::{Expression, NoValue},
    json::{self, Target},
};
use crate::{
    ingress::words::{Word, word_or_table},
    schema::{
        FieldPath, Format, Schemas, Unit,
        check::check_message,
        format::Reading,
        plan::{FieldPlan, FieldShape, Kind, MessageId, Plans},
    },
};

/// Where a field comes from and how it is written: a JSON pointer, or a table of this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConfig(pub FieldRule);

/// Where a field comes from, and how its values are translated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldRule {
    /// The JSON pointer of the value, from the beginning of the payload. Default: where it stands by the field's name.
    #[serde(default)]
    pub at: Option<String>,
    /// How a time, a duration or a text is written, if not as proto3 JSON has it.
    #[serde(default)]
    pub format: Option<Format>,
    /// In what an integer field counts the time or the duration.
    #[serde(default)]
    pub unit: Option<Unit>,
    /// An expression in CEL that computes the value from others, such as `payload.amount / 100`; instead of `at`.
    #[serde(default)]
    pub cel: Option<String>,
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
    const EXPECTED: &'static str = "a JSON pointer, or a table with at, cel, format, unit, values and default";

    fn word(text: &str) -> Result<Self, String> {
        Ok(Self(FieldRule { at: Some(text.to_owned()), ..FieldRule::default() }))
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
    pub(super) plans: Arc<Plans>,
    /// The message without the fields that rules fill.
    by_name: MessageId,
    pub(super) whole: MessageId,
    /// The part of the payload that is the message; the whole if there is none.
    pub(super) part: Option<(Pointer, Slot)>,
    pub(super) rules: Vec<Rule>,
    constants: Vec<u8>,
    /// The fields that have them.
    pub(super) constant_paths: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// Of the field.
    pub(super) path: String,
    pub(super) source: Source,
    target: FieldTarget,
    /// Encoded.
    values: BTreeMap<String, Vec<u8>>,
    default: Option<Vec<u8>>,
}

/// Where the value of a rule comes from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    At(Pointer, Slot),
    Computed(Expression),
}

/// A field inside a message.
#[derive(Clone, Debug)]
struct FieldTarget {
    /// The numbers of the messages around it, outermost first.
    around: Vec<u32>,
    field: FieldPlan,
}

/// Whether a path may go on inside of each element of a list: not where there is one value for all of them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    Entered,
    Closed,
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
        let mut mapping = Self {
            plans: Arc::clone(&schemas.plans),
            by_name: whole,
            whole,
            part: None,
            rules: Vec::new(),
            constants: Vec::new(),
            constant_paths: constants.keys().cloned().collect(),
        };
        let mut problems = Vec::new();
        let mut note = |key: String, problem: String| problems.push(MappingProblem { key, problem });
        match part.map(str::parse::<Pointer>) {
            Some(Ok(pointer)) => mapping.part = Some((pointer.clone(), selector.add(&pointer))),
            Some(Err(error)) => note("at".to_owned(), error.to_string()),
            None => {}
        }
        // Formats of fields that are found by name are part of the plan, which rules go by.
        let (in_place, elsewhere): (Vec<_>, Vec<_>) =
            fields.iter().partition(|(_, FieldConfig(rule))| rule.at.is_none() && rule.cel.is_none());
        for (path, FieldConfig(rule)) in in_place {
            mapping.in_place(path, rule).unwrap_or_else(|problem| note(format!("fields.{path}"), problem));
        }
        for (path, FieldConfig(rule)) in &elsewhere {
            match mapping.rule(path, rule, selector) {
                Ok(rule) => mapping.rules.push(rule),
                Err(problem) => note(format!("fields.{path}"), problem),
            }
        }
        for (path, value) in constants {
            match mapping.target(path, Lists::Closed).and_then(|target| mapping.constant(&target, value)) {
                Ok(bytes) => mapping.constants.extend(bytes),
                Err(problem) => note(format!("constants.{path}"), problem),
            }
        }
        if problems.is_empty() {
            mapping.take_out(elsewhere.into_iter().map(|(path, _)| path).chain(constants.keys()));
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
            Some((pointer, slot)) => selected.json(*slot).ok_or_else(|| DecodeError::absent(pointer))?,
        };
        let mut encoded = json::encode(&self.plans, Target::Message(self.by_name), part).map_err(|error| self.inside(error))?;
        for rule in &self.rules {
            encoded.bytes.extend(self.apply(rule, selected)?);
        }
        encoded.bytes.extend_from_slice(&self.constants);
        // What rules and constants add may not fit together with the rest, or be missing from it.
        if !(encoded.sound && self.rules.is_empty() && self.constants.is_empty()) {
            check_message(&self.plans, self.whole, &encoded.bytes).map_err(|invalid| {
                self.inside(if invalid.missing {
                    DecodeError::Missing { path: invalid.path }
                } else {
                    DecodeError::Mismatch { path: invalid.path, problem: invalid.problem }
                })
            })?;
        }
        let duplicate_key = encoded.duplicate.map(|path| self.whole_path(path));
        Ok(Decoded { bytes: encoded.bytes.into(), duplicate_key })
    }

    /// An error of the part that is the message, told from the beginning of the payload.
    fn inside(&self, error: DecodeError) -> DecodeError {
        match error {
            DecodeError::Malformed(problem) => DecodeError::Malformed(problem),
            DecodeError::Mismatch { path, problem } => DecodeError::Mismatch { path: self.whole_path(path), problem },
            DecodeError::Missing { path } => DecodeError::Missing { path: self.whole_path(path) },
        }
    }

    fn whole_path(&self, FieldPath(steps): FieldPath) -> FieldPath {
        let Some((pointer, _)) = &self.part else { return FieldPath(steps) };
        let FieldPath(mut whole) = path_of(pointer);
        whole.extend(steps);
        FieldPath(whole)
    }

    fn apply(&self, rule: &Rule, selected: &Selected<'_>) -> Result<Vec<u8>, DecodeError> {
        let mismatch = |pointer: &Pointer, problem| DecodeError::Mismatch { path: path_of(pointer), problem };
        let encode = |pointer, json: &str| self.encode(&rule.target, json).map_err(|error| mismatch(pointer, error.to_string()));
        match (&rule.source, &rule.default) {
            (Source::Computed(expression), default) => match (expression.value(selected), default) {
                (Ok(Some(json)), _) => encode(&Pointer::default(), &json),
                (Ok(None) | Err(NoValue::Absent(_)), Some(default)) => Ok(default.clone()),
                (Ok(None), None) => Ok(Vec::new()),
                (Err(NoValue::Absent(pointer)), None) => {
                    Err(mismatch(&pointer, format!("{} is computed from this, which is missing", rule.path)))
                }
                (Err(NoValue::Failed(pointer, problem)), _) => {
                    Err(mismatch(&pointer, format!("{} is computed from this: {problem}", rule.path)))
                }
            },
            (Source::At(pointer, slot), default) => match selected.json(*slot).filter(|json| *json != "null") {
                None => Ok(default.clone().unwrap_or_default()),
                Some(json) if rule.values.is_empty() => encode(pointer, json),
                Some(_) => {
                    let known = selected.text(*slot).and_then(|text| rule.values.get(&*text));
                    known.or(default.as_ref()).cloned().ok_or_else(|| {
                        let words: Vec<&str> = rule.values.keys().map(String::as_str).collect();
                        mismatch(pointer, format!("is none of {}, and the mapping has no default", words.join(", ")))
                    })
                }
            },
        }
    }

    /// A rule for a field that stays where it is: only how it is written differs.
    fn in_place(&mut self, path: &str, rule: &FieldRule) -> Result<(), String> {
        let (None, true, Some(format)) = (&rule.default, rule.values.is_empty(), rule.format) else {
            return Err("does not say where its value is: give the JSON pointer as at; without at, a format is all there can be".to_owned());
        };
        let reading = self.reading(&self.target(path, Lists::Entered)?.field, format, rule.unit)?;
        let path: Vec<&str> = path.split('.').collect();
        let changed = Arc::make_mut(&mut self.plans).with_reading(self.whole, &path, reading);
        self.whole = changed.ok_or("names no field")?;
        self.by_name = self.whole;
        Ok(())
    }

    fn rule(&self, path: &str, rule: &FieldRule, selector: &mut Selector) -> Result<Rule, String> {
        let mut target = self.target(path, Lists::Closed)?;
        let source = match (&rule.at, &rule.cel) {
            (Some(at), None) => {
                let pointer: Pointer = at.parse().map_err(|error: super::PointerError| error.to_string())?;
                Source::At(pointer.clone(), selector.add(&pointer))
            }
            (None, Some(cel)) if rule.values.is_empty() => Source::Computed(Expression::compile(cel, target.field.kind, selector)?),
            (None, _) => return Err("has cel and values, of which only one can be: the expression can choose by itself".to_owned()),
            (Some(_), Some(_)) => return Err("has at and cel, of which only one can be".to_owned()),
        };
        if rule.unit.is_some() && rule.format.is_none() {
            return Err("has a unit without a format".to_owned());
        }
        if rule.format.is_some() && !rule.values.is_empty() {
            return Err("has values and a format, of which only one can be: values are found by the text that is there".to_owned());
        }
        let encode = |(word, value): (&String, &Value)| Ok((word.clone(), self.constant(&target, value)?));
        let values = rule.values.iter().map(encode).collect::<Result<_, String>>()?;
        // As in the message, not as the provider writes it.
        let default = rule.default.as_ref().map(|value| self.constant(&target, value)).transpose()?;
        target.field.reading = rule.format.map(|format| self.reading(&target.field, format, rule.unit)).transpose()?;
        Ok(Rule { path: path.to_owned(), source, target, values, default })
    }

    fn reading(&self, field: &FieldPlan, format: Format, unit: Option<Unit>) -> Result<Reading, String> {
        let message = match field.kind {
            Kind::Message(id) if field.shape != FieldShape::Map => Some(self.plans.get(id).descriptor.full_name()),
            _ => None,
        };
        Reading::new(format, unit, field.kind, message)
    }

    /// The field at a path such as `customer.email`.
    fn target(&self, path: &str, lists: Lists) -> Result<FieldTarget, String> {
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
            let enters = match field.shape {
                FieldShape::One => true,
                FieldShape::List { .. } => lists == Lists::Entered,
                FieldShape::Map => false,
            };
            match field.kind {
                Kind::Message(inner) if enters => message = inner,
                _ => return Err(format!("{name:?} of {} is not a single message, so nothing is inside it", plan.descriptor.full_name())),
            }
            around.push(field.number);
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
