//! A value that is computed: an expression in CEL (the Common Expression Language) over values of the payload.
//!
//! Constraints:
//! - What it looks at is known at start: every use of `payload` names a value, so that nothing else of a document is read for it.
//! - The work is bounded by its text: no loops, no functions but those listed here, inputs of [`MAX_INPUT_BYTES`] together. A payload can make it
//!   fail, and no more.
//! - Integers are integers: what does not fit in 64 bits is an error, never rounded.
//! - An error repeats nothing of the payload.

use std::{
    collections::{BTreeMap, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{
    Context, Env, ExecutionError, Program, Value,
    common::ast::{CallExpr, Expr, LiteralValue},
    objects::{Key, Map},
};
use serde_json::Value as Json;

use super::{Pointer, Selected, Selector, Slot};
use crate::schema::plan::Kind;

/// The longest expression.
const MAX_BYTES: usize = 1024;
/// How deep its parts may be inside of each other: evaluating one takes a few hundred bytes of stack a level.
const MAX_DEPTH: usize = 24;
/// The most bytes of JSON that one evaluation looks at, and that it makes.
const MAX_INPUT_BYTES: usize = 64 * 1024;
/// What the parser's own recursion needs at most for [`MAX_BYTES`].
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// What stands for the payload in an expression.
const PAYLOAD: &str = "payload";

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
enum Gives {
    Bool,
    Int,
    Double,
    Text,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    program: Arc<Program>,
    inputs: Vec<Input>,
}

/// A value of the payload that an expression looks at.
#[derive(Clone, Debug)]
struct Input {
    path: Vec<Step>,
    pointer: Pointer,
    slot: Slot,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Name(String),
    Index(i64),
}

/// Why there is no value.
#[derive(Debug)]
pub(super) enum NoValue {
    /// A value that it needs is not there.
    Absent(Pointer),
    /// It cannot be computed from what is there.
    Failed(Pointer, String),
}

static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Expression {
    /// Compiles an expression for a field.
    ///
    /// # Errors
    /// For people: what is wrong with it.
    pub(super) fn compile(text: &str, kind: Kind, selector: &mut Selector) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("is an expression of {} bytes; {MAX_BYTES} are allowed", text.len()));
        }
        let source = text.to_owned();
        // The parser descends by itself: a stack of its own, so that no expression can end the process.
        let parser = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn(move || checked(&source));
        let parsed = parser.map_err(|error| format!("cannot be compiled: {error}"))?.join();
        let (program, paths, gives) = parsed.map_err(|_| "is no expression that the parser can read".to_owned())??;
        if let Some(gives) = gives.filter(|gives| !gives.fits(kind)) {
            return Err(format!("gives {}, but the field needs {}", gives.name(), kind.expected()));
        }
        let inputs = paths.into_iter().map(|path| {
            let pointer = Pointer::of(path.iter().map(Step::to_string));
            Input { slot: selector.add(&pointer), pointer, path }
        });
        Ok(Self { program: Arc::new(program), inputs: inputs.collect() })
    }

    /// Computes the value as JSON; `None` if it is null.
    ///
    /// # Errors
    /// [`NoValue`] says why there is none.
    pub(super) fn value(&self, selected: &Selected<'_>) -> Result<Option<String>, NoValue> {
        let first = || self.inputs.first().map(|input| input.pointer.clone()).unwrap_or_default();
        let failed = |problem: &str| NoValue::Failed(first(), problem.to_owned());
        let (mut found, mut bytes) = (BTreeMap::new(), 0);
        for input in &self.inputs {
            let json = selected.json(input.slot).filter(|json| *json != "null");
            bytes += json.map_or(0, str::len);
            if bytes > MAX_INPUT_BYTES {
                return Err(failed("the values that the expression needs are longer than 64 KiB together"));
            }
            let value = json.map(|json| value_of(json).ok_or_else(|| NoValue::Failed(input.pointer.clone(), BEYOND.to_owned())));
            found.insert(&*input.path, value.transpose()?);
        }
        let mut context = Context::with_env(Arc::clone(&ENV));
        context.add_variable_from_value(PAYLOAD, tree(&found, 0));
        // The library should not panic; a webhook must not find out.
        let result = catch_unwind(AssertUnwindSafe(|| self.program.execute(&context)));
        let value = result.map_err(|_| failed("the expression cannot be computed"))?.map_err(|error| self.why(&error, selected))?;
        let json = json_of(&value).ok_or_else(|| failed("the expression gives something that no field can hold"))?;
        match json {
            Json::Null => Ok(None),
            json => Some(json.to_string()).filter(|text| text.len() <= MAX_INPUT_BYTES).map(Some).ok_or_else(|| failed("is too long")),
        }
    }

    /// An error of the library without what it says of the payload.
    fn why(&self, error: &ExecutionError, selected: &Selected<'_>) -> NoValue {
        let absent = self.inputs.iter().find(|input| selected.json(input.slot).is_none_or(|json| json == "null"));
        if let (ExecutionError::NoSuchKey(_), Some(input)) = (error, absent) {
            return NoValue::Absent(input.pointer.clone());
        }
        let problem = match error {
            ExecutionError::NoSuchOverload(_) | ExecutionError::UnsupportedBinaryOperator(..) | ExecutionError::ValuesNotComparable(..) => {
                "what is there is of sorts that do not go together; int(), double() and string() convert".to_owned()
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "the expression divides by zero".to_owned(),
            ExecutionError::Overflow(..) => BEYOND.to_owned(),
            ExecutionError::FunctionError { function, .. } => format!("{function}() cannot be used on what is there"),
            _ => "the expression cannot be computed from what is there".to_owned(),
        };
        NoValue::Failed(self.inputs.first().map(|input| input.pointer.clone()).unwrap_or_default(), problem)
    }
}

