//! The program `logistics` of the examples, for tests that run it as a process of its own.
//!
//! Constraint: nothing but the program, for the same reason as `waypost-under-test`.

use std::process::ExitCode;

fn main() -> ExitCode {
    waypost_logistics::cli::main()
}
