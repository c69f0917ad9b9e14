//! Which HTTP a connection speaks, by its first bytes.
//!
//! Constraints: HTTP/2 begins with 24 bytes that no request of HTTP/1.1 begins with; who sends some of them and then nothing is not waited for
//! without end; what was read is read again by who serves the connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// Reads until it is known which HTTP this is.
///
/// Cancel safety: none; what was read is lost.
pub(super) async fn version<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<(Version, Begun<S>)> {
    let mut begun = [0; PREFACE.len()];
    let mut read = 0;
    while read < PREFACE.len() && PREFACE.starts_with(&begun[..read]) {
        match stream.read(&mut begun[read..]).await? {
            0 => break,
            more => read += more,
        }
    }
    let version = if begun == *PREFACE { Version::Two } else { Version::One };
    Ok((version, Begun { stream, begun, unread: 0..read }))
}

/// A stream whose first bytes were read, and are read again.
#[derive(Debug)]
pub(super) struct Begun<S> {
    stream: S,
    begun: [u8; PREFACE.len()],
    unread: std::ops::Range<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let taken = this.unread.len().min(buffer.remaining());
        if taken == 0 {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        }
        buffer.put_slice(&this.begun[this.unread.start..this.unread.start + taken]);
        this.unread.start += taken;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, pieces: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_tell_and_are_read_again() {
        let preface = [&PREFACE[..], b"frames"].concat();
        for (bytes, expected) in [
            (&preface[..], Version::Two),
            (b"POST /hooks/a HTTP/1.1\r\nhost: a\r\n\r\n", Version::One),
            (b"PRI * HTTP/1.1\r\nhost: a\r\n\r\n", Version::One),
            (b"PRI", Version::One),
            (b"", Version::One),
        ] {
            // As they come, and one at a time.
            let mut pieces = one_by_one(bytes);
            let (found, mut begun) = version(&mut pieces).await.unwrap();
            let mut read = Vec::new();
            begun.read_to_end(&mut read).await.unwrap();
            assert_eq!((found, &*read), (expected, bytes));
            let (found, mut begun) = version(bytes).await.unwrap();
            read.clear();
            begun.read_to_end(&mut read).await.unwrap();
            assert_eq!((found, &*read), (expected, bytes));
        }
    }

    /// A stream that gives one byte at a time.
    fn one_by_one(bytes: &[u8]) -> impl AsyncRead + Unpin + use<> {
        let pieces: Vec<io::Result<bytes::Bytes>> = bytes.iter().map(|byte| Ok(bytes::Bytes::copy_from_slice(&[*byte]))).collect();
        tokio_util::io::StreamReader::new(tokio_stream::iter(pieces))
    }
}
