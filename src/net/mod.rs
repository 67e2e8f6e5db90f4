//! The byte streams the gateway serves: a closed enum, so that a connection is not boxed behind a trait
//! object.
//!
//! [`Io::Memory`] is the seam for simulation: the same connection code runs over it without a socket.

mod networks;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use smallvec::SmallVec;

pub use self::networks::networks;

/// A downstream connection.
#[derive(Debug)]
pub enum Io {
    /// Clear text.
    Tcp(TcpStream),
    /// TLS ended here.
    Tls(Box<TlsStream<TcpStream>>),
    /// In memory, for simulation.
    Memory(DuplexStream),
}

/// Calls the same method on whichever stream it is.
macro_rules! each {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Tcp($io) => $call,
            Io::Tls($io) => $call,
            Io::Memory($io) => $call,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Io::Tcp(io) => poll_gathered(Pin::new(io), cx, bufs),
            Io::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Io::Memory(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
            Self::Memory(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

/// Up to so many bytes are copied together and sent as one piece.
const GATHER_MAX_BYTES: usize = 2048;

/// Writes several pieces to a socket, small ones as one: a `writev` goes through the kernel's file layer,
/// which takes longer than copying a head and a small body and handing them to `send`.
pub fn poll_gathered(
    socket: Pin<&mut TcpStream>,
    cx: &mut Context<'_>,
    bufs: &[io::IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = bufs {
        return socket.poll_write(cx, only);
    }
    if bufs.iter().map(|buf| buf.len()).sum::<usize>() > GATHER_MAX_BYTES {
        return socket.poll_write_vectored(cx, bufs);
    }
    let mut piece: SmallVec<[u8; GATHER_MAX_BYTES]> = SmallVec::new();
    for buf in bufs {
        piece.extend_from_slice(buf);
    }
    socket.poll_write(cx, &piece)
}
