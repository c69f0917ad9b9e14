//! Blocks of addresses, as allow-lists write them.
//!
//! Constraints: an IPv4 address is the same whether a socket shows it as IPv4 or mapped into IPv6; a block whose address has bits beyond its
//! prefix is refused, since nobody can tell which of the two was meant.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// A block of addresses: `192.30.252.0/22`, `2606:50c0::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// A text that is not a block of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetwork {
    /// It is nothing of the kind.
    #[error("{0:?} is not a block of addresses, such as \"192.30.252.0/22\", \"2606:50c0::/32\" or one address")]
    Malformed(String),
    /// Its address is inside of the block, not its beginning.
    #[error("{given:?} has bits beyond its prefix; write \"{meant}\" for the block that it is in, or the address without a prefix")]
    Inside {
        /// What was given.
        given: String,
        /// The block.
        meant: Network,
    },
}

impl Network {
    /// Whether an address is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        Self { first: address.to_canonical(), prefix: self.prefix }.beginning() == Some(self.first)
    }

    /// The first address of its block; `None` if the prefix is longer than the address.
    fn beginning(&self) -> Option<IpAddr> {
        Some(match self.first {
            IpAddr::V4(address) => {
                let beyond = 32_u32.checked_sub(self.prefix.into())?;
                IpAddr::V4((address.to_bits() & u32::MAX.checked_shl(beyond).unwrap_or(0)).into())
            }
            IpAddr::V6(address) => {
                let beyond = 128_u32.checked_sub(self.prefix.into())?;
                IpAddr::V6((address.to_bits() & u128::MAX.checked_shl(beyond).unwrap_or(0)).into())
            }
        })
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let malformed = || InvalidNetwork::Malformed(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let is_number = |prefix: &&str| prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.map_or(Some(whole), |prefix| Some(prefix).filter(is_number)?.parse().ok()).ok_or_else(malformed)?;
        // A block of mapped addresses is one of IPv4, which is what addresses are compared as.
        let (first, prefix) = match address.to_canonical() {
            first @ IpAddr::V4(_) if address.is_ipv6() => (first, u8::checked_sub(prefix, 96).ok_or_else(malformed)?),
            first => (first, prefix),
        };
        let network = Self { first, prefix };
        let meant = Self { first: network.beginning().ok_or_else(malformed)?, prefix };
        if meant == network { Ok(network) } else { Err(InvalidNetwork::Inside { given: text.to_owned(), meant }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_block_has_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("192.30.252.0/22", ["192.30.252.0", "192.30.255.255"], ["192.30.251.255", "192.31.0.0"]),
            ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "::192.0.2.7"]),
            ("2606:50c0::/32", ["2606:50c0::", "2606:50c0:ffff::1"], ["2606:50c1::", "192.0.2.1"]),
            ("::ffff:192.0.2.0/120", ["192.0.2.0", "::ffff:192.0.2.255"], ["192.0.3.0", "::1"]),
            ("2001:db8::1/128", ["2001:db8::1", "2001:db8::1"], ["2001:db8::", "2001:db8::2"]),
        ] {
            inside.iter().for_each(|address| assert!(contains(network, address), "{address} is in {network}"));
            outside.iter().for_each(|address| assert!(!contains(network, address), "{address} is not in {network}"));
        }
        assert!(contains("0.0.0.0/0", "203.0.113.9") && !contains("0.0.0.0/0", "::1"), "all of IPv4 is not all");
        assert!(contains("::/0", "2001:db8::1") && !contains("::/0", "203.0.113.9"));
    }

    #[test]
    fn what_is_no_block_is_told_with_an_example() {
        for text in ["", "example.com", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/", "::/129", "10.0.0/8", "fe80::1%eth0", "*"]
        {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.to_string().contains("\"192.30.252.0/22\""), "{text}: {error}");
        }
        let error = "192.30.252.1/22".parse::<Network>().unwrap_err();
        assert!(error.to_string().contains("write \"192.30.252.0/22\""), "{error}");
    }
}
