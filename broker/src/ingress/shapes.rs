//! What the payload of an event type looks like, where nothing signs the type: whoever has seen one signed body could send it as another type.
//!
//! Constraints:
//! - Answered by the pass that finds what the source looks at anyway: each type has its own few pointers in it. A source whose scheme has no such
//!   rule pays for a branch.
//! - It flags and never refuses: providers add members to their payloads, and operators leave some out.

use std::{collections::BTreeMap, fmt, str::FromStr};

use http::HeaderMap;
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    decode::{Pointer, Selected, Selector, Slot},
    entries::Entries,
    template::{Bound, Part, Template},
};

/// The attribute of an event whose payload does not look like its type: what it lacks, or has too much.
pub(super) const TYPE_DOUBT: &str = "typedoubt";

/// What a payload of an event type looks like.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShapeTable {
    /// What is there, whatever its value.
    #[serde(default)]
    pub has: Vec<Members>,
    /// What is not there.
    #[serde(default)]
    pub lacks: Vec<Members>,
}

/// Members of a payload, of which one counts: JSON pointers with `|` between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(Vec<Pointer>);

impl FromStr for Members {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split('|')
            .map(|pointer| pointer.parse().map_err(|error: super::decode::PointerError| error.to_string()))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pointers: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&pointers.join("|"))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The shapes of a source's types.
#[derive(Clone, Debug)]
pub(crate) struct Shapes {
    /// The type, as far as it stands in headers.
    name: Bound,
    by_name: Entries<Shape>,
}

/// The shape of one type.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Everything that the source looks at, and this.
    selector: Selector,
    has: Vec<(Members, Vec<Slot>)>,
    lacks: Vec<(Members, Vec<Slot>)>,
}

/// Whether a rule for the event type finds it in headers alone, before the payload is looked at.
pub(crate) fn stands_in_headers(event_type: &[Template]) -> bool {
    let in_headers = |part: &Part| matches!(part, Part::Header(_) | Part::Literal(_) | Part::FirstOf(_));
    event_type.first().is_some_and(|first| first.parts().all(in_headers))
}

impl Shapes {
    /// Of the types that `event_type` finds, beside `base`, which is everything that the source looks at. `None` if there are none.
    ///
    /// # Errors
    /// For people: what is wrong with the name of a type, with it.
    pub(crate) fn compile(event_type: &[Template], tables: &BTreeMap<String, ShapeTable>, base: &Selector) -> Result<Option<Self>, String> {
        let Some(first) = event_type.first().filter(|_| !tables.is_empty() && stands_in_headers(event_type)) else { return Ok(None) };
        let mut by_name = Entries::default();
        for (name, table) in tables {
            by_name.add(name, Shape::compile(table, base)).map_err(|problem| format!("{name}: {problem}"))?;
        }
        Ok(Some(Self { name: first.bind(&mut Selector::default())?, by_name }))
    }

    /// That of a request.
    pub(crate) fn of(&self, headers: &HeaderMap) -> Option<&Shape> {
        self.by_name.find(&self.name.fill(headers, &Selected::default()).ok()?)
    }
}

impl Shape {
    fn compile(table: &ShapeTable, base: &Selector) -> Self {
        let mut selector = base.clone();
        let mut slots = |all: &[Members]| -> Vec<(Members, Vec<Slot>)> {
            all.iter().map(|members| (members.clone(), members.0.iter().map(|pointer| selector.add(pointer)).collect())).collect()
        };
        let (has, lacks) = (slots(&table.has), slots(&table.lacks));
        Self { selector, has, lacks }
    }

    /// What is looked for in its payloads.
    pub(crate) fn selector(&self) -> &Selector {
        &self.selector
    }

    /// Why a payload is none of its type; `None` if it may be one.
    pub(crate) fn doubt(&self, selected: &Selected<'_>) -> Option<String> {
        let is_there = |slots: &[Slot]| slots.iter().any(|slot| selected.json(*slot).is_some());
        let lacking = self.has.iter().find(|(_, slots)| !is_there(slots)).map(|(members, _)| format!("lacks {members}"));
        lacking.or_else(|| self.lacks.iter().find(|(_, slots)| is_there(slots)).map(|(members, _)| format!("has {members}")))
    }
}
