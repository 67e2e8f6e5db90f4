//! The two kinds of connections a pool keeps: one exchange at a time, and many.
//!
//! A task of its own drives each; hyper's sender is the other end of it.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::grant::Slot;
use super::heads::{Flood, MAX_HEAD};
use super::io::{Socket, UpstreamIo, Wire};
use super::upload::Outgoing;

/// What sending ends with: a response head, or an error that may hand back a request of which nothing was
/// written.
pub(super) type Sent = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>;

/// How long a connection may take to be ready for its next request after a whole answer.
const SETTLE: Duration = Duration::from_millis(5);

/// Streams on one HTTP/2 connection, whatever its server allows: what servers should allow at least (RFC 9113
/// §6.5.2).
pub(super) const MAX_STREAMS: usize = 100;
/// HTTP/2 flow control windows, in bytes: what an endpoint may send before a client has taken it.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// How often a used HTTP/2 connection is probed with PING, and how long the answer may take.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// An HTTP/1.1 connection. One that is dropped in the middle of an exchange is closed at once.
#[derive(Debug)]
pub(super) struct Exclusive {
    sender: http1::SendRequest<Outgoing>,
    wire: Arc<Wire>,
    driver: AbortHandle,
    busy: bool,
    used: bool,
}

impl Exclusive {
    /// Speaks HTTP/1.1 on a socket.
    pub(super) async fn over(socket: Socket, slot: Slot) -> Result<Self, hyper::Error> {
        let wire = Arc::new(Wire::default());
        let io = TokioIo::new(UpstreamIo::new(socket, Arc::clone(&wire), slot));
        let (sender, connection) = http1::Builder::new().max_header_size(MAX_HEAD).handshake(io).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::trace!(%error, "upstream connection ended");
            }
        });
        Ok(Self { sender, wire, driver: driver.abort_handle(), busy: false, used: false })
    }

    /// Whether a request can be sent now.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether no request can ever be sent again.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it has carried an exchange before this one: its endpoint may be closing it just now.
    pub(super) const fn is_used(&self) -> bool {
        self.used
    }

    /// What is noted about the exchange.
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Waits a moment for the driver to be done with the exchange before; false if it is not.
    pub(super) async fn settle(&mut self) -> bool {
        let ready = tokio::time::timeout(SETTLE, self.sender.ready()).await;
        matches!(ready, Ok(Ok(())))
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: Request<Outgoing>) -> impl Future<Output = Sent> + use<> {
        self.wire.begin();
        self.busy = true;
        self.sender.try_send_request(request)
    }

    /// Marks the exchange as over: from now on a drop lets hyper end the connection in order.
    pub(super) const fn finished(&mut self) {
        self.busy = false;
        self.used = true;
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        if self.busy {
            self.driver.abort();
        }
    }
}

/// An HTTP/2 connection; clones share it, and the last one's drop ends it.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    sender: http2::SendRequest<Outgoing>,
    wire: Arc<Wire>,
    allowed: Arc<Allowed>,
}

/// How many streams the peer allows at once. Only hyper's connection knows, which belongs to its driver.
#[derive(Debug)]
struct Allowed {
    streams: AtomicUsize,
    /// Has the driver look once more: its peer's settings arrive after the first request has left.
    look: Notify,
}

impl Shared {
    /// Speaks HTTP/2 on a socket; `streams` are expected to be allowed until the peer says how many are.
    pub(super) async fn over(socket: Socket, slot: Slot, streams: usize) -> Result<Self, hyper::Error> {
        let wire = Arc::new(Wire::default());
        let io = TokioIo::new(UpstreamIo::shared(socket, Arc::clone(&wire), slot));
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_max_send_streams(streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD as u32)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(io)
            .await?;
        let allowed = Arc::new(Allowed { streams: AtomicUsize::new(streams), look: Notify::new() });
        let known = Arc::clone(&allowed);
        tokio::spawn(async move {
            let (mut connection, mut look) = (pin!(connection), pin!(known.look.notified()));
            let mut looked = false;
            let ended = poll_fn(|cx| {
                looked = looked || look.as_mut().poll(cx).is_ready();
                let polled = connection.as_mut().poll(cx);
                known.streams.store(connection.current_max_send_streams(), Ordering::Relaxed);
                polled
            });
            if let Err(error) = ended.await {
                tracing::trace!(%error, "upstream connection ended");
            }
        });
        Ok(Self { sender, wire, allowed })
    }

    /// How many requests it carries at once, as far as its peer's settings are known.
    pub(super) fn max_streams(&self) -> usize {
        self.allowed.streams.load(Ordering::Relaxed).clamp(1, MAX_STREAMS)
    }

    /// Why its socket stopped reading, where it did.
    pub(super) fn flood(&self) -> Option<Flood> {
        self.wire.flood()
    }

    /// A response has arrived, and so have the peer's settings (RFC 9113 §3.4).
    pub(super) fn answered(&self) {
        self.allowed.look.notify_one();
    }

    /// Whether it takes no more requests: it is closed, or its peer has said GOAWAY.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a request.
    pub(super) fn send(&mut self, request: Request<Outgoing>) -> impl Future<Output = Sent> + use<> {
        self.sender.try_send_request(request)
    }
}
