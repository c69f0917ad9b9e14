//! Tables for people: columns under a head, or facts one below the other.
//!
//! Constraints: what is shown was written by others (webhooks, agents), so nothing in it may move the cursor, change colours or reverse the
//! text; no borders, so that a line can be cut out and pasted.

use std::fmt;

/// Between two columns.
const GAP: &str = "  ";

/// Rows of cells.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With a head.
    #[must_use]
    pub fn with_head(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| name.to_uppercase()).collect()] }
    }

    /// Adds a row. An empty cell is shown as `-`, so that columns can be counted.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { clean(cell) }).collect());
    }

    /// Adds a fact: its name, and what it is.
    pub fn fact(&mut self, name: &str, value: impl fmt::Display) {
        self.row([name.to_owned(), value.to_string()]);
    }
}

impl fmt::Display for Table {
    /// Without a line break at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let (last, before) = match row.split_last() {
                Some(split) => split,
                None => continue,
            };
            for (cell, width) in before.iter().zip(&widths) {
                write!(f, "{cell:width$}{GAP}")?;
            }
            f.write_str(last)?;
        }
        Ok(())
    }
}

/// The same text, with every character escaped that a terminal would not print but obey.
#[must_use]
pub fn clean(text: &str) -> String {
    escape(text, is_obeyed)
}

/// The same for a text of several lines.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    escape(text, |c| c != '\n' && is_obeyed(c))
}

fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn escape(text: &str, which: impl Fn(char) -> bool) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        if which(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::with_head(&["name", "lag", "state"]);
        table.row(["routing".into(), "12".into(), "active".into()]);
        table.row(["a".into(), String::new(), "paused".into()]);
        assert_eq!(table.to_string(), "NAME     LAG  STATE\nrouting  12   active\na        -    paused");
    }

    #[test]
    fn a_hostile_text_cannot_speak_to_the_terminal() {
        let mut table = Table::default();
        table.fact("detail", "\u{1b}]0;owned\u{7}\nline\u{202e}txet");
        let shown = table.to_string();
        assert_eq!(shown, r"detail  \u{1b}]0;owned\u{7}\nline\u{202e}txet");
    }
}
