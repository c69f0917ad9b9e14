//! Commands about several items: which they are, and what becomes of each.
//!
//! Constraint: a program is told of every item; people of how many it was done with, and of each that is as before, why.

use prost::{Message, Name};
use waypost_proto::v1::Refusal;

use super::call::{Call, each};
use crate::cli::{confirm::confirm, failure::Failure, output};

/// Items by their ids, or all that fit conditions.
#[derive(Clone, Debug, clap::Args)]
pub struct Chosen<W: clap::Args> {
    /// Their ids
    #[arg(required_unless_present = "all")]
    ids: Vec<String>,
    /// All that fit the conditions, or all there are
    #[arg(long, conflicts_with = "ids")]
    pub all: bool,
    /// Which, with --all.
    #[command(flatten)]
    which: W,
}

impl<W: clap::Args + Default + PartialEq> Chosen<W> {
    /// The ids that were given, or those of all that fit, as they are listed: `page` is asked for so many items after a token.
    ///
    /// # Errors
    /// When ids and conditions were given; those of `page`.
    pub async fn ids<T>(
        self,
        mut page: impl AsyncFnMut(&W, u32, String) -> Result<(Vec<T>, String), Failure>,
        id: impl Fn(T) -> String,
    ) -> Result<Vec<String>, Failure> {
        let Self { ids, which, .. } = self;
        if !ids.is_empty() {
            let both = || Failure::Usage("conditions choose among all; give ids, or --all with conditions".to_owned());
            return (which == W::default()).then_some(ids).ok_or_else(both);
        }
        let mut all = Vec::new();
        let visit = |item| {
            all.push(id(item));
            Ok(true)
        };
        each(usize::MAX, async |size, token| page(&which, size, token).await, visit).await?;
        Ok(all)
    }
}

/// Asks before items are discarded: `one` and `many` is what they are called.
///
/// # Errors
/// When the answer is not yes, or nobody can be asked.
pub fn confirm_discard(agreed: bool, ids: &[String], (one, many): (&str, &str)) -> Result<(), Failure> {
    let what = match ids {
        [] => return Ok(()),
        [id] => format!("{one} {id}"),
        _ => format!("{} {many}", ids.len()),
    };
    confirm(agreed, &format!("discard {what} for good"))
}

/// What the broker answers about one item.
pub trait Outcome: Message + Name {
    /// Items that one call takes at most.
    const MOST: usize;
    /// What is said of those that are as before.
    const LEFT: &'static str;

    /// The item.
    fn id(&self) -> &str;

    /// Why nothing was done with it.
    fn refusal(&self) -> Option<&Refusal>;

    /// Why it is as before, if it is.
    fn why(&self) -> Option<String> {
        self.refusal().map(|refusal| refusal.message.clone())
    }
}

/// Has something done with items, and tells what became of them; `done` is what is said of those with which it was.
///
/// # Errors
/// When one is as before; those of `ask`.
pub async fn decide<O: Outcome>(
    call: &Call,
    ids: &[String],
    done: &str,
    mut ask: impl AsyncFnMut(Vec<String>) -> Result<Vec<O>, Failure>,
) -> Result<(), Failure> {
    let (mut count, mut left) = (0_usize, Vec::new());
    for some in ids.chunks(O::MOST) {
        for outcome in ask(some.to_vec()).await? {
            if call.is_json() {
                output::line(call.types.mapped(&outcome)?);
            }
            match outcome.why() {
                None => count += 1,
                Some(why) => {
                    if !call.is_json() {
                        eprintln!("{}: {why}", outcome.id());
                    }
                    left.push((outcome.refusal().map(|refusal| refusal.code), why));
                }
            }
        }
    }
    if !call.is_json() {
        output::line(format_args!("{count} of {} {done}", ids.len()));
    }
    match left.as_slice() {
        [] => Ok(()),
        [(Some(code), why)] if ids.len() == 1 => Err(Failure::of((*code).into(), why.clone())),
        some => Err(Failure::Failed(format!("{} of {} {}", some.len(), ids.len(), O::LEFT))),
    }
}
