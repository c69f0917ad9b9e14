//! The command line: one file per command.
//!
//! Constraints: answers go to standard output, everything else to standard error; `--json` gives one JSON object a line; a failure says
//! what to do about it; exit codes are those of [`failure`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`], [`dispatch`] | what can be said, and who does it |
//! | [`serve`], [`check`] | the broker, and everything it checks before it starts |
//! | [`tail`], [`publish`], [`send`] | clients of a running broker |
//! | [`token`] | the file of the tokens |
//! | [`output`], [`failure`] | what is printed, and how it ends |
//! | [`types`] | messages to JSON and back |

pub mod args;
pub mod check;
pub mod connection;
pub mod dispatch;
pub mod failure;
pub mod output;
pub mod publish;
pub mod send;
pub mod serve;
pub mod tail;
pub mod token;
pub mod types;

pub use dispatch::main;
