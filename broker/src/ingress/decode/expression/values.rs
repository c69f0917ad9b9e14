//! Values of a payload as expressions take them, and what an expression gives as JSON.
//!
//! Constraint: a number is the one that the document has, or there is no value: none is rounded.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use cel::{
    Value,
    objects::{Key, Map},
};
use serde_json::Value as Json;

use super::grammar::Step;

/// The payload as far as it is looked at: what is around a value is an object, whether the payload has it or not.
pub(super) fn tree(found: &BTreeMap<&[Step], Option<Value>>, depth: usize) -> Value {
    let mut map = HashMap::new();
    let mut rest = found.iter().peekable();
    while let Some((path, value)) = rest.next() {
        let step = &path[depth];
        let mut inside = BTreeMap::from([(*path, value.clone())]);
        while let Some((path, value)) = rest.next_if(|(next, _)| next[depth] == *step) {
            inside.insert(path, value.clone());
        }
        let value = if path.len() == depth + 1 { value.clone() } else { Some(tree(&inside, depth + 1)) };
        let key = match step {
            Step::Name(name) => Key::from(name.clone()),
            Step::Index(index) => Key::Int(*index),
        };
        map.extend(value.map(|value| (key, value)));
    }
    Value::Map(Map { map: Arc::new(map) })
}

/// A JSON value; `None` if a number in it would be rounded.
pub(super) fn value_of(json: &str) -> Option<Value> {
    fn of(json: Json) -> Option<Value> {
        Some(match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => Value::Int(number),
                (_, Some(number), _) => Value::UInt(number),
                // An integer of so many digits was one in the document as well, and is another now.
                (_, _, Some(number)) if number.fract() != 0.0 || number.abs() < 9_007_199_254_740_992.0 => Value::Float(number),
                _ => return None,
            },
            Json::String(text) => Value::String(Arc::new(text)),
            Json::Array(elements) => Value::List(Arc::new(elements.into_iter().map(of).collect::<Option<_>>()?)),
            Json::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| Some((Key::from(name), of(value)?)));
                Value::Map(Map { map: Arc::new(fields.collect::<Option<_>>()?) })
            }
        })
    }
    of(serde_json::from_str(json).ok()?)
}

/// What an expression gave, as JSON; `None` for what is none.
pub(super) fn json_of(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(number) => Json::from(*number),
        Value::UInt(number) => Json::from(*number),
        Value::Float(number) => Json::Number(serde_json::Number::from_f64(*number)?),
        Value::String(text) => Json::String(text.to_string()),
        Value::List(elements) => Json::Array(elements.iter().map(json_of).collect::<Option<_>>()?),
        _ => return None,
    })
}
