//! The journal: what came to the edge, accepted or not, and what became of it; for people who want to know why.
//!
//! Constraints:
//! - It is never in the way: the edge hands a note over and goes on; a queue that is full drops the note and counts it (P1 is not about it).
//! - Everything is sanitised before it is written; nothing that was masked can be had back.
//! - It is bounded: the queue by notes and bytes, the file by age and size. It is a file of its own, which may be thrown away.
//! - A journal that is damaged, full or cannot be written hurts nothing else: it is told, counted, and set aside or tried again.
//!
//! | module | what it holds |
//! |---|---|
//! | `note` | [`Note`]: a request and what became of it, as the edge hands it over |
//! | `queue` | [`Journal`]: where notes are handed in, and what is asked |
//! | `writer` | [`Writer`]: the task that sanitises and writes them |
//! | `file` | the file, and what is found in it |
//! | [`mask`] | what must not be kept, taken out |

mod file;
pub mod mask;
mod note;
mod queue;
#[cfg(test)]
mod tests;
mod writer;

pub use file::Search;
pub use note::{Decided, Note};
pub use queue::{Journal, JournalCounts, JournalError, JournalRules};
pub use writer::Writer;
