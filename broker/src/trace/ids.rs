//! The spans of a delivery and of its settlement, by the delivery's token.
//!
//! Constraint: the same token gives the same ids in every process, so that a delivery that outlives a restart is one span, and its outputs
//! have the settlement as their parent wherever they are made. They are unique within a trace, which is all that they need to be.

use waypost_delivery::Token;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The span of a delivery.
#[must_use]
pub fn delivery(token: &Token) -> u64 {
    of(token, 1)
}

/// The span of the settlement that ended it.
#[must_use]
pub fn settlement(token: &Token) -> u64 {
    of(token, 2)
}

fn of(token: &Token, what: u64) -> u64 {
    let Token { incarnation, seek, offset, epoch, delivery } = token;
    let mut name = [0; 40];
    for (place, number) in name.chunks_exact_mut(8).zip([*incarnation, u64::from(*seek), *offset, *epoch, *delivery]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    // 0 is no span.
    xxh3_64_with_seed(&name, what).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_token_makes_another_span() {
        let token = Token { incarnation: 1, seek: 1, offset: 1, epoch: 1, delivery: 1 };
        let others = [
            Token { incarnation: 2, ..token },
            Token { seek: 2, ..token },
            Token { offset: 2, ..token },
            Token { epoch: 2, ..token },
            Token { delivery: 2, ..token },
        ];
        assert!(others.iter().all(|other| delivery(other) != delivery(&token)));
        assert_eq!(delivery(&token), delivery(&Token { ..token }));
        assert_ne!(delivery(&token), settlement(&token));
    }
}
