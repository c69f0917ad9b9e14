//! What is wrong with a configuration: every problem, with its place, its key, its value, and what would be right.
//!
//! Constraint: a check reports and goes on, so that one run of `waypost check` shows everything.

use std::fmt;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, and the line in it if the key is there.
    pub place: String,
    /// The key with its sections, `edge.listen`; empty if it is about the whole file.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that is wrong with a configuration, one a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Gathers what the checks of the sections find. Keys are relative to the section that is being checked.
#[derive(Debug, Default)]
pub struct Findings {
    section: String,
    found: Vec<(String, String)>,
}

impl Findings {
    /// Runs the checks of a section.
    pub fn within(&mut self, section: &str, check: impl FnOnce(&mut Self)) {
        let outer = self.section.clone();
        self.section = self.full(section);
        check(self);
        self.section = outer;
    }

    /// Reports what is wrong with a key, and what would be right.
    pub fn wrong(&mut self, key: &str, text: impl fmt::Display) {
        let key = self.full(key);
        self.found.push((key, text.to_string()));
    }

    /// Reports a value that is not between two others.
    pub fn between<T: PartialOrd + fmt::Display>(&mut self, key: &str, value: T, min: T, max: T) {
        if value < min || value > max {
            self.wrong(key, format_args!("{value} is out of range; it must be between {min} and {max}"));
        }
    }

    /// What was found: full keys, and texts.
    #[must_use]
    pub fn into_inner(self) -> Vec<(String, String)> {
        self.found
    }

    fn full(&self, key: &str) -> String {
        if self.section.is_empty() || key.is_empty() { format!("{}{key}", self.section) } else { format!("{}.{key}", self.section) }
    }
}