/// What is said of a number that would have to be rounded.
const BEYOND: &str = "a number is beyond 64 bits";

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Index(index) => index.fmt(f),
        }
    }
}

impl Gives {
    fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Bool => kind == Kind::Bool,
            // A format may make a time of it.
            Self::Int | Self::Double => !matches!(kind, Kind::Bool | Kind::String | Kind::Bytes),
            Self::Text => kind != Kind::Bool,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int => "an integer",
            Self::Double => "a number",
            Self::Text => "a string",
        }
    }
}

type Checked = (Program, Vec<Vec<Step>>, Option<Gives>);

fn checked(source: &str) -> Result<Checked, String> {
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

/// The payload as far as it is looked at: what is around a value is an object, whether the payload has it or not.
fn tree(found: &BTreeMap<&[Step], Option<Value>>, depth: usize) -> Value {
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
fn value_of(json: &str) -> Option<Value> {
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
fn json_of(value: &Value) -> Option<Json> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    /// What an expression makes of a payload, for a field that takes it.
    fn compute(expression: &str, payload: &str) -> Result<Option<String>, String> {
        let mut selector = Selector::default();
        let mut compile = |kind| Expression::compile(expression, kind, &mut selector);
        let compiled = compile(Kind::Message(0)).or_else(|_| compile(Kind::Bool))?;
        let selected = selector.select(payload).unwrap();
        compiled.value(&selected).map_err(|error| match error {
            NoValue::Absent(pointer) => format!("absent: {pointer}"),
            NoValue::Failed(pointer, problem) => format!("{pointer}: {problem}"),
        })
    }

    fn refused(expression: &str, kind: Kind) -> String {
        Expression::compile(expression, kind, &mut Selector::default()).unwrap_err()
    }

    const ORDER: &str = r#"{"id":820982911946154508,"net":1999,"tax":381,"rate":1.5,"currency":"eur","paid":true,"note":null,
        "items":[{"sku":"A","n":2},{"sku":"B","n":1}],"who":{"first":"Jane","last":"Doe"},"a-b":"c","huge":18446744073709551615}"#;

    #[test]
    fn a_value_is_computed_from_others_exactly() {
        for (expression, value) in [
            ("payload.net + payload.tax", "2380"),
            ("payload.id + 1", "820982911946154509"),
            ("payload.huge", "18446744073709551615"),
            ("payload.who.first + ' ' + payload.who.last", r#""Jane Doe""#),
            ("payload.paid ? 'paid' : 'open'", r#""paid""#),
            ("string(payload.id)", r#""820982911946154508""#),
            ("double(payload.net) * payload.rate", "2998.5"),
            ("payload.items[1].sku", r#""B""#),
            ("payload['a-b']", r#""c""#),
            ("size(payload.items)", "2"),
            ("payload.currency in ['eur', 'usd']", "true"),
            ("has(payload.who.first) && !has(payload.who.middle) && !has(payload.no.where) && !has(payload.note)", "true"),
            ("has(payload.none) ? payload.none : 'nobody'", r#""nobody""#),
            ("payload.currency.startsWith('e')", "true"),
            ("[payload.net, payload.tax]", "[1999,381]"),
        ] {
            assert_eq!(compute(expression, ORDER), Ok(Some(value.to_owned())), "{expression}");
        }
        assert_eq!(compute("payload.paid ? null : 1", ORDER), Ok(None));
    }

    #[test]
    fn what_cannot_be_computed_says_why_and_repeats_nothing() {
        for (expression, problem) in [
            ("payload.net + payload.gross", "absent: /gross"),
            ("payload.note + 'x'", "absent: /note"),
            ("payload.net / (payload.tax - 381)", "divides by zero"),
            ("payload.id * payload.id", "beyond 64 bits"),
            ("payload.net + payload.rate", "/net: what is there is of sorts that do not go together"),
            ("int(payload.currency)", "int() cannot be used on what is there"),
            ("payload.currency - 1", "/currency: "),
            ("payload.items[7].sku", "absent: /items/7/sku"),
        ] {
            let found = compute(expression, ORDER).unwrap_err();
            assert!(found.contains(problem) && !found.contains("eur"), "{expression}: {found}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(40_000));
        assert!(compute("payload.a + payload.b", &long).unwrap_err().contains("absent"));
        assert!(compute("payload.a + payload.a", &long).unwrap_err().contains("too long"));
        assert!(compute("size(payload.a)", &format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000))).unwrap_err().contains("64 KiB"));
        assert!(compute("payload.a", r#"{"a":18446744073709551616}"#).unwrap_err().contains("beyond 64 bits"));
    }

    #[test]
    fn what_is_no_expression_or_may_not_be_one_is_refused_at_start() {
        for (expression, kind, problem) in [
            ("payload.a +", Kind::Int64, "is no expression, at character 12: "),
            ("order.id", Kind::Int64, "uses order, which there is not; a value of the webhook is payload.order"),
            ("payload", Kind::Int64, "uses the whole payload"),
            ("size(payload)", Kind::Int64, "uses the whole payload"),
            ("payload.items.map(i, i.n)", Kind::Int64, "goes through a list"),
            ("payload.items.all(i, payload.items.all(j, i == j))", Kind::Bool, "goes through a list"),
            ("payload.a[payload.b]", Kind::Int64, "an index is a number, or a name in quotes"),
            ("payload.a.matches('(a+)+')", Kind::Bool, "uses matches(), which there is not"),
            ("{'a': payload.b}", Kind::String, "makes an object"),
            ("b'abc'", Kind::Bytes, "has bytes"),
            ("payload.a == 1", Kind::String, "gives true or false, but the field needs a string"),
            ("size(payload.a)", Kind::String, "gives an integer, but the field needs a string"),
            ("payload.a + 'x'", Kind::Bool, "gives a string, but the field needs true or false"),
        ] {
            let found = refused(expression, kind);
            assert!(found.contains(problem), "{expression}: {found}");
        }
        assert!(refused(&"1+".repeat(600), Kind::Int64).contains("1024 are allowed"));
        assert!(refused(&format!("{}1", "1+".repeat(200)), Kind::Int64).contains("deep"));
        for nested in ["(", "[", "{", "!", "-", "a?", "f(", "a[", "has("] {
            let _ = refused(&nested.repeat(1_000 / nested.len()), Kind::Int64);
        }
    }

    proptest! {
        #[test]
        fn no_expression_and_no_payload_make_it_panic(
            expression in "(payload\\.[ab]|payload\\.c\\[0\\]|[0-9]{1,20}|'[a-z]{0,3}'|[-+*/%()!<>=&|?:,.\\[\\]{}]|size|string|int|has| in ){0,12}",
            value in prop_oneof!["-?[0-9]{1,25}", Just("null".to_owned()), Just("[1,\"x\",{}]".to_owned()), Just("1e308".to_owned()), Just("\"\"".to_owned())],
        ) {
            let payload = format!(r#"{{"a":{value},"b":9223372036854775807,"c":[{value}]}}"#);
            if let Ok(Ok(selected)) = serde_json::from_str::<Json>(&payload).map(|_| Selector::default().select(&payload)) {
                drop(selected);
                let _ = compute(&expression, &payload);
            }
        }
    }
}
