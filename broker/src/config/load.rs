//! From the text of a file to a [`Setup`]: overlay on the defaults, deserialise, check, make ready.
//!
//! Constraints: the defaults are `waypost.default.toml` and nothing else; every problem is found in one run: after each one its key is taken
//! away, so that its default stands in, and the rest is read again.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeTable, DeValue, Deserializer},
};

use super::{Config, Findings, Problem, Problems, Setup};
use crate::schema::Schemas;

/// The commented defaults, as they are also printed by `waypost defaults`.
pub const DEFAULTS: &str = include_str!("../../waypost.default.toml");

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It can, and something in it is wrong.
    #[error(transparent)]
    Invalid(#[from] Problems),
}

/// Reads a configuration file over the defaults; without one, the defaults.
///
/// # Errors
/// When the file cannot be read, and with every problem in it.
pub fn load(path: Option<&Path>) -> Result<Setup, LoadError> {
    let Some(path) = path else { return Ok(parse("", Path::new(""))?) };
    let text = fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    Ok(parse(&text, path)?)
}

/// Reads the text of a configuration file over the defaults. `path` is for the places of problems, and its folder is where relative
/// paths start.
///
/// # Errors
/// Every problem in it.
pub fn parse(text: &str, path: &Path) -> Result<Setup, Problems> {
    parse_with(text, path, None)
}

/// The same with message types that were compiled before; without them, those that the file names are compiled.
///
/// # Errors
/// Every problem in it.
pub fn parse_with(text: &str, path: &Path, schemas: Option<&Schemas>) -> Result<Setup, Problems> {
    let name = if path.as_os_str().is_empty() { "the defaults".to_owned() } else { path.display().to_string() };
    let file = File { name, text };
    let (mut user, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(Problems(errors.iter().map(|error| file.problem(error.span(), String::new(), error.message().to_owned())).collect()));
    }
    let whole = user.clone();

    let mut problems = Vec::new();
    let mut removed: Vec<Vec<String>> = Vec::new();
    let config = loop {
        let error = match deserialise(&user) {
            Ok(config) => break Some(config),
            Err(error) => error,
        };
        let Some(path) = error.span().and_then(|span| find(user.get_ref(), &span)) else {
            problems.push(file.problem(error.span(), String::new(), error.message().to_owned()));
            break None;
        };
        // That a table lacks a key which was taken away is not news.
        let follows = error.message().starts_with("missing field") && removed.iter().any(|earlier| earlier.starts_with(&path));
        if !follows {
            problems.push(file.problem(error.span(), path.join("."), explain(error.message())));
        }
        remove(user.get_mut(), &path);
        removed.push(path);
    };

    if let Some(config) = config {
        let mut findings = Findings::default();
        let setup = Setup::build(config, path.parent().unwrap_or(Path::new("")), schemas, &mut findings);
        for (key, text) in findings.into_inner() {
            problems.push(file.problem(locate(whole.get_ref(), &key), key, text));
        }
        if let Some(setup) = setup.filter(|_| problems.is_empty()) {
            return Ok(setup);
        }
    }
    Err(Problems(problems))
}

fn deserialise(user: &Spanned<DeTable<'_>>) -> Result<Config, toml::de::Error> {
    let mut merged = DeTable::parse(DEFAULTS)?;
    overlay(merged.get_mut(), user.get_ref());
    Config::deserialize(Deserializer::from(merged))
}

/// Puts the user's values over the defaults, table by table. Keys and values carry their place in the user's file.
fn overlay<'a>(under: &mut DeTable<'a>, over: &DeTable<'a>) {
    for (key, value) in over {
        let name: &str = key.get_ref();
        let merged = match (under.remove(name).map(Spanned::into_inner), value.get_ref()) {
            (Some(DeValue::Table(mut under)), DeValue::Table(over)) => {
                overlay(&mut under, over);
                DeValue::Table(under)
            }
            (_, over) => over.clone(),
        };
        under.insert(key.clone(), Spanned::new(value.span(), merged));
    }
}

/// The path of the innermost key at this place of the file.
fn find(table: &DeTable<'_>, span: &Range<usize>) -> Option<Vec<String>> {
    let covers = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let mut tables = Vec::new();
    for (key, value) in table {
        let name = || vec![key.get_ref().to_string()];
        if key.span() == *span || (value.span() == *span && !span.is_empty()) {
            return Some(name());
        }
        if let DeValue::Table(inner) = value.get_ref() {
            tables.push((name(), inner));
        } else if covers(value.span()) {
            return Some(name());
        }
    }
    tables.into_iter().find_map(|(mut path, inner)| {
        path.extend(find(inner, span)?);
        Some(path)
    })
}

fn remove(table: &mut DeTable<'_>, path: &[String]) {
    match path {
        [] => {}
        [key] => {
            table.remove(key.as_str());
        }
        [key, rest @ ..] => {
            if let Some(DeValue::Table(inner)) = table.get_mut(key.as_str()).map(Spanned::get_mut) {
                remove(inner, rest);
            }
        }
    }
}

/// Where a key is, or the innermost of its sections that is there.
fn locate(table: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    // The name of a source may hold dots of its own, so the longest matching key is taken.
    let fits = |key: &str| path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let (key, value) = table.iter().filter(|(key, _)| fits(key.get_ref())).max_by_key(|(key, _)| key.get_ref().len())?;
    let inner = match value.get_ref() {
        DeValue::Table(inner) => path.get(key.get_ref().len() + 1..).and_then(|rest| locate(inner, rest)),
        _ => None,
    };
    inner.or(Some(key.span()))
}

/// Says in our words what serde says in its own.
fn explain(message: &str) -> String {
    let kind = ["unknown field ", "unknown variant "].into_iter().find(|kind| message.starts_with(kind));
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(kind), Some(unknown)) = (kind, quoted.next()) else { return message.to_owned() };
    let known: Vec<_> = quoted.collect();
    let what = if kind == "unknown field " { "there is no such key" } else { "there is no such value" };
    let nearest = known.iter().map(|name| (distance(unknown, name), name)).min().filter(|(distance, _)| *distance <= 3);
    let hint = nearest.map_or_else(String::new, |(_, name)| format!(" (did you mean {name:?}?)"));
    format!("{unknown:?}: {what}{hint}; known here: {}", known.join(", "))
}

/// How many letters must change to make one word of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.chars().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

struct File<'a> {
    name: String,
    text: &'a str,
}

impl File<'_> {
    fn problem(&self, span: Option<Range<usize>>, key: String, text: String) -> Problem {
        let before = span.and_then(|span| self.text.get(..span.start));
        let place = before.map_or_else(|| self.name.clone(), |before| format!("{}:{}", self.name, before.matches('\n').count() + 1));
        Problem { place, key, text }
    }
}
