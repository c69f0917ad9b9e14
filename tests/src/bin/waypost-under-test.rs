//! The program `waypost`, for tests that run it as a process of its own.
//!
//! Constraint: nothing but the program. Cargo tells a package's tests where its own programs are, and builds them first; it does not do so
//! for those of another package.

use std::process::ExitCode;

fn main() -> ExitCode {
    waypost_broker::cli::main()
}
