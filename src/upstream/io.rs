//! A socket towards an endpoint, which knows what hyper does not tell: whether a byte of this request was
//! written, and whether a byte of its answer was read.
//!
//! The socket owns its [`Slot`]: however a connection ends, in the pool, in an abort or as a tunnel, its
//! place is free again when its socket is closed and not before.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::net::poll_gathered;

use super::frames::Frames;
use super::grant::Slot;
use super::heads::{Flood, Heads};

/// The bytes, in clear or through TLS.
#[derive(Debug)]
pub(super) enum Socket {
    /// Clear text.
    Tcp(TcpStream),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// A socket and what is noted about the exchange on it.
#[derive(Debug)]
pub(super) struct UpstreamIo {
    socket: Socket,
    wire: Arc<Wire>,
    heads: Heads,
    exchange: u32,
    /// Followed on a shared connection.
    frames: Option<Frames>,
    _slot: Slot,
}

impl UpstreamIo {
    /// The socket of an HTTP/1 connection.
    pub(super) fn new(socket: Socket, wire: Arc<Wire>, slot: Slot) -> Self {
        Self { socket, wire, heads: Heads::default(), exchange: 0, frames: None, _slot: slot }
    }

    /// The socket of an HTTP/2 connection.
    pub(super) fn shared(socket: Socket, wire: Arc<Wire>, slot: Slot) -> Self {
        Self { frames: Some(Frames::default()), ..Self::new(socket, wire, slot) }
    }

    /// Starts following a new exchange where one has begun, and says whether its head is still awaited.
    fn awaits_head(&mut self) -> bool {
        let exchange = self.wire.exchange.load(Ordering::Relaxed);
        let awaited = exchange % 2 == 1;
        if awaited && exchange != self.exchange {
            self.exchange = exchange;
            self.heads = Heads::default();
        }
        awaited
    }

    fn flood(&self, flood: Flood) -> Poll<io::Result<()>> {
        if flood == Flood::Interim {
            self.wire.interim_flood.store(true, Ordering::Relaxed);
        } else {
            self.wire.head_flood.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Err(io::Error::other(flood)))
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.wire.written.store(true, Ordering::Relaxed);
        }
        polled
    }
}

/// What is noted about the exchange on a connection; shared by its socket and whoever sends on it.
///
/// An HTTP/1 exchange only: on a shared connection nothing is begun, and only a flood is noted.
#[derive(Debug, Default)]
pub(super) struct Wire {
    /// Odd while a response head is awaited; each exchange adds two.
    exchange: AtomicU32,
    written: AtomicBool,
    read: AtomicBool,
    interim_flood: AtomicBool,
    head_flood: AtomicBool,
}

impl Wire {
    /// A request is about to be sent. The channel it is sent through orders these stores before the socket's
    /// loads.
    pub(super) fn begin(&self) {
        self.written.store(false, Ordering::Relaxed);
        self.read.store(false, Ordering::Relaxed);
        self.exchange.fetch_add(1, Ordering::Relaxed);
    }

    /// The final head has arrived.
    pub(super) fn head_arrived(&self) {
        self.exchange.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether a byte was written since [`begin`](Self::begin).
    pub(super) fn written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    /// Whether a byte was read since [`begin`](Self::begin).
    pub(super) fn read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// Why the socket stopped reading, where it did.
    pub(super) fn flood(&self) -> Option<Flood> {
        if self.interim_flood.load(Ordering::Relaxed) {
            Some(Flood::Interim)
        } else {
            self.head_flood.load(Ordering::Relaxed).then_some(Flood::Bytes)
        }
    }
}

impl AsyncRead for UpstreamIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let awaited = io.awaits_head();
        if awaited && let Err(flood) = io.heads.may_read() {
            return io.flood(flood);
        }
        let before = buf.filled().len();
        ready!(match &mut io.socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Socket::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        })?;
        if let Some(frames) = &mut io.frames
            && let Err(flood) = frames.read(buf.filled().get(before..).unwrap_or_default())
        {
            return io.flood(flood);
        }
        if awaited && let Some(bytes) = buf.filled().get(before..).filter(|bytes| !bytes.is_empty()) {
            io.wire.read.store(true, Ordering::Relaxed);
            if let Err(flood) = io.heads.read(bytes) {
                return io.flood(flood);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UpstreamIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let polled = match &mut io.socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Socket::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        };
        io.written(polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let polled = match &mut io.socket {
            Socket::Tcp(tcp) => poll_gathered(Pin::new(tcp), cx, bufs),
            Socket::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        };
        io.written(polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Tcp(tcp) => tcp.is_write_vectored(),
            Socket::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
