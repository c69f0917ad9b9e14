//! Who may do what: tokens, what they allow, and who did what.
//!
//! Constraints:
//! - One table says what each call needs ([`table`]), and one function says whether a caller may ([`Caller::may`]); a call that is not in the
//!   table is refused to all but administrators.
//! - What is missing is told as the scope that would have been enough, in the words of `waypost token create`.
//! - Only hashes of tokens are kept; a token is compared in constant time and appears in no output.
//! - Where no tokens are configured everybody may do everything, which the configuration allows on loopback only, unless told otherwise.
//!
//! | module | what it holds |
//! |---|---|
//! | [`scope`] | what a token allows: its grammar, and what is covered by it |
//! | [`caller`] | who calls, and whether they may |
//! | [`rate`] | how much a token may publish |
//! | [`tokens`] | tokens, and the file of their hashes |
//! | [`authority`] | from a token to its caller; the file read again while the broker runs |
//! | [`table`] | what each call needs |
//! | [`guard`] | in front of the services |
//! | [`audit`] | what administrators did |

pub mod audit;
pub mod authority;
pub mod caller;
pub mod guard;
pub mod rate;
pub mod scope;
pub mod table;
pub mod tokens;

pub use audit::By;
pub use authority::{Authority, Quota};
pub use caller::{Act, Caller};
pub(crate) use rate::Rate;
pub use scope::Scope;
pub use table::Need;
