//! What an expression may say, and what it gives as far as its text says.
//!
//! Constraints: a path of the payload that is not known from the text alone is refused; so is every function that is not listed here.

use std::fmt;

use cel::{
    Program,
    common::ast::{CallExpr, Expr, LiteralValue},
};

use super::{ENV, PAYLOAD};
use crate::schema::plan::Kind;

/// How deep its parts may be inside of each other: evaluating one takes a few hundred bytes of stack a level.
const MAX_DEPTH: usize = 24;

/// The functions that there are, with what they give where that is known.
const FUNCTIONS: [(&str, Option<Gives>); 26] = [
    ("size", Some(Gives::Int)),
    ("contains", Some(Gives::Bool)),
    ("startsWith", Some(Gives::Bool)),
    ("endsWith", Some(Gives::Bool)),
    ("string", Some(Gives::Text)),
    ("int", Some(Gives::Int)),
    ("uint", Some(Gives::Int)),
    ("double", Some(Gives::Double)),
    ("bool", Some(Gives::Bool)),
    ("@in", Some(Gives::Bool)),
    ("_&&_", Some(Gives::Bool)),
    ("_||_", Some(Gives::Bool)),
    ("!_", Some(Gives::Bool)),
    ("_==_", Some(Gives::Bool)),
    ("_!=_", Some(Gives::Bool)),
    ("_<_", Some(Gives::Bool)),
    ("_<=_", Some(Gives::Bool)),
    ("_>_", Some(Gives::Bool)),
    ("_>=_", Some(Gives::Bool)),
    ("_?_:_", None),
    ("_+_", None),
    ("_-_", None),
    ("_*_", None),
    ("_/_", None),
    ("_%_", None),
    ("-_", None),
];

/// What an expression gives, as far as its text says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Bool,
    Int,
    Double,
    Text,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Name(String),
    Index(i64),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
        }
    }
}

impl Gives {
    pub(super) fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Bool => kind == Kind::Bool,
            // A format may make a time of it.
            Self::Int | Self::Double => !matches!(kind, Kind::Bool | Kind::String | Kind::Bytes),
            Self::Text => kind != Kind::Bool,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Double => "a number",
            Self::Text => "a string",
        }
    }
}

/// A program, the values of the payload that it looks at, and what it gives.
pub(super) type Checked = (Program, Vec<Vec<Step>>, Option<Gives>);

/// Parses an expression and checks that it says nothing that it may not.
///
/// # Errors
/// For people: what is wrong with it.
pub(super) fn checked(source: &str) -> Result<Checked, String> {
    let program = ENV.compile(source).map_err(|errors| {
        let text = errors.to_string();
        let first = text.lines().next().unwrap_or_default();
        // The library names its input like a file; an expression stands in one line.
        let place = first.strip_prefix("ERROR: <input>:1:").and_then(|rest| rest.split_once(": "));
        match place {
            Some((column, problem)) => format!("is no expression, at character {column}: {problem}"),
            None => format!("is no expression: {first}"),
        }
    })?;
    let mut walk = Walk { paths: Vec::new() };
    let gives = walk.part(&program.expression().expr, 0)?;
    walk.paths.sort();
    // What is inside of a value that is taken as a whole comes with it.
    walk.paths.dedup_by(|path, before| path.starts_with(before));
    Ok((program, walk.paths, gives))
}

struct Walk {
    paths: Vec<Vec<Step>>,
}

impl Walk {
    /// Checks a part, and answers what it gives.
    fn part(&mut self, expr: &Expr, depth: usize) -> Result<Option<Gives>, String> {
        if depth > MAX_DEPTH {
            return Err(format!("is nested more than {MAX_DEPTH} deep"));
        }
        if let Some(path) = path(expr) {
            if path.is_empty() {
                return Err("uses the whole payload; name the values that it needs, such as payload.order.id".to_owned());
            }
            self.paths.push(path);
            return Ok(if matches!(expr, Expr::Select(select) if select.test) { Some(Gives::Bool) } else { None });
        }
        match expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Some(Gives::Bool),
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Some(Gives::Int),
                LiteralValue::Double(_) => Some(Gives::Double),
                LiteralValue::String(_) => Some(Gives::Text),
                LiteralValue::Bytes(_) => return Err("has bytes, which no value of a payload is".to_owned()),
                LiteralValue::Null => None,
            }),
            Expr::List(list) => {
                list.elements.iter().try_for_each(|element| self.part(&element.expr, depth + 1).map(drop))?;
                Ok(None)
            }
            Expr::Call(call) => self.call(call, depth),
            Expr::Ident(name) => Err(format!("uses {name}, which there is not; a value of the webhook is payload.{name}")),
            Expr::Select(select) => {
                self.part(&select.operand.expr, depth + 1)?;
                Err("takes a part of something that is not the payload".to_owned())
            }
            Expr::Comprehension(_) => Err("goes through a list, which an expression may not".to_owned()),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => Err("makes an object, which a field cannot be".to_owned()),
        }
    }

    fn call(&mut self, call: &CallExpr, depth: usize) -> Result<Option<Gives>, String> {
        let Some((_, gives)) = FUNCTIONS.iter().find(|(name, _)| *name == call.func_name) else {
            if call.func_name == "_[_]" {
                return Err("looks up a value by another one: an index is a number, or a name in quotes".to_owned());
            }
            let known = FUNCTIONS.iter().map(|(name, _)| *name).filter(|name| name.starts_with(char::is_alphabetic)).collect::<Vec<_>>();
            return Err(format!("uses {}(), which there is not; there are has, {}", call.func_name, known.join(", ")));
        };
        let parts = call.target.iter().map(|target| &target.expr).chain(call.args.iter().map(|arg| &arg.expr));
        let given = parts.map(|part| self.part(part, depth + 1)).collect::<Result<Vec<_>, _>>()?;
        let same = || if call.func_name == "_?_:_" { &given[1.min(given.len())..] } else { &given[..] };
        // Both sides of an operator, and both ends of a choice, are of one sort.
        Ok(gives.or_else(|| same().iter().copied().flatten().next()))
    }
}

/// The path of `payload.a["b"][0]`, also inside of `has()`; `None` if it is something else.
fn path(expr: &Expr) -> Option<Vec<Step>> {
    match expr {
        Expr::Ident(name) if name == PAYLOAD => Some(Vec::new()),
        Expr::Select(select) => {
            let mut path = path(&select.operand.expr)?;
            path.push(Step::Name(select.field.clone()));
            Some(path)
        }
        Expr::Call(call) if call.func_name == "_[_]" && call.target.is_none() => {
            let [operand, index] = &*call.args else { return None };
            let mut path = path(&operand.expr)?;
            path.push(match &index.expr {
                Expr::Literal(LiteralValue::String(name)) => Step::Name(name.inner().to_owned()),
                Expr::Literal(LiteralValue::Int(index)) => Step::Index(*index.inner()),
                _ => return None,
            });
            Some(path)
        }
        _ => None,
    }
}
