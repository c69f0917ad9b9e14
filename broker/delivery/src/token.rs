//! The identity of one delivery.

use crate::Offset;

/// Names one delivery for ever. Clients hold it as opaque, authenticated bytes; the shell makes and checks those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Of the subscription: another creation under the same name has another.
    pub incarnation: u64,
    /// Counts the seeks of this incarnation: what was handed out before a seek settles nothing after it.
    pub seek: u32,
    /// The event.
    pub offset: Offset,
    /// The claim of the store under which the delivery was made: higher after every restart.
    pub epoch: u64,
    /// Counts the deliveries made under this claim, from 1. Unlike the attempt it also tells apart deliveries that were given back
    /// uncounted.
    pub delivery: u64,
}

impl Token {
    /// Which of two deliveries of one event is the later one.
    #[must_use]
    pub fn is_later_than(&self, other: &Self) -> bool {
        (self.epoch, self.delivery) > (other.epoch, other.delivery)
    }
}
