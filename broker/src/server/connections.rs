//! The connections of a listener: how many there may be, in total and from one address.
//!
//! Constraints: nobody who reaches a listener can hold all of its connections, as long as an address may have fewer than there are; one
//! connection beyond what an address may have is closed before anything of it is read, and costs a line of the log only now and then; the
//! lock is held when a connection comes or goes, and never across an await.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections of one listener.
#[derive(Debug)]
pub struct Connections {
    listener: &'static str,
    max: u32,
    max_per_address: u32,
    places: Arc<Semaphore>,
    /// Those that are open, by [`household`].
    open: Mutex<HashMap<IpAddr, u32>>,
    refused: AtomicU64,
}

/// A place of a connection that is there, until it is dropped.
#[derive(Debug)]
pub struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    /// For the listener of this section of the configuration: so many, of which one address may have so many.
    #[must_use]
    pub fn new(listener: &'static str, max: u32, max_per_address: u32) -> Arc<Self> {
        let places = usize::try_from(max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let places = Arc::new(Semaphore::new(places));
        Arc::new(Self { listener, max, max_per_address, places, open: Mutex::default(), refused: AtomicU64::new(0) })
    }

    /// The section of the configuration: `edge`, `agents` or `admin`.
    #[must_use]
    pub fn listener(&self) -> &'static str {
        self.listener
    }

    /// How many there may be.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.max
    }

    /// How many one address may have.
    #[must_use]
    pub fn max_per_address(&self) -> u32 {
        self.max_per_address
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).values().map(|&open| u64::from(open)).sum()
    }

    /// How many were closed because their address had as many as it may.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether there is room for one more.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// Waits until there is room for one more.
    ///
    /// Cancel safety: nothing is taken until it returns; what it returned and is dropped is room again.
    pub async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // Nobody closes it.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Takes a place for a connection from this peer. `None` if its address has as many as it may.
    #[must_use]
    pub fn take(self: &Arc<Self>, permit: OwnedSemaphorePermit, peer: SocketAddr) -> Option<Place> {
        let address = household(peer.ip());
        let mut all = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = all.entry(address).or_default();
        if *open >= self.max_per_address {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        *open += 1;
        Some(Place { connections: Arc::clone(self), address, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = all.get_mut(&self.address) {
            *open -= 1;
            if *open == 0 {
                // Addresses that are gone take no memory.
                all.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: of IPv6 the first 64 bits, since whoever has one address there has them all.
fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    async fn take(connections: &Arc<Connections>, peer: &str) -> Option<Place> {
        let permit = connections.room().await.unwrap();
        connections.take(permit, SocketAddr::new(peer.parse().unwrap(), 1))
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_others_and_gets_its_own_back() {
        let connections = Connections::new("edge", 3, 2);
        let (one, two) = (take(&connections, "192.0.2.1").await, take(&connections, "::ffff:192.0.2.1").await);
        assert!(one.is_some() && two.is_some());
        assert!(take(&connections, "192.0.2.1").await.is_none(), "mapped or not, it is one address");
        let other = take(&connections, "192.0.2.2").await;
        assert!(other.is_some() && !connections.has_room(), "what was refused took no place");
        assert_eq!((connections.open(), connections.refused()), (3, 1));
        drop((one, two));
        assert!(take(&connections, "192.0.2.1").await.is_some());
        drop(other);
        assert!(connections.open.lock().unwrap().is_empty(), "nobody is remembered who is gone");
    }

    #[tokio::test]
    async fn addresses_of_one_network_of_ipv6_are_one() {
        let connections = Connections::new("edge", 9, 1);
        let _held = take(&connections, "2001:db8::1").await.unwrap();
        assert!(take(&connections, "2001:db8::ffff:2").await.is_none());
        assert!(take(&connections, "2001:db8:0:1::1").await.is_some());
    }
}
