//! A value that is computed: an expression in CEL (the Common Expression Language) over values of the payload.
//!
//! Constraints:
//! - What it looks at is known at start: every use of `payload` names a value, so that nothing else of a document is read for it.
//! - The work is bounded by its text: no loops, no functions but those that are listed, inputs of [`MAX_INPUT_BYTES`] together. A payload can make it
//!   fail, and no more.
//! - Integers are integers: what does not fit in 64 bits is an error, never rounded.
//! - An error repeats nothing of the payload.
//!
//! | file | what it holds |
//! |---|---|
//! | `grammar` | what an expression may say, and what it gives as far as its text says |
//! | `values` | values of the payload as expressions take them, and JSON of what they give |

mod grammar;
#[cfg(test)]
mod tests;
mod values;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
};

use cel::{Context, Env, ExecutionError, Program};
use serde_json::Value as Json;

use self::{
    grammar::Step,
    values::{json_of, tree, value_of},
};
use super::{Pointer, Selected, Selector, Slot};
use crate::schema::plan::Kind;

/// The longest expression.
const MAX_BYTES: usize = 1024;
/// The most bytes of JSON that one evaluation looks at, and that it makes.
const MAX_INPUT_BYTES: usize = 64 * 1024;
/// What the parser's own recursion needs at most for [`MAX_BYTES`].
const PARSER_STACK_BYTES: usize = 64 * 1024 * 1024;

/// What stands for the payload in an expression.
const PAYLOAD: &str = "payload";

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
        let parser = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES).spawn(move || grammar::checked(&source));
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
