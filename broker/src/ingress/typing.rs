//! Which event a payload becomes.
//!
//! Constraints: what a source knows is typed, and checked; what it does not know becomes a `JsonPayload`, exact to the byte, never a
//! guess: `google.protobuf.Struct` would round a number beyond 2^53.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use http::HeaderMap;
use prost::{Message as _, Name as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use waypost_proto::{TYPE_URL_PREFIX, v1::JsonPayload, v1::Lineage, wire};

use super::{
    decode::{DecodeError, FieldConfig, Mapping, MappingProblem, Origin, Pointer, Selected, Selector, Slot, duplicate_key},
    entries::Entries,
    template::{Absent, Bound, Template},
    words::{Word, word_or_table},
};
use crate::schema::Schemas;

/// A message type, or a table that says how a payload becomes one.
#[derive(Clone, Debug)]
pub struct TypeConfig(pub TypeTable);

/// How a payload becomes a message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeTable {
    /// The full name of the message type. `waypost.v1.JsonPayload`: the payload, or its part, as it was sent.
    pub message: String,
    /// The type of the event. Default: the name of the message, or, of what stays as it was sent, the source's and the provider's.
    #[serde(default)]
    pub event_type: Option<String>,
    /// A JSON pointer to the part of the payload that is the message. Default: the whole.
    #[serde(default)]
    pub at: Option<String>,
    /// Fields that are not found by their names: field path to JSON pointer.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldConfig>,
    /// Fields that have always the same value.
    #[serde(default)]
    pub constants: BTreeMap<String, Value>,
    /// Instead of that of the source; likewise those that follow.
    #[serde(default)]
    pub subject: Option<Template>,
    /// The key within which order matters.
    #[serde(default)]
    pub ordering_key: Option<Template>,
    /// The story that the event belongs to.
    #[serde(default)]
    pub correlation_id: Option<Template>,
}

impl TypeTable {
    fn about(&self) -> About {
        About { subject: self.subject.clone(), ordering_key: self.ordering_key.clone(), correlation_id: self.correlation_id.clone() }
    }
}

/// Attributes of the event that come from the payload, as templates, in which parts in `[ ]` may be missing. One that the payload does
/// not have is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What the event is about.
    pub subject: Option<Template>,
    /// The key within which order matters.
    pub ordering_key: Option<Template>,
    /// The story that the event belongs to.
    pub correlation_id: Option<Template>,
}

impl<'de> Deserialize<'de> for TypeConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_table::<Self, TypeTable, D>(deserializer)
    }
}

impl Word for TypeConfig {
    const EXPECTED: &'static str = "the full name of a message type, or a table with message, at, fields, constants";

    fn word(text: &str) -> Result<Self, String> {
        Ok(Self(TypeTable { message: text.to_owned(), ..TypeTable::default() }))
    }
}

impl From<TypeTable> for TypeConfig {
    fn from(table: TypeTable) -> Self {
        Self(table)
    }
}

/// The typing of a source.
#[derive(Clone, Debug)]
pub(crate) struct Typing {
    /// The source's name: what the type of an untyped event starts with.
    source: String,
    parts: Vec<Bound>,
    types: Entries<EventType>,
    untyped: BoundAbout,
}

#[derive(Clone, Debug)]
struct EventType {
    /// Of the event; `None`: as if there were no entry.
    name: Option<String>,
    becomes: Becomes,
    about: BoundAbout,
    /// What it looks at beyond what the source looks at anyway: nobody pays for the pointers of types that were not sent.
    selector: Option<Selector>,
}

#[derive(Clone, Debug)]
enum Becomes {
    Message {
        type_url: String,
        mapping: Mapping,
    },
    /// As it was sent: the whole, or the value at a pointer.
    Json(Option<(Pointer, Slot)>),
}

#[derive(Clone, Debug, Default)]
struct BoundAbout {
    subject: Option<Bound>,
    ordering_key: Option<Bound>,
    correlation_id: Option<Bound>,
}

/// What an event says of the provider's own name for its type.
const PROVIDER_TYPE: &str = "providertype";

/// What an event says of a key that occurs twice in its payload.
const DUPLICATE_KEYS: &str = "duplicatekeys";

