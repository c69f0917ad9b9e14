//! Who may knock at a source, and how often.
//!
//! Constraints:
//! - Whoever may not post learns nothing, not even that there is a source.
//! - `X-Forwarded-For` is believed of listed proxies only, and of what it says only the part that they wrote.
//! - What nobody could verify spends nothing of the rate: a stranger cannot use it up for the provider.
//! - A source that is busy takes no time of the others: what it has no room for is answered at once.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName};

use super::{Answer, Outcome};
use crate::{
    access::Rate,
    config::{AdmissionConfig, Network},
    limits::RETRY_AFTER_BUSY,
};

/// Whose connection a request came over: put into its extensions by the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The door of a source.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    /// Who may post; nobody listed is everybody.
    peers: Vec<Network>,
    /// Whose word on the address of a sender is taken.
    proxies: Vec<Network>,
    rate: Arc<Rate>,
    under_way: Arc<AtomicU32>,
    max_concurrent: u32,
}

/// Room for one request, until it is dropped.
pub(super) struct Place<'a>(&'a AtomicU32);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Admission {
    /// With the settings of a source, and the proxies of the edge.
    pub(crate) fn new(config: &AdmissionConfig, proxies: &[Network]) -> Self {
        Self {
            peers: config.peers.clone(),
            proxies: proxies.to_vec(),
            rate: Arc::new(Rate::new(config.max_per_second)),
            under_way: Arc::default(),
            max_concurrent: config.max_concurrent,
        }
    }

    /// Goes on counting where another has come to.
    pub(super) fn inherit(&mut self, before: &Self) {
        self.under_way = Arc::clone(&before.under_way);
        if self.rate.per_second() == before.rate.per_second() {
            self.rate = Arc::clone(&before.rate);
        }
    }

    /// How many requests are being worked on.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way.load(Relaxed)
    }

    /// The address of the sender: the peer's, or what a listed proxy says of it. `None` if it cannot be known.
    pub(crate) fn sender(&self, peer: Option<Peer>, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer?.0.to_canonical();
        if self.is_proxy(peer) { self.forwarded(peer, headers) } else { Some(peer) }
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|proxy| proxy.contains(address))
    }

    /// Each proxy writes whom it heard at the end of the list, so it is read from there, as long as those who wrote are proxies of ours.
    fn forwarded(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut sender = peer;
        for line in headers.get_all(X_FORWARDED_FOR).iter().rev() {
            for item in line.to_str().ok()?.rsplit(',') {
                sender = address(item.trim())?;
                if !self.is_proxy(sender) {
                    return Some(sender);
                }
            }
        }
        Some(sender)
    }

    /// Whether everybody may post.
    pub(super) fn is_open(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether a request may be for this source.
    pub(super) fn admits(&self, peer: Option<Peer>, headers: &HeaderMap) -> bool {
        self.is_open() || self.sender(peer, headers).is_some_and(|sender| self.peers.iter().any(|network| network.contains(sender)))
    }

    /// Takes a place for a request, before anything of its body is read.
    ///
    /// # Errors
    /// The answer to one that there is no room for.
    pub(super) fn enter(&self, now: u64) -> Result<Place<'_>, Answer> {
        // Taken first: it is given back on every way out.
        let before = self.under_way.fetch_add(1, Relaxed);
        let place = Place(&self.under_way);
        if before >= self.max_concurrent {
            return Err(waiting(Outcome::Busy, RETRY_AFTER_BUSY));
        }
        self.rate.wait(now).map_or(Ok(place), |wait| Err(waiting(Outcome::RefusedRate, wait)))
    }

    /// Spends one of the rate for a webhook that was verified.
    ///
    /// # Errors
    /// The answer to one that came too early.
    pub(super) fn spend(&self, now: u64) -> Result<(), Answer> {
        self.rate.spend(now, 1).map_err(|wait| waiting(Outcome::RefusedRate, wait))
    }
}

/// To be tried again after this long, in whole seconds, of which there is at least one.
fn waiting(outcome: Outcome, wait: Duration) -> Answer {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Answer::saying(outcome, seconds.max(1).to_string())
}

