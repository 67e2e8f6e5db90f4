//! The IO of a downstream connection as hyper sees it: watched for progress, read along for what hyper does
//! not look at ([`framing`](super::framing), [`frames`](super::frames)), with what was read ahead put back.
//!
//! Where hyper finds no request it answers by itself, with a status and nothing else. Such an answer is known
//! by its time: nothing that was asked for is left to be written. The gateway's own takes its place.

mod along;
mod leftover;
mod slow;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::error::ClientError;
use crate::http::interim::Exchange;
use crate::net::Io;

use self::along::{Along, Handshake};
use super::exchange::Connection;
use super::framing::Framing;
use super::watch::{Order, Phase, Watched};

/// How much is read at once where hyper does not read.
const AHEAD_MAX_BYTES: usize = 2048;

/// How long a client that still sends while we close is listened to.
const LINGER: Duration = Duration::from_secs(2);
/// So much the kernels of both sides take at once: a reset comes too late to overtake it.
const TAKEN_AT_ONCE: usize = 16 << 10;
/// How much of what it still sends is read.
const LINGER_MAX_BYTES: usize = 8 << 20;

/// A connection's IO.
#[derive(Debug)]
pub struct WatchedIo {
    io: Io,
    /// What was read and not yet read along.
    raw: BytesMut,
    /// What is for hyper to read next.
    ahead: Bytes,
    along: Along,
    watched: Arc<Watched>,
    /// Who answers where hyper does not ask.
    connection: Option<Arc<Connection>>,
    linger: Option<Linger>,
    /// What may be written ahead of a final response.
    interim: Option<Exchange>,
    /// What of our own is being written.
    own_left: Bytes,
    /// Whether all that was written has gone.
    is_flushed: bool,
    /// How many bytes were written in all.
    written: usize,
}

/// A close that waits for a client which still sends.
#[derive(Debug)]
struct Linger {
    end: Pin<Box<Sleep>>,
    read: usize,
}

impl WatchedIo {
    /// `raw` is what was read already.
    pub fn new(io: Io, raw: BytesMut, watched: Arc<Watched>) -> Self {
        Self {
            io,
            raw,
            ahead: Bytes::new(),
            along: Along::Nothing,
            watched,
            connection: None,
            linger: None,
            interim: None,
            own_left: Bytes::new(),
            is_flushed: true,
            written: 0,
        }
    }

    /// From here on requests are read. On HTTP/1 interim responses are written ahead of final ones.
    pub(super) fn speaks(&mut self, connection: Arc<Connection>) {
        let server = &connection.context.border.server;
        self.along = Along::on(connection.spoken, server, self.watched.tick());
        self.interim = connection.interim.clone();
        self.connection = Some(connection);
    }

    /// Writes what is left of what has begun to be written of our own.
    fn poll_own_left(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.own_left.is_empty() {
            let polled = Pin::new(&mut self.io).poll_write(cx, &self.own_left);
            self.watched.wrote(written(&polled));
            match ready!(polled)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.own_left.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the interim responses that wait. hyper flushes when all that it had to write is written, so
    /// they land between two messages of its own.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_own_left(cx))?;
            let Some(bytes) = self.interim.as_ref().and_then(Exchange::take) else {
                return Poll::Ready(Ok(()));
            };
            self.own_left = bytes;
            // The final response may be waiting for this.
            cx.waker().wake_by_ref();
        }
    }

    /// Waits for the client's next bytes, and keeps them for the next read. `None` where there are none to
    /// come. It needs no buffer meanwhile.
    pub async fn await_bytes(&mut self) -> Option<()> {
        let mut ahead = BytesMut::new();
        let read = poll_fn(|cx| poll_some(&mut *self, cx, &mut ahead)).await;
        self.read_first(read.is_ok_and(|read| read > 0).then(|| ahead.freeze())?);
        Some(())
    }

    /// Whether there are bytes that were kept for the next read.
    pub const fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Takes them.
    pub fn take_ahead(&mut self) -> Bytes {
        std::mem::take(&mut self.ahead)
    }

