//! When a listener's certificate expires, and the warnings before it does.
//!
//! Constraints: a warning is told once for each step, and again only for another certificate; what cannot be read of a certificate is not
//! known, and nothing else depends on it.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tracing::{error, warn};

const DAY: u64 = 86_400;

/// So many seconds before the end it is told, and then at the end.
const STEPS: [u64; 4] = [30 * DAY, 7 * DAY, DAY, 0];

/// The end of what a listener shows.
#[derive(Debug)]
pub(super) struct Expiry {
    /// In seconds since the epoch; `u64::MAX` if it is not known.
    at: AtomicU64,
    /// How many of the steps were told.
    told: AtomicUsize,
}

impl Expiry {
    /// Of a chain.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Self {
        Self { at: AtomicU64::new(first_end(chain)), told: AtomicUsize::new(0) }
    }

    /// Of another chain, from now on.
    pub(super) fn renew(&self, chain: &[CertificateDer<'_>]) {
        self.at.store(first_end(chain), Relaxed);
        self.told.store(0, Relaxed);
    }

    /// In seconds since the epoch, if it is known.
    pub(super) fn at(&self) -> Option<u64> {
        Some(self.at.load(Relaxed)).filter(|&at| at != u64::MAX)
    }

    /// Warns if another step is reached. `now` is in seconds since the epoch.
    pub(super) fn warn(&self, key: &str, file: &Path, now: u64) {
        let Some(at) = self.at() else { return };
        let left = at.saturating_sub(now);
        let reached = STEPS.iter().filter(|&&step| left <= step).count();
        if self.told.swap(reached, Relaxed) >= reached {
            return;
        }
        let (file, expires) = (file.display(), i64::try_from(at).ok().and_then(|at| Timestamp::from_second(at).ok()).unwrap_or_default());
        if left == 0 {
            error!(%expires, "{key}: the certificate in {file} has expired: no client that checks it connects any more; put a new one in its place");
        } else {
            let days = left.div_ceil(DAY);
            warn!(%expires, "{key}: the certificate in {file} expires in {days} days or less; put a new one in its place, it needs no restart");
        }
    }
}

/// The first to expire of a chain breaks all of it.
fn first_end(chain: &[CertificateDer<'_>]) -> u64 {
    chain.iter().filter_map(|certificate| not_after(certificate)).min().unwrap_or(u64::MAX)
}

/// The end of a certificate in seconds since the epoch: `Certificate.tbsCertificate.validity.notAfter` of RFC 5280. `None` also for those that
/// are meant never to expire.
fn not_after(certificate: &[u8]) -> Option<u64> {
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xa0;
    let sequence = |bytes| element(bytes).filter(|(tag, ..)| *tag == SEQUENCE);
    let (_, certificate, _) = sequence(certificate)?;
    let (_, mut rest, _) = sequence(certificate)?;
    if let Some((VERSION, _, after)) = element(rest) {
        rest = after;
    }
    // The serial number, the algorithm, the issuer.
    for _ in 0..3 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = sequence(rest)?;
    let (_, _, after_start) = element(validity)?;
    let (tag, text, _) = element(after_start)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// The tag, the content, and what is behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = bytes.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, &digit| length << 8 | usize::from(digit)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`.
fn time(tag: u8, text: &str) -> Option<u64> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let (year, rest) = match tag {
        0x17 => {
            let year: i16 = digits.get(..2)?.parse().ok()?;
            (if year < 50 { 2_000 + year } else { 1_900 + year }, digits.get(2..)?)
        }
        0x18 => (digits.get(..4)?.parse().ok()?, digits.get(4..)?),
        _ => return None,
    };
    let part = |from: usize| rest.get(from..from + 2)?.parse::<i8>().ok();
    let at = DateTime::new(year, part(0)?, part(2)?, part(4)?, part(6)?, part(8)?, 0).ok()?;
    u64::try_from(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 2);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_either_form() {
        for (year, second) in [(1999, 915_235_200), (2030, 1_893_542_400), (2049, 2_493_158_400), (2050, 2_524_694_400)] {
            assert_eq!(not_after(&until(year)), Some(second), "{year}");
        }
    }

    #[test]
    fn the_first_to_expire_counts_and_what_cannot_be_read_does_not() {
        let broken = CertificateDer::from(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30]);
        let expiry = Expiry::of(&[until(2050), until(2030), broken.clone()]);
        assert_eq!(expiry.at(), Some(1_893_542_400));
        expiry.renew(&[broken]);
        assert_eq!(expiry.at(), None);
        // Nothing ends the process.
        let whole = until(2030);
        for end in 0..whole.len() {
            not_after(&whole[..end]);
        }
    }

    #[test]
    fn each_step_is_told_once_and_a_renewed_one_begins_anew() {
        let expiry = Expiry::of(&[until(2030)]);
        let steps = |days: u64| {
            expiry.warn("edge.tls", Path::new("a.pem"), 1_893_542_400 - days * DAY);
            expiry.told.load(Relaxed)
        };
        assert_eq!([31, 30, 29, 7, 2, 1, 0].map(steps), [0, 1, 1, 2, 2, 3, 4]);
        expiry.renew(&[until(2050)]);
        assert_eq!((expiry.told.load(Relaxed), steps(0)), (0, 0));
    }
}