/// An address as proxies write it: some with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| Some(text.parse::<std::net::SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn admission(config: &str, proxies: &[&str]) -> Admission {
        let proxies: Vec<Network> = proxies.iter().map(|text| text.parse().unwrap()).collect();
        Admission::new(&toml::from_str(config).unwrap(), &proxies)
    }

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (X_FORWARDED_FOR, line.parse().unwrap())).collect()
    }

    fn peer(text: &str) -> Option<Peer> {
        Some(Peer(text.parse().unwrap()))
    }

    #[test]
    fn the_sender_is_the_last_hop_that_is_no_proxy_of_ours() {
        let door = admission("", &["10.0.0.0/8", "fd00::/8"]);
        for (from, lines, sender) in [
            // From anybody else the header is not looked at.
            ("203.0.113.7", &["192.0.2.1"][..], Some("203.0.113.7")),
            ("::ffff:203.0.113.7", &[], Some("203.0.113.7")),
            ("10.0.0.1", &["192.0.2.1"], Some("192.0.2.1")),
            // What the sender itself wrote before it is not believed.
            ("10.0.0.1", &["198.51.100.9, 192.0.2.1"], Some("192.0.2.1")),
            ("10.0.0.1", &["198.51.100.9", "192.0.2.1 , 10.0.0.2"], Some("192.0.2.1")),
            ("fd00::1", &["2001:db8::5, ::ffff:10.0.0.2"], Some("2001:db8::5")),
            ("10.0.0.1", &["192.0.2.1:4711"], Some("192.0.2.1")),
            ("10.0.0.1", &["[2001:db8::5]:4711"], Some("2001:db8::5")),
            ("10.0.0.1", &["[2001:db8::5]"], Some("2001:db8::5")),
            // From inside.
            ("10.0.0.1", &["10.1.2.3, 10.0.0.2"], Some("10.1.2.3")),
            ("10.0.0.1", &[], Some("10.0.0.1")),
            // Whom it heard, the proxy does not say.
            ("10.0.0.1", &["192.0.2.1, unknown"], None),
            ("10.0.0.1", &["192.0.2.1,"], None),
            ("10.0.0.1", &["192.0.2.1", ""], None),
        ] {
            let found = door.sender(peer(from), &headers(lines));
            assert_eq!(found, sender.map(|text| text.parse().unwrap()), "{from} with {lines:?}");
        }
        assert_eq!(door.sender(None, &headers(&["192.0.2.1"])), None);
    }

    #[test]
    fn a_list_of_peers_lets_nobody_else_in() {
        let door = admission("peers = [\"192.0.2.0/24\", \"2001:db8::/32\"]", &["10.0.0.1"]);
        assert!(door.admits(peer("192.0.2.200"), &headers(&[])) && door.admits(peer("2001:db8::1"), &headers(&[])));
        assert!(door.admits(peer("10.0.0.1"), &headers(&["192.0.2.9"])), "through the proxy");
        assert!(!door.admits(peer("10.0.0.1"), &headers(&["192.0.2.9, 203.0.113.1"])), "who only says so");
        assert!(!door.admits(peer("10.0.0.1"), &headers(&[])) && !door.admits(peer("203.0.113.1"), &headers(&["192.0.2.9"])));
        assert!(!door.admits(None, &headers(&[])), "whose address is not known");
        assert!(admission("", &[]).admits(None, &headers(&[])));
    }

    #[test]
    fn what_comes_too_fast_is_told_when_to_come_again() {
        let door = admission("max_per_second = 1\nmax_concurrent = 1", &[]);
        let start = 1_700_000_000_000_000;
        let place = door.enter(start).ok().unwrap();
        let full = door.enter(start).err().unwrap();
        assert_eq!((full.outcome, &*full.text, door.under_way()), (Outcome::Busy, "1", 1), "what was refused takes no room");
        door.spend(start).ok().unwrap();
        drop(place);
        // Not before it is read, and not after: two may have been read at the same time.
        for refused in [door.enter(start + 1).err().unwrap(), door.spend(start + 1).err().unwrap()] {
            assert_eq!((refused.outcome, &*refused.text), (Outcome::RefusedRate, "1"));
        }
        assert!(door.enter(start + 1_000_000).is_ok());
        assert_eq!(door.under_way(), 0);
    }

    #[test]
    fn what_changes_elsewhere_does_not_forget_who_is_inside() {
        let old = admission("max_per_second = 1", &[]);
        let _inside = old.enter(7).ok().unwrap();
        old.spend(7).ok().unwrap();
        let mut new = admission("max_per_second = 1\npeers = [\"192.0.2.1\"]", &[]);
        new.inherit(&old);
        assert_eq!((new.under_way(), new.spend(8).is_err()), (1, true));
    }
}