    /// Has these bytes be what is read next. Some may be there already, in place of what was wrong behind
    /// these.
    pub fn read_first(&mut self, first: Bytes) {
        self.ahead = match (first.is_empty(), self.ahead.is_empty()) {
            // Not even an empty slice of a large buffer.
            (true, _) => return,
            (false, true) => first,
            (false, false) => [first, self.take_ahead()].concat().into(),
        };
    }

    /// Some bytes were written, or none now.
    fn wrote(&mut self, written: Option<usize>) {
        self.watched.wrote(written);
        self.is_flushed = false;
        self.written = self.written.saturating_add(written.unwrap_or(0));
        if let (Along::Http2(frames), Some(written)) = (&mut self.along, written) {
            frames.earns(written);
        }
    }

    fn give_ahead(&mut self, buf: &mut ReadBuf<'_>) {
        let length = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..length).unwrap_or_default());
        self.ahead.advance(length);
    }

    /// What is wrong where hyper begins to write this although nobody asked for anything.
    fn refused_by_hyper(&self, begins: &[u8]) -> Option<ClientError> {
        if !self.watched.is_quiet() || self.watched.is_handed_over() {
            return None;
        }
        let (Along::Http1(_) | Along::Broken(..)) = self.along else { return None };
        Some(match begins.strip_prefix(b"HTTP/1.1 ")?.get(..3)? {
            b"431" => ClientError::HeadTooLarge,
            b"414" => ClientError::TargetTooLong,
            b"400" => ClientError::BadRequest(match self.along {
                Along::Broken(reason, _) => reason,
                _ => "malformed_head",
            }),
            _ => return None,
        })
    }

    /// Has the gateway's answer be written in hyper's place. It is counted and logged then.
    fn answer(&mut self, error: ClientError) -> bool {
        let Some(connection) = self.connection.as_ref().filter(|_| !self.watched.was_told()) else {
            return false;
        };
        let framing = match &self.along {
            Along::Http1(framing) | Along::Broken(_, framing) => Some(framing),
            Along::Nothing | Along::Http2(_) | Along::Flooded => None,
        };
        self.own_left = connection.refuse(error, framing.is_some_and(Framing::method_is_head));
        self.watched.told();
        true
    }

    /// Whether the client is listened to for a while before the connection is closed.
    fn lingers(&self) -> bool {
        self.watched.is_closing() && !self.watched.is_cut() && !self.watched.is_handed_over()
    }

    /// Listens to what an HTTP/1 client still sends, where it has been told that no more is read.
    pub async fn linger(&mut self) {
        if !self.lingers() || !self.is_http1() {
            return;
        }
        poll_fn(|cx| match self.watched.order() {
            Order::None | Order::Drain | Order::HeadTimeout => self.poll_linger(cx),
            Order::End => Poll::Ready(()),
        })
        .await;
    }

    const fn is_http1(&self) -> bool {
        matches!(self.along, Along::Http1(_) | Along::Broken(..))
    }

    /// Reads what a client still sends, and drops it. Closing with data unread makes the kernel reset the
    /// connection, and the reset overtakes the answer that says why (RFC 9112 §9.6).
    ///
    /// A client that has sent nothing more is not waited for, unless a body has yet to come and the answer
    /// was so large that it may be on its way still.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_awaited = matches!(&self.along, Along::Http1(framing) if framing.is_within_body())
            && self.written > TAKEN_AT_ONCE;
        let begin = || Linger { end: Box::pin(tokio::time::sleep(LINGER)), read: 0 };
        let mut unread = [0; 4096];
        loop {
            let mut unread = ReadBuf::new(&mut unread);
            match Pin::new(&mut self.io).poll_read(cx, &mut unread) {
                Poll::Ready(Ok(())) if !unread.filled().is_empty() => {
                    let linger = self.linger.get_or_insert_with(begin);
                    linger.read += unread.filled().len();
                    if linger.read > LINGER_MAX_BYTES || linger.end.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
                Poll::Pending if is_awaited || self.linger.is_some() => {
                    return self.linger.get_or_insert_with(begin).end.as_mut().poll(cx);
                }
                Poll::Ready(_) | Poll::Pending => return Poll::Ready(()),
            }
        }
    }
}

