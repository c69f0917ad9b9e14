//! The command line: one file per command.
//!
//! Constraints: answers go to standard output, everything else to standard error; `--json` gives one JSON object a line; a failure says
//! what to do about it; exit codes are those of [`failure`].
//!
//! | module | what it holds |
//! |---|---|
//! | [`args`], [`dispatch`] | what can be said, and who does it |
//! | [`serve`], [`check`], [`configured`] | the broker, everything it checks before it starts, and what it goes by |
//! | [`tail`], [`publish`], [`send`] | clients of a running broker |
//! | [`map`] | what a payload would become |
//! | [`admin`] | looking after a running broker |
//! | [`store`] | the store: how it is, whether it is sound, a copy of it |
//! | [`token`] | the file of the tokens |
//! | [`completions`] | for the shell |
//! | [`output`], [`table`], [`confirm`], [`failure`] | what is printed, what is asked, and how it ends |
//! | [`types`] | messages to JSON and back |

pub mod admin;
pub mod args;
pub mod check;
pub mod completions;
pub mod configured;
pub mod confirm;
pub mod connection;
pub mod dispatch;
pub mod failure;
pub mod map;
pub mod output;
pub mod publish;
pub mod send;
pub mod serve;
pub mod store;
pub mod table;
pub mod tail;
pub mod token;
pub mod types;
pub mod verify;

pub use dispatch::main;
