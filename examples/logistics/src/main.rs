//! `logistics`: see README.md beside `src/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    waypost_logistics::cli::main()
}
