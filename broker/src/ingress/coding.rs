//! Compressed bodies.
//!
//! Constraints:
//! - A body is verified as it was received; only what is verified is unpacked.
//! - What it unpacks to is held to the same limit as what is received, and to nothing that it says of itself: that bounds memory, and time
//!   with it, whatever the ratio.
//! - One coding, of one piece: what is compressed twice, or goes on behind its end, is not taken.

use std::io::Read;

use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status, bufread::GzDecoder};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_LENGTH},
};

use super::{outcome::Outcome, template::one_header};

/// What is taken, as `Accept-Encoding` says it.
pub(super) const TAKEN: &str = "gzip, deflate";

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    /// A zlib stream, as the standard has it; or a bare one, as some send it.
    Deflate,
}

/// What the headers say of it.
pub(super) fn coding(headers: &HeaderMap) -> Result<Coding, Outcome> {
    if !headers.contains_key(CONTENT_ENCODING) {
        return Ok(Coding::Identity);
    }
    let named = one_header(headers, &CONTENT_ENCODING).ok_or(Outcome::RefusedCoding)?;
    match &*named.trim().to_ascii_lowercase() {
        "identity" => Ok(Coding::Identity),
        "gzip" | "x-gzip" => Ok(Coding::Gzip),
        "deflate" => Ok(Coding::Deflate),
        _ => Err(Outcome::RefusedCoding),
    }
}

/// A body as it is when it is not compressed, with its headers.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn unpacked(headers: &mut HeaderMap, raw: &Bytes, max: usize) -> Result<Bytes, String> {
    let coding = coding(headers).map_err(|_| "its content-encoding is not one that is taken".to_owned())?;
    coding.unpack(headers, raw, max)
}

impl Coding {
    /// What a body unpacks to, of at most `max` bytes; its headers are then those of what it is.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn unpack(self, headers: &mut HeaderMap, raw: &Bytes, max: usize) -> Result<Bytes, String> {
        let unpacked = match self {
            Self::Identity => return Ok(raw.clone()),
            Self::Gzip => gunzip(raw, max)?,
            Self::Deflate => inflate(raw, max)?,
        };
        headers.remove(CONTENT_ENCODING);
        headers.remove(CONTENT_LENGTH);
        Ok(unpacked.into())
    }
}

fn gunzip(raw: &[u8], max: usize) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let mut decoder = GzDecoder::new(raw);
    // One more than the limit tells what is larger from what is as large.
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.by_ref().take(limit).read_to_end(&mut unpacked).map_err(|error| format!("the body is not gzip: {error}"))?;
    if unpacked.len() > max {
        return Err(too_large(max));
    }
    if decoder.into_inner().is_empty() { Ok(unpacked) } else { Err(goes_on("gzip")) }
}

fn inflate(raw: &[u8], max: usize) -> Result<Vec<u8>, String> {
    let is_zlib = matches!(raw, [first, second, ..] if first & 0x0F == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31));
    let mut decoder = Decompress::new(is_zlib);
    let mut unpacked = Vec::new();
    loop {
        if unpacked.len() > max {
            return Err(too_large(max));
        }
        unpacked.reserve(raw.len().clamp(256, 64 * 1024));
        let read = usize::try_from(decoder.total_in()).unwrap_or(usize::MAX);
        let (rest, before) = (raw.get(read..).unwrap_or_default(), unpacked.len());
        let status = decoder.decompress_vec(rest, &mut unpacked, FlushDecompress::None);
        match status.map_err(|error| format!("the body is not deflate: {error}"))? {
            Status::StreamEnd if unpacked.len() > max => return Err(too_large(max)),
            Status::StreamEnd if decoder.total_in() == raw.len() as u64 => return Ok(unpacked),
            Status::StreamEnd => return Err(goes_on("deflate")),
            // Everything was read, there was room for more, and it did not come.
            _ if decoder.total_in() == raw.len() as u64 && unpacked.len() == before => {
                return Err("the body is deflate that breaks off".to_owned());
            }
            Status::Ok | Status::BufError => {}
        }
    }
}

fn too_large(max: usize) -> String {
    format!("the body unpacks to more than {max} bytes, the most that this source takes")
}

fn goes_on(coding: &str) -> String {
    format!("the body goes on behind the end of its {coding}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::io::Write;

    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };

    use super::*;

    const MAX: usize = 1 << 20;

    fn packed(plain: &[u8]) -> [(Coding, Vec<u8>); 3] {
        let (mut gzip, best) = (GzEncoder::new(Vec::new(), Compression::best()), Compression::best());
        gzip.write_all(plain).unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), best);
        zlib.write_all(plain).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), best);
        bare.write_all(plain).unwrap();
        [(Coding::Gzip, gzip.finish().unwrap()), (Coding::Deflate, zlib.finish().unwrap()), (Coding::Deflate, bare.finish().unwrap())]
    }

    fn unpack(coding: Coding, raw: &[u8]) -> Result<Bytes, String> {
        coding.unpack(&mut HeaderMap::new(), &Bytes::copy_from_slice(raw), MAX)
    }

    #[test]
    fn what_was_packed_comes_out_up_to_the_limit_and_not_beyond() {
        let incompressible: Vec<u8> = (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        for plain in [&b""[..], b"{}", &vec![b' '; MAX], &incompressible] {
            for (coding, raw) in packed(plain) {
                assert!(unpack(coding, &raw).unwrap() == plain, "{coding:?} of {} bytes", plain.len());
            }
        }
        for size in [MAX + 1, 200 * MAX] {
            for (coding, raw) in packed(&vec![b' '; size]) {
                assert!(unpack(coding, &raw).unwrap_err().contains("more than 1048576 bytes"), "{coding:?}");
            }
        }
    }

    #[test]
    fn what_is_broken_is_told() {
        for (coding, raw) in packed(b"{\"n\":820982911946154508}") {
            for length in 0..raw.len() {
                assert!(unpack(coding, &raw[..length]).is_err(), "{coding:?}: the first {length} of {} bytes", raw.len());
            }
            assert!(unpack(coding, &[&raw[..], b"{}"].concat()).unwrap_err().contains("goes on behind"), "{coding:?}");
            assert!(unpack(coding, b"{}").is_err(), "{coding:?}: not packed at all");
        }
    }

    #[test]
    fn one_coding_is_taken_and_named_as_people_name_it() {
        let named = |name: &str| coding(&[(CONTENT_ENCODING, name.parse().unwrap())].into_iter().collect());
        assert_eq!((named("GZip"), named("x-gzip"), named("deflate")), (Ok(Coding::Gzip), Ok(Coding::Gzip), Ok(Coding::Deflate)));
        assert_eq!((named("identity"), coding(&HeaderMap::new())), (Ok(Coding::Identity), Ok(Coding::Identity)));
        for name in ["br", "zstd", "gzip, gzip", "", "gzip;q=1"] {
            assert_eq!(named(name), Err(Outcome::RefusedCoding), "{name}");
        }
        let twice = [(CONTENT_ENCODING, "gzip".parse().unwrap()), (CONTENT_ENCODING, "gzip".parse().unwrap())];
        let mut headers = HeaderMap::new();
        for (name, value) in twice {
            headers.append(name, value);
        }
        assert_eq!(coding(&headers), Err(Outcome::RefusedCoding));
    }
}
