//! The configuration: one section per domain, each in its own file.
//!
//! Constraints: `waypost.default.toml` is parsed as the defaults, so the documentation is what is executed; unknown keys are refused; a value
//! that is wrong is reported with its key, what it is and what would be right; secrets are references, never values.
