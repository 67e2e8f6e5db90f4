//! The IO of a downstream connection as hyper sees it: watched for progress, with what was read ahead put
//! back.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::http::interim::Exchange;
use crate::net::Io;

use super::watch::{Order, Phase, Watched};

/// What a client that is too slow with its head is told (RFC 9110 §15.5.9).
const TOO_SLOW: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// How much is read at once of what ends a rest.
const AHEAD_MAX_BYTES: usize = 2048;

/// How long a client that still sends while we close is listened to.
const LINGER: Duration = Duration::from_secs(2);
/// How much of what it still sends is read.
const LINGER_MAX_BYTES: usize = 8 << 20;

/// A connection's IO.
#[derive(Debug)]
pub struct WatchedIo {
    io: Io,
    ahead: Bytes,
    watched: Arc<Watched>,
    linger: Option<Linger>,
    /// What may be written ahead of a final response, and what of it is being written.
    interim: Option<Exchange>,
    interim_left: Bytes,
}

/// A close that waits for a client which still sends.
#[derive(Debug)]
struct Linger {
    end: Pin<Box<Sleep>>,
    read: usize,
}

impl WatchedIo {
    /// `ahead` is what was read already.
    pub const fn new(io: Io, ahead: Bytes, watched: Arc<Watched>) -> Self {
        Self { io, ahead, watched, linger: None, interim: None, interim_left: Bytes::new() }
    }

    /// Has interim responses be written ahead of final ones.
    pub fn interleave(&mut self, interim: Exchange) {
        self.interim = Some(interim);
    }

    /// Writes what is left of interim responses that have begun to be written.
    fn poll_interim_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim_left.is_empty() {
            let polled = Pin::new(&mut self.io).poll_write(cx, &self.interim_left);
            self.watched.wrote(polled.is_ready());
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.interim_left.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the interim responses that wait. hyper flushes when all that it had to write is written, so
    /// they land between two messages of its own.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_interim_left(cx))?;
            let Some(bytes) = self.interim.as_ref().and_then(Exchange::take) else {
                return Poll::Ready(Ok(()));
            };
            self.interim_left = bytes;
            // The final response may be waiting for this.
            cx.waker().wake_by_ref();
        }
    }

    /// Waits for the client's next bytes, and keeps them for the next read. `None` where there are none to
    /// come. It needs no buffer meanwhile.
    pub async fn await_bytes(&mut self) -> Option<()> {
        let ahead = poll_fn(|cx| {
            // Not kept over the wait.
            let mut few = [0; AHEAD_MAX_BYTES];
            let mut few = ReadBuf::new(&mut few);
            let read = ready!(Pin::new(&mut *self).poll_read(cx, &mut few));
            Poll::Ready(read.ok().map(|()| Bytes::copy_from_slice(few.filled())))
        })
        .await;
        self.ahead = ahead.filter(|ahead| !ahead.is_empty())?;
        Some(())
    }

    /// Has these bytes be what is read next.
    pub fn put_back(&mut self, ahead: Bytes) {
        self.ahead = ahead;
    }

    /// Reads what a client still sends, and drops it. Closing with data unread makes the kernel reset the
    /// connection, and the reset overtakes the answer that says why (RFC 9112 §9.6).
    ///
    /// A client that has sent nothing more is not waited for.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut unread = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut unread);
            match (Pin::new(&mut self.io).poll_read(cx, &mut unread), &mut self.linger) {
                (Poll::Ready(Ok(())), _) if !unread.filled().is_empty() => {
                    let end = || Linger { end: Box::pin(tokio::time::sleep(LINGER)), read: 0 };
                    let linger = self.linger.get_or_insert_with(end);
                    linger.read += unread.filled().len();
                    if linger.read > LINGER_MAX_BYTES || linger.end.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                (Poll::Ready(_), _) | (Poll::Pending, None) => return Poll::Ready(()),
                (Poll::Pending, Some(linger)) => return linger.end.as_mut().poll(cx),
            }
        }
    }
}

impl Drop for WatchedIo {
    fn drop(&mut self) {
        // A body that ends with its connection looks complete after a FIN: only a reset tells an HTTP/1.0
        // client that it is not (RFC 9112 §8).
        if let (Io::Tcp(stream), true) = (&self.io, self.watched.is_cut()) {
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }
}

impl AsyncRead for WatchedIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.ahead.is_empty() {
            let length = this.ahead.len().min(buf.remaining());
            buf.put_slice(this.ahead.get(..length).unwrap_or_default());
            this.ahead.advance(length);
            this.watched.bytes_read();
            return Poll::Ready(Ok(()));
        }
        match this.watched.order() {
            Order::None | Order::Drain => {}
            // The head was complete after all, at that very moment: its request is answered before the end.
            Order::HeadTimeout if this.watched.phase() == Phase::Busy => {}
            Order::HeadTimeout => {
                if this.watched.phase() == Phase::Head && !this.watched.was_told_of_timeout() {
                    // No response is under way while a head is read, so this cannot land inside one. One try
                    // is enough: the socket's buffer has room unless the client also refuses to read.
                    let _ = Pin::new(&mut this.io).poll_write(cx, TOO_SLOW);
                    let _ = Pin::new(&mut this.io).poll_flush(cx);
                    this.watched.told_of_timeout();
                }
                return Poll::Ready(Ok(()));
            }
            Order::End => return Poll::Ready(Ok(())),
        }
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut this.io).poll_read(cx, buf));
        if buf.filled().len() > before {
            this.watched.bytes_read();
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim_left(cx))?;
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        this.watched.wrote(polled.is_ready());
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_interim_left(cx))?;
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.watched.wrote(polled.is_ready());
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_interim(cx))?;
        // TLS keeps what it has encrypted until the socket takes it.
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.watched.flushed(polled.is_ready());
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        if this.watched.is_cut() || this.watched.is_handed_over() {
            return Poll::Ready(Ok(()));
        }
        this.poll_linger(cx).map(Ok)
    }
}