impl Typing {
    /// Compiles the types of a source.
    ///
    /// # Errors
    /// Every problem, with its key from the source's table.
    pub(crate) fn compile(
        source: &str,
        event_type: &[Template],
        types: &BTreeMap<String, TypeConfig>,
        about: &About,
        schemas: &Schemas,
        selector: &mut Selector,
    ) -> Result<Self, Vec<MappingProblem>> {
        let mut problems = Vec::new();
        let mut parts = Vec::new();
        for template in event_type {
            match template.bind(selector) {
                Ok(part) => parts.push(part),
                Err(problem) => problems.push(MappingProblem { key: "event_type".to_owned(), problem }),
            }
        }
        let untyped = about.bind(selector).map_err(|problem| problems.push(problem)).unwrap_or_default();
        let mut compiled = Entries::default();
        for (name, TypeConfig(table)) in types {
            let inside = |problem: MappingProblem| MappingProblem { key: format!("types.{name}.{}", problem.key), ..problem };
            match EventType::compile(table, about, schemas, selector) {
                Ok(event_type) => compiled.add(name, event_type).unwrap_or_else(|problem| {
                    problems.push(MappingProblem { key: format!("types.{name}"), problem });
                }),
                Err(found) => problems.extend(found.into_iter().map(inside)),
            }
        }
        if problems.is_empty() { Ok(Self { source: source.to_owned(), parts, types: compiled, untyped }) } else { Err(problems) }
    }

