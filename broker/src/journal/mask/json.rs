//! The values of a JSON text that must not be kept, found without reading it into memory.
//!
//! Constraints: it never fails. What is no JSON has no values, and a text that breaks off has those before; depth is bounded by giving up on
//! paths, not on names. JSON inside of a string, as it is or in base64, is looked into as well: providers wrap payloads.

use std::{borrow::Cow, ops::Range};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{MASKED, Rules, body::text, names};

/// Deeper than this, paths are not told apart any more.
const MAX_DEPTH: usize = 64;

/// JSON in a string in JSON in a string.
const MAX_WRAPS: u8 = 3;

/// A part of a text, and what is to stand there.
pub(super) type Change = (Range<usize>, Cow<'static, [u8]>);

/// One step from the root of a payload.
#[derive(Clone, Debug)]
pub(super) enum Step<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

/// The changes of a JSON text, in its order.
pub(super) fn changes(json: &[u8], rules: &Rules<'_>, wraps: u8) -> Vec<Change> {
    let mut scan = Scan { json, at: 0, rules, wraps, path: Vec::new(), arrays: Vec::new(), key: None, found: Vec::new() };
    scan.run();
    scan.found
}

struct Scan<'a> {
    json: &'a [u8],
    at: usize,
    rules: &'a Rules<'a>,
    wraps: u8,
    /// Of the value that comes next; the last step of an object is its key.
    path: Vec<Step<'a>>,
    /// Whether each open bracket is an array.
    arrays: Vec<bool>,
    /// The key whose value comes next.
    key: Option<Cow<'a, str>>,
    found: Vec<Change>,
}

impl<'a> Scan<'a> {
    fn run(&mut self) {
        while let Some(&byte) = self.json.get(self.at) {
            match byte {
                b'{' | b'[' if self.masks() => self.mask_all(),
                b'{' => self.open(false),
                b'[' => self.open(true),
                b'}' | b']' => self.close(),
                b',' => self.next(),
                b'"' => self.string(),
                b':' | b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                _ => self.word(),
            }
        }
    }

    fn open(&mut self, is_array: bool) {
        if self.arrays.len() < MAX_DEPTH {
            if let Some(key) = self.key.take() {
                self.path.push(Step::Key(key));
            } else if !self.arrays.is_empty() && self.arrays.last() == Some(&false) {
                self.path.push(Step::Key(Cow::Borrowed("")));
            }
            if is_array {
                self.path.push(Step::Index(0));
            }
        }
        self.key = None;
        self.arrays.push(is_array);
        self.at += 1;
    }

    fn close(&mut self) {
        let was_array = self.arrays.pop();
        if self.arrays.len() < MAX_DEPTH {
            if was_array == Some(true) {
                self.path.pop();
            }
            if self.arrays.last() == Some(&false) {
                self.path.pop();
            }
        }
        self.key = None;
        self.at += 1;
    }

    fn next(&mut self) {
        if self.arrays.len() <= MAX_DEPTH
            && self.arrays.last() == Some(&true)
            && let Some(Step::Index(index)) = self.path.last_mut()
        {
            *index += 1;
        }
        self.key = None;
        self.at += 1;
    }

    /// Whether the value that comes next must not be kept, whatever it is.
    fn masks(&self) -> bool {
        if self.key.as_ref().is_some_and(|key| names::is_secret(key)) {
            return true;
        }
        let last = self.key.as_deref().map(|key| Step::Key(Cow::Borrowed(key)));
        self.arrays.len() <= MAX_DEPTH && self.rules.paths().any(|pattern| pattern.fits(self.path.iter().chain(last.as_ref())))
    }

    /// Masks an object or an array as a whole.
    fn mask_all(&mut self) {
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(&byte) = self.json.get(self.at) {
            match byte {
                b'"' => {
                    self.at = self.end_of_string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                break;
            }
        }
        self.mask(start);
    }

    fn mask(&mut self, start: usize) {
        self.found.push((start..self.at, format!("\"{MASKED}\"").into_bytes().into()));
        self.key = None;
    }

    /// The end of the string that begins here, or of all.
    fn end_of_string(&self) -> usize {
        let mut at = self.at + 1;
        while let Some(&byte) = self.json.get(at) {
            match byte {
                b'\\' => at += 2,
                b'"' => return at + 1,
                _ => at += 1,
            }
        }
        self.json.len()
    }

    fn string(&mut self) {
        let start = self.at;
        let end = self.end_of_string();
        let quoted = &self.json[start..end];
        let after = self.json[end..].iter().find(|byte| !byte.is_ascii_whitespace());
        let is_key = self.key.is_none() && after == Some(&b':') && self.arrays.last() != Some(&true);
        if is_key {
            self.key = Some(unescaped(quoted));
            self.at = end;
            return;
        }
        let masks = self.masks();
        self.at = end;
        if masks {
            return self.mask(start);
        }
        self.key = None;
        let inside = if quoted.len() > 1 && quoted.ends_with(b"\"") { start + 1..end - 1 } else { start + 1..end };
        if let Some(wrapped) = self.wrapped(quoted) {
            self.found.push((start..end, wrapped.into()));
            return;
        }
        for (range, with) in text(&self.json[inside.clone()], self.rules) {
            self.found.push((inside.start + range.start..inside.start + range.end, with));
        }
    }

    /// A string that holds JSON of which something must not be kept, without it.
    fn wrapped(&self, quoted: &[u8]) -> Option<Vec<u8>> {
        if self.wraps >= MAX_WRAPS || quoted.len() < 8 {
            return None;
        }
        let inner = unescaped(quoted);
        let (plain, is_base64) = match inner.trim_start().as_bytes().first()? {
            b'{' | b'[' => (inner.as_bytes().to_vec(), false),
            b'e' | b'W' => (STANDARD.decode(inner.as_bytes()).ok().filter(|plain| matches!(plain.first(), Some(b'{' | b'[')))?, true),
            _ => return None,
        };
        let mut found = changes(&plain, self.rules, self.wraps + 1);
        if found.is_empty() {
            return None;
        }
        let masked = super::body::apply(&plain, &mut found);
        let masked = if is_base64 { STANDARD.encode(masked) } else { String::from_utf8_lossy(&masked).into_owned() };
        serde_json::to_vec(&masked).ok()
    }

    /// A number, or something that is none.
    fn word(&mut self) {
        let start = self.at;
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b",:{}[]\"".contains(byte);
        self.at = self.json[start..].iter().position(is_end).map_or(self.json.len(), |length| start + length.max(1));
        if self.masks() {
            return self.mask(start);
        }
        self.key = None;
        // Whatever of it must go takes the rest along: half a number is another one.
        if !text(&self.json[start..self.at], self.rules).is_empty() {
            self.mask(start);
        }
    }
}

/// The text of a string with its quotes; as it is written, if it is not well written.
fn unescaped(quoted: &[u8]) -> Cow<'_, str> {
    let inside = quoted.strip_prefix(b"\"").unwrap_or(quoted);
    let inside = inside.strip_suffix(b"\"").unwrap_or(inside);
    if !inside.contains(&b'\\') {
        return String::from_utf8_lossy(inside);
    }
    serde_json::from_slice::<String>(quoted).map_or_else(|_| String::from_utf8_lossy(inside), Cow::Owned)
}