/// Reads some bytes to the end of `into`, and says how many: none at the end. It waits without taking room.
pub(super) fn poll_some(
    io: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    into: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    let mut few = [0; AHEAD_MAX_BYTES];
    let mut few = ReadBuf::new(&mut few);
    ready!(Pin::new(io).poll_read(cx, &mut few))?;
    into.extend_from_slice(few.filled());
    Poll::Ready(Ok(few.filled().len()))
}

/// How much a write took; `None` while it waits.
fn written(polled: &Poll<io::Result<usize>>) -> Option<usize> {
    match polled {
        Poll::Ready(written) => Some(written.as_ref().map_or(0, |written| *written)),
        Poll::Pending => None,
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
            this.give_ahead(buf);
            this.watched.bytes_read();
            return Poll::Ready(Ok(()));
        }
        match this.watched.order() {
            Order::None | Order::Drain => {}
            // The head was complete after all, at that very moment: its request is answered before the end.
            Order::HeadTimeout if this.watched.phase() == Phase::Busy => {}
            Order::HeadTimeout => {
                if this.watched.phase() == Phase::Head && this.answer(ClientError::HeadTimeout) {
                    // No response is under way while a head is read, so this cannot land inside one. One try
                    // is enough: the socket's buffer has room unless the client also refuses to read.
                    let _ = this.poll_own_left(cx);
                    let _ = Pin::new(&mut this.io).poll_flush(cx);
                }
                return Poll::Ready(Ok(()));
            }
            Order::End => return Poll::Ready(Ok(())),
        }
        match this.along {
            Along::Broken(..) | Along::Flooded => return Poll::Ready(Ok(())),
            Along::Http1(_) if this.withholds() => {
                if let Handshake::Left = ready!(this.poll_handshake(cx))? {
                    return Poll::Ready(Ok(()));
                }
            }
            Along::Http1(_) | Along::Http2(_) | Along::Nothing => {}
        }
        let before = buf.filled().len();
        let result = if this.raw.is_empty() {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))
        } else {
            let length = this.raw.len().min(buf.remaining());
            buf.put_slice(&this.raw.split_to(length));
            Ok(())
        };
        if buf.filled().len() > before {
            this.watched.bytes_read();
            this.read_along(cx, buf, before);
        }
        Poll::Ready(result)
    }
}

impl AsyncWrite for WatchedIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own_left(cx))?;
        if this.refused_by_hyper(buf).is_some_and(|error| this.answer(error)) {
            return Poll::Ready(Ok(buf.len()));
        }
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        this.wrote(written(&polled));
        this.or_take_back(polled, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_own_left(cx))?;
        let begins = bufs.first().map(|first| &**first).unwrap_or_default();
        if this.refused_by_hyper(begins).is_some_and(|error| this.answer(error)) {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let polled = Pin::new(&mut this.io).poll_write_vectored(cx, bufs);
        this.wrote(written(&polled));
        this.or_take_back(polled, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.connection.as_ref().is_some_and(|connection| connection.lending.is_taken_back()) {
            return Poll::Pending; // What hyper believes to have written is not.
        }
        ready!(this.poll_interim(cx))?;
        // TLS keeps what it has encrypted until the socket takes it.
        let polled = Pin::new(&mut this.io).poll_flush(cx);
        this.watched.flushed(polled.is_ready());
        this.is_flushed = polled.is_ready();
        if let (Some(connection), true) = (&this.connection, polled.is_ready()) {
            connection.lending.flushed();
        }
        if this.withholds_too_long() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.watched.closes();
        ready!(Pin::new(&mut this.io).poll_shutdown(cx))?;
        if !this.lingers() || this.is_http1() {
            return Poll::Ready(Ok(())); // HTTP/1 lingers without hyper.
        }
        this.poll_linger(cx).map(Ok)
    }
}
