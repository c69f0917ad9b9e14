//! Delivery tokens as bytes: opaque and authenticated.
//!
//! Constraints:
//! - A token says everything that settling and lineage need, so that no table of tokens exists: the subscription (by its incarnation), the
//!   event and the delivery. One delivery has one token, made however often.
//! - Nobody without the key can make one that is taken. The key is kept in the store, so that tokens outlive a restart.
//! - Millions are made per second: the code is SipHash-2-4 with 128 bits, a MAC for short messages (see the ADR on tokens).
//!
//! ```text
//!   version (1) · incarnation (8, little-endian) · seek · offset · epoch · delivery (varints) · mac (16)
//! ```

use std::hash::Hasher;

use bytes::{BufMut, Bytes, BytesMut};
use siphasher::sip128::{Hasher128, SipHasher24};
use subtle::ConstantTimeEq;
use waypost_delivery::Token;

use crate::limits::MAX_TOKEN_BYTES;

const VERSION: u8 = 1;
const MAC_BYTES: usize = 16;
/// The longest token: version, incarnation, four varints, code.
const LONGEST: usize = 1 + 8 + 5 + 10 + 10 + 10 + MAC_BYTES;
const _: () = assert!(LONGEST <= MAX_TOKEN_BYTES, "the contract promises tokens of at most 128 bytes");

/// Tokens are cut from blocks: one allocation for many. A dispatcher's blocks grow up to this size, so that ten thousand that hand out little
/// hold little.
const LARGEST_BLOCK: usize = 8 * 1024;
const FIRST_BLOCK: usize = 512;

/// Bytes that are not a token of this broker: cut, changed, or another broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token is not one of this broker's; pass on what a Delivery brought, unchanged")]
pub struct UnknownToken;

/// Makes and checks tokens. Cheap to copy.
#[derive(Clone)]
pub struct TokenKey {
    hasher: SipHasher24,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenKey(…)")
    }
}

impl TokenKey {
    /// From a secret key.
    #[must_use]
    pub fn new(key: &[u8; 16]) -> Self {
        Self { hasher: SipHasher24::new_with_key(key) }
    }

    /// The delivery that a token names, if it is one of ours.
    ///
    /// # Errors
    /// [`UnknownToken`] if it is not.
    pub fn open(&self, token: &[u8]) -> Result<Token, UnknownToken> {
        let split = token.len().checked_sub(MAC_BYTES).ok_or(UnknownToken)?;
        let (body, mac) = token.split_at(split);
        if token.len() > LONGEST || !bool::from(self.mac(body).ct_eq(mac)) {
            return Err(UnknownToken);
        }
        decode(body).ok_or(UnknownToken)
    }

    fn mac(&self, body: &[u8]) -> [u8; MAC_BYTES] {
        let mut hasher = self.hasher;
        hasher.write(body);
        hasher.finish128().as_bytes()
    }
}

/// Makes the tokens of one dispatcher.
#[derive(Debug)]
pub struct TokenMint {
    key: TokenKey,
    block: BytesMut,
    next_block: usize,
}

impl TokenMint {
    /// Tokens under this key.
    #[must_use]
    pub fn new(key: TokenKey) -> Self {
        Self { key, block: BytesMut::new(), next_block: FIRST_BLOCK }
    }

    /// The token of a delivery.
    pub fn seal(&mut self, token: &Token) -> Bytes {
        if self.block.capacity() < LONGEST {
            self.block = BytesMut::with_capacity(self.next_block);
            self.next_block = LARGEST_BLOCK.min(self.next_block * 2);
        }
        encode(token, &mut self.block);
        let mac = self.key.mac(&self.block);
        self.block.put_slice(&mac);
        self.block.split().freeze()
    }
}

fn encode(token: &Token, out: &mut BytesMut) {
    out.put_u8(VERSION);
    out.put_u64_le(token.incarnation);
    for number in [u64::from(token.seek), token.offset, token.epoch, token.delivery] {
        prost::encoding::encode_varint(number, out);
    }
}

fn decode(body: &[u8]) -> Option<Token> {
    let (&VERSION, body) = body.split_first()? else { return None };
    let (incarnation, mut body) = body.split_first_chunk::<8>()?;
    let mut number = || prost::encoding::decode_varint(&mut body).ok();
    let (seek, offset, epoch, delivery) = (number()?, number()?, number()?, number()?);
    let token = Token { incarnation: u64::from_le_bytes(*incarnation), seek: seek.try_into().ok()?, offset, epoch, delivery };
    body.is_empty().then_some(token)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_token() -> impl Strategy<Value = Token> {
        let parts = (any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>());
        parts.prop_map(|(incarnation, seek, offset, epoch, delivery)| Token { incarnation, seek, offset, epoch, delivery })
    }

    proptest! {
        #[test]
        fn a_token_round_trips_within_128_bytes(token in any_token()) {
            let key = TokenKey::new(&[7; 16]);
            let sealed = TokenMint::new(key.clone()).seal(&token);
            prop_assert!(sealed.len() <= MAX_TOKEN_BYTES);
            prop_assert_eq!(key.open(&sealed), Ok(token));
        }

        #[test]
        fn a_changed_token_is_not_taken(token in any_token(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
            let key = TokenKey::new(&[7; 16]);
            let mut sealed = TokenMint::new(key.clone()).seal(&token).to_vec();
            let at = at.index(sealed.len());
            sealed[at] ^= flip;
            prop_assert_eq!(key.open(&sealed), Err(UnknownToken));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(TokenKey::new(&[7; 16]).open(&bytes), Err(UnknownToken));
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn another_brokers_token_is_not_taken() {
        let token = Token { incarnation: 1, seek: 0, offset: 1, epoch: 1, delivery: 1 };
        let mut mint = TokenMint::new(TokenKey::new(&[7; 16]));
        let (first, second) = (mint.seal(&token), mint.seal(&token));
        assert_eq!(first, second, "one delivery has one token");
        assert_eq!(TokenKey::new(&[8; 16]).open(&first), Err(UnknownToken));
    }
}
