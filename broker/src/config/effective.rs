//! Every key that holds, with its value and where it comes from.
//!
//! Constraints: what is shown is what the broker goes by: the user's file over the defaults, and what the environment and the command
//! line put over both; a secret is shown as the reference that it is.

use std::{collections::BTreeMap, env, fmt, path::Path};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{load::DEFAULTS, traces::endpoint_of_environment};
use crate::telemetry::LEVEL_VARIABLE;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// From `waypost.default.toml`.
    Default,
    /// From the configuration file.
    File {
        /// The file.
        path: String,
        /// The line in it.
        line: usize,
    },
    /// From a variable of the environment.
    Environment(&'static str),
    /// From an option of the command line.
    CommandLine(&'static str),
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::CommandLine(option) => write!(f, "command line {option}"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// The value.
    pub value: toml::Value,
    /// Where it comes from.
    pub from: Provenance,
}

/// The keys that hold, by their full names. `text` is a configuration file that was loaded without a problem.
#[must_use]
pub fn effective(text: &str, path: &Path) -> BTreeMap<String, Held> {
    let mut keys = BTreeMap::new();
    gather(DEFAULTS, &mut keys, |_| Provenance::Default);
    let path = path.display().to_string();
    gather(text, &mut keys, |at| Provenance::File { path: path.clone(), line: text[..at].matches('\n').count() + 1 });
    if let Ok(level) = env::var(LEVEL_VARIABLE) {
        keys.insert("log.level".to_owned(), Held { value: level.into(), from: Provenance::Environment(LEVEL_VARIABLE) });
    }
    if let Some((name, url)) = endpoint_of_environment() {
        keys.insert("traces.endpoint".to_owned(), Held { value: url.into(), from: Provenance::Environment(name) });
    }
    keys
}

/// Takes in the keys of a file; `from` is told where in the text a key stands.
fn gather(text: &str, keys: &mut BTreeMap<String, Held>, from: impl Fn(usize) -> Provenance) {
    let (table, _) = DeTable::parse_recoverable(text);
    let values: toml::Table = text.parse().unwrap_or_default();
    walk(table.get_ref(), &values, "", &mut |key, at, value| {
        // A table of the defaults that the user has as a value, or the other way round, goes as a whole.
        let below = format!("{key}.");
        keys.retain(|known, _| !known.starts_with(&below) && !key.starts_with(&format!("{known}.")));
        keys.insert(key.to_owned(), Held { value: value.clone(), from: from(at) });
    });
}

fn walk(table: &DeTable<'_>, values: &toml::Table, above: &str, visit: &mut impl FnMut(&str, usize, &toml::Value)) {
    for (name, place) in table {
        let text: &str = name.get_ref();
        let Some(value) = values.get(text) else { continue };
        let key = full(above, text);
        match (place.get_ref(), value) {
            (DeValue::Table(inner), toml::Value::Table(values)) => walk(inner, values, &key, visit),
            _ => visit(&key, start(name), value),
        }
    }
}

fn start<T>(place: &Spanned<T>) -> usize {
    place.span().start
}

fn full(above: &str, name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let name = if is_bare { name.to_owned() } else { format!("{name:?}") };
    if above.is_empty() { name } else { format!("{above}.{name}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::config::Config;
    use serde::Deserialize;

    #[test]
    fn every_key_is_there_once_with_its_line() {
        let text = "[edge]\nmax_body = '512KiB'\n\n[sources.\"a.b\"]\nscheme = { signature = { header = 'X-Sig' } }\nsecrets = [\n  'env:A', # one\n  'env:B',\n]\n";
        let keys = effective(text, Path::new("way.toml"));
        let shown = |key: &str| format!("{} {}", keys[key].value, keys[key].from);
        assert_eq!(shown("edge.max_body"), "\"512KiB\" way.toml:2");
        assert_eq!(shown("edge.body_timeout"), "\"10s\" default");
        assert_eq!(shown("sources.\"a.b\".scheme.signature.header"), "\"X-Sig\" way.toml:5");
        assert_eq!(shown("sources.\"a.b\".secrets"), "[\"env:A\", \"env:B\"] way.toml:6");
    }

    #[test]
    fn nothing_of_the_defaults_is_left_out() {
        // Put together again, the keys are the configuration.
        let mut text = String::new();
        for (key, held) in effective("", Path::new("")) {
            text += &format!("{key} = {}\n", held.value);
        }
        Config::deserialize(toml::Deserializer::parse(&text).unwrap()).unwrap();
    }
}