    /// The headers that its rules look at.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &http::HeaderName> {
        let abouts = self.types.iter().map(|event_type| &event_type.about).chain([&self.untyped]);
        let abouts = abouts.flat_map(|about| [&about.subject, &about.ordering_key, &about.correlation_id].into_iter().flatten());
        self.parts.iter().chain(abouts).flat_map(Bound::headers)
    }

    /// The event types that webhooks of the source can become.
    pub(crate) fn event_types(&self) -> Vec<String> {
        let mut names: Vec<String> = self.types.iter().filter_map(|event_type| event_type.name.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The provider's name for the kind of event; empty when the source has no rule for it.
    ///
    /// # Errors
    /// When the first part is not there.
    pub(crate) fn provider_type<'a>(&self, headers: &'a HeaderMap, selected: &Selected<'a>) -> Result<Cow<'a, str>, Absent> {
        let Some((first, rest)) = self.parts.split_first() else { return Ok(Cow::Borrowed("")) };
        let first = first.fill(headers, selected)?;
        Ok(rest.iter().filter_map(|part| part.fill(headers, selected).ok()).fold(first, |name, part| name + "." + part))
    }

    /// The type of the event that a provider's type becomes.
    pub(crate) fn event_type(&self, provider_type: &str) -> String {
        self.name(self.types.find(provider_type), provider_type)
    }

    fn name(&self, known: Option<&EventType>, provider_type: &str) -> String {
        match known.and_then(|event_type| event_type.name.clone()) {
            Some(name) => name,
            None if provider_type.is_empty() => format!("{}.webhook", self.source),
            None => format!("{}.{provider_type}", self.source),
        }
    }

    /// The event of a payload, without id and time.
    ///
    /// # Errors
    /// When the payload does not fit its type, or, untyped, is not JSON.
    pub(crate) fn event(
        &self,
        provider_type: &str,
        json: Bytes,
        text: &str,
        headers: &HeaderMap,
        selected: &Selected<'_>,
    ) -> Result<wire::Event, DecodeError> {
        let known = self.types.find(provider_type);
        let own = known.and_then(|known| known.selector.as_ref()).map(|selector| selector.select(text)).transpose()?;
        let selected = own.as_ref().unwrap_or(selected);
        let (type_url, value, duplicate) = match known.map(|known| &known.becomes) {
            Some(Becomes::Message { type_url, mapping }) => {
                let decoded = mapping.decode(text, selected)?;
                (type_url.clone(), decoded.bytes, decoded.duplicate_key)
            }
            Some(Becomes::Json(Some((pointer, slot)))) => {
                let part = selected.json(*slot).ok_or_else(|| DecodeError::absent(pointer))?;
                let duplicate = duplicate_key(part)?;
                (type_url(&JsonPayload::full_name()), json_payload(Bytes::copy_from_slice(part.as_bytes())), duplicate)
            }
            Some(Becomes::Json(None)) | None => {
                let duplicate = duplicate_key(text)?;
                (type_url(&JsonPayload::full_name()), json_payload(json), duplicate)
            }
        };
        let about = known.map_or(&self.untyped, |known| &known.about);
        let fill = |template: &Option<Bound>| {
            template.as_ref().and_then(|bound| bound.fill(headers, selected).ok()).map_or_else(String::new, Cow::into_owned)
        };
        let correlation_id = fill(&about.correlation_id);
        let mut event = wire::Event {
            source: self.source.clone(),
            r#type: self.name(known, provider_type),
            subject: fill(&about.subject),
            ordering_key: fill(&about.ordering_key),
            data: Some(wire::Any { type_url, value }),
            ..wire::Event::default()
        };
        if !correlation_id.is_empty() {
            event.lineage = Some(Lineage { correlation_id, ..Lineage::default() });
        }
        if !provider_type.is_empty() {
            event.attributes.insert(PROVIDER_TYPE.to_owned(), provider_type.to_owned());
        }
        if let Some(path) = duplicate {
            event.attributes.insert(DUPLICATE_KEYS.to_owned(), path.pointer());
        }
        Ok(event)
    }
}

impl Typing {
    /// Where the fields of an event that was made here came from; nothing of one that is as it was sent.
    pub(crate) fn origins(&self, event: &wire::Event, text: &str, selected: &Selected<'_>) -> Vec<Origin> {
        let known = self.types.find(event.attributes.get(PROVIDER_TYPE).map_or("", |name| name));
        let own = known.and_then(|known| known.selector.as_ref()?.select(text).ok());
        match (known.map(|known| &known.becomes), event.data.as_ref()) {
            (Some(Becomes::Message { mapping, .. }), Some(data)) => mapping.origins(&data.value, text, own.as_ref().unwrap_or(selected)),
            _ => Vec::new(),
        }
    }
}

impl EventType {
    /// `base` is what the source looks at for every webhook.
    fn compile(table: &TypeTable, about: &About, schemas: &Schemas, base: &Selector) -> Result<Self, Vec<MappingProblem>> {
        let about = table.about().or(about);
        let mut selector = base.clone();
        let becomes = Becomes::compile(table, schemas, &mut selector);
        match (becomes, about.bind(&mut selector)) {
            (Ok(becomes), Ok(about)) => {
                let of_message = matches!(becomes, Becomes::Message { .. }).then(|| table.message.clone());
                let selector = (selector.len() > base.len()).then_some(selector);
                Ok(Self { name: table.event_type.clone().or(of_message), becomes, about, selector })
            }
            (becomes, about) => Err(becomes.err().into_iter().flatten().chain(about.err()).collect()),
        }
    }
}

impl Becomes {
    fn compile(table: &TypeTable, schemas: &Schemas, selector: &mut Selector) -> Result<Self, Vec<MappingProblem>> {
        let part = table.at.as_deref();
        if table.message != JsonPayload::full_name() {
            let mapping = Mapping::compile(schemas, &table.message, part, &table.fields, &table.constants, selector)?;
            return Ok(Self::Message { type_url: type_url(&table.message), mapping });
        }
        let problem = |key: &str, problem: String| vec![MappingProblem { key: key.to_owned(), problem }];
        if !(table.fields.is_empty() && table.constants.is_empty()) {
            return Err(problem("message", "is what was sent, byte for byte: fields and constants have no meaning with it".to_owned()));
        }
        let part = part.map(str::parse::<Pointer>).transpose().map_err(|error| problem("at", error.to_string()))?;
        Ok(Self::Json(part.map(|pointer| (pointer.clone(), selector.add(&pointer)))))
    }
}

impl About {
    /// Its own, or else those of `other`.
    pub(crate) fn or(self, other: &Self) -> Self {
        Self {
            subject: self.subject.or_else(|| other.subject.clone()),
            ordering_key: self.ordering_key.or_else(|| other.ordering_key.clone()),
            correlation_id: self.correlation_id.or_else(|| other.correlation_id.clone()),
        }
    }

    /// Puts its own over those of a type.
    pub(crate) fn over(&self, table: &mut TypeTable) {
        let About { subject, ordering_key, correlation_id } = self.clone().or(&table.about());
        (table.subject, table.ordering_key, table.correlation_id) = (subject, ordering_key, correlation_id);
    }

    fn bind(&self, selector: &mut Selector) -> Result<BoundAbout, MappingProblem> {
        let mut bind = |key: &str, template: &Option<Template>| {
            let bound = template.as_ref().map(|template| template.bind_with_optional(selector)).transpose();
            bound.map_err(|problem| MappingProblem { key: key.to_owned(), problem })
        };
        Ok(BoundAbout {
            subject: bind("subject", &self.subject)?,
            ordering_key: bind("ordering_key", &self.ordering_key)?,
            correlation_id: bind("correlation_id", &self.correlation_id)?,
        })
    }
}

fn json_payload(json: Bytes) -> Bytes {
    JsonPayload { json }.encode_to_vec().into()
}

fn type_url(name: &str) -> String {
    format!("{TYPE_URL_PREFIX}/{name}")
}
