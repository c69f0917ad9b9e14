//! Standard output.
//!
//! Constraint: whoever closes the pipe has enough (`waypost tail | head -1`); that is an end like any other and never a panic.

use std::{
    fmt,
    io::{self, Write},
};

/// Writes a line. `false` when nobody reads any more.
pub fn line(text: impl fmt::Display) -> bool {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).is_ok()
}
