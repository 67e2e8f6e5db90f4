//! One downstream connection, from its first byte to its last: handshake, protocol, requests, end.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use crate::clock;
use crate::error::ClientError;
use crate::gateway::Gateway;
use crate::http::Peer;
use crate::http::interim::Exchange;
use crate::metrics::{Gauge, GaugeHold};
use crate::net::Io;

use super::addresses::{Addresses, Place};
use super::exchange::{self, Connection};
use super::ingress::{self, Border};
use super::io::{WatchedIo, poll_some};
use super::lending::{Lending, Remainder};
use super::streams::Streams;
use super::tunnel::Tunnels;
use super::watch::{Limits, ListenerId, Order, Watch, Watched};

/// What all connections of a listener share.
#[derive(Debug)]
pub struct Context {
    /// Where requests go.
    pub gateway: Arc<Gateway>,
    /// What the border checks.
    pub border: Border,
    /// Whether HTTP/1 may be spoken.
    pub http1: bool,
    /// Whether HTTP/2 may be spoken.
    pub http2: bool,
    /// Who watches over timeouts.
    pub watch: Watch,
    /// How long a connection may take over things.
    pub limits: Limits,
    /// Upgraded connections.
    pub tunnels: Tunnels,
    /// Which listener it is.
    pub listener: ListenerId,
    /// How many connections each client has.
    pub addresses: Addresses,
    /// Whether connections begin with a PROXY header.
    pub proxy_protocol: bool,
    /// Whether origins get clients' certificates.
    pub tells_certificate: bool,
    /// Whether requests in clear text are sent elsewhere.
    pub redirect_to_https: bool,
    /// What responses by `https` say about coming back.
    pub hsts: Option<HeaderValue>,
}

impl Context {
    /// Takes a new connection into the watch.
    pub fn enlist(&self) -> Arc<Watched> {
        self.watch.enlist(self.limits, self.listener)
    }

    /// Takes a place for one more connection of a client; `None` where it has too many.
    pub fn place(&self, address: IpAddr) -> Option<Place> {
        self.addresses.take(address, self.border.server.max_connections_per_address)
    }
}

/// A place under `server.max_connections` and in the gauge; freed when the connection is closed, which for an
/// upgraded one is the tunnel's end.
#[derive(Debug)]
pub struct Slot {
    /// The place.
    pub permit: OwnedSemaphorePermit,
    /// The place among those of its address; a trusted proxy has as many as it likes.
    pub place: Option<Place>,
    /// The gauge of open connections.
    pub open: GaugeHold,
    /// The gauge of those that rest.
    pub resting: Gauge,
    /// The gauge of those whose client takes its time over a head.
    pub slow_heads: Gauge,
    /// The gauge of those whose client takes its time over a response.
    pub slow_responses: Gauge,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// Who is at the other end.
    pub peer: Peer,
    /// Its place.
    pub slot: Slot,
    /// What is known of it.
    pub watched: Arc<Watched>,
    /// What it shares with the listener's other connections.
    pub context: Arc<Context>,
}

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams a client may have open at once.
const STREAMS_MAX: u32 = 200;

/// What one HTTP/2 stream may have waiting to be sent.
const STREAM_SEND_BUFFER: usize = 64 * 1024;

/// How much of a request body a client may send ahead, a stream.
const STREAM_WINDOW: u32 = 256 * 1024;

/// The same for a connection.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// The protocol a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Serves a clear-text connection, finding out which protocol it speaks.
pub async fn serve_clear(mut io: Io, accepted: Box<Accepted>) {
    let begun = unless_ended(&accepted.watched, pin!(find_protocol(&mut io, &accepted.context))).await;
    let Some(Some((spoken, ahead))) = begun else { return };
    serve_known(io, ahead, spoken, *accepted).await;
}

/// Serves a connection whose protocol is known; `ahead` was read to find out.
pub fn serve_known(
    io: Io,
    ahead: BytesMut,
    spoken: Spoken,
    accepted: Accepted,
) -> impl Future<Output = ()> + Send + use<> {
    let Accepted { peer, slot, watched, context } = accepted;
    let mut io = Box::new(WatchedIo::new(io, ahead, watched.clone()));
    let interim = (spoken == Spoken::Http1).then(|| {
        let watched = watched.clone();
        Exchange::new(move || watched.wake())
    });
    let (peer, slot) = (Arc::new(peer), Arc::new(slot));
    let lending = Lending::default();
    let connection = Arc::new(Connection { peer, slot, context, watched, spoken, interim, lending });
    io.speaks(connection.clone());
    serve(io, connection)
}

/// Reads until the bytes are an HTTP/2 preface or cannot become one. `None` when the client leaves before.
async fn find_protocol(io: &mut Io, context: &Context) -> Option<(Spoken, BytesMut)> {
    let mut ahead = BytesMut::new();
    poll_fn(|cx| {
        loop {
            if !ready!(poll_some(io, cx, &mut ahead)).is_ok_and(|read| read > 0) {
                return Poll::Ready(None);
            }
            if let Some(spoken) = protocol_of(&ahead, context) {
                return Poll::Ready(Some((spoken, std::mem::take(&mut ahead))));
            }
        }
    })
    .await
}

/// What is spoken where these are the first bytes, if they are enough to know.
fn protocol_of(ahead: &[u8], context: &Context) -> Option<Spoken> {
    let length = ahead.len().min(PREFACE.len());
    let alike = PREFACE.get(..length) == ahead.get(..length);
    match (alike, context.http1, context.http2) {
        (false, true, _) | (_, true, false) => Some(Spoken::Http1),
        (_, false, _) => Some(Spoken::Http2),
        (true, _, true) => (length == PREFACE.len()).then_some(Spoken::Http2),
    }
}

/// Awaits something that comes before a request, unless the watchman ends the connection first.
pub async fn unless_ended<T>(watched: &Watched, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| {
        watched.register(cx.waker());
        // Nothing is in flight, so an order to drain ends the connection as well, unless a request may be on
        // its way.
        match watched.order() {
            Order::None => {}
            Order::Drain if !watched.may_end() => {}
            Order::Drain | Order::HeadTimeout | Order::End => return Poll::Ready(None),
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn serve(mut io: Box<WatchedIo>, connection: Arc<Connection>) {
    let requests = {
        let connection = connection.clone();
        service_fn(move |request| exchange::answer(request, &connection))
    };
    let watched = &connection.watched;
    match connection.spoken {
        Spoken::Http1 => loop {
            if await_request(&mut io, &connection).await.is_none() {
                return;
            }
            let (driven, parts) = {
                let io = TokioIo::new(io);
                let served = http1_builder(&connection.context).serve_connection(io, requests.clone());
                // In a box, so that the task of a connection that rests is small; and in a block, whose end
                // frees the box.
                let mut served = Box::new(served.with_upgrades());
                let rests = || connection.lending.is_taken_back() || watched.takes_rest();
                let driven =
                    drive(Pin::new(&mut *served), watched, rests, |served| served.graceful_shutdown()).await;
                (driven, served.into_parts())
            };
            let remainder = connection.lending.remainder();
            let parts = match (driven, parts) {
                (Driven::Rests, Some(parts)) => parts,
                (Driven::Ended(broken), parts) => {
                    tell_of(&connection, broken);
                    return linger(parts).await;
                }
                (Driven::Rests, None) => return,
            };
            let Some(rested) = rest(parts, remainder, &connection).await else { return };
            io = rested;
        },
        Spoken::Http2 => {
            watched.speaks_http2();
            // In a box, for it is large, and would be kept room for in every connection's task.
            let io = TokioIo::new(io);
            let mut served = Box::pin(http2_builder(&connection.context).serve_connection(io, requests));
            drive(served.as_mut(), watched, || false, |served| served.graceful_shutdown()).await;
        }
    }
}

/// Waits for a head that is whole, or that hyper should look at, with nothing kept but what there is of it:
/// hyper's buffers are some 15 KiB. `None` when the client leaves.
async fn await_request(io: &mut WatchedIo, connection: &Connection) -> Option<()> {
    if io.has_ahead() {
        return Some(());
    }
    let heads = io.heads();
    {
        let _resting = connection.slot.resting.hold();
        unless_ended(&connection.watched, pin!(io.await_bytes())).await.flatten()?;
    }
    if io.is_within_head() && io.heads() == heads {
        let begun = io.take_ahead();
        await_head(io, begun, connection).await;
    }
    Some(())
}

/// Waits for the rest of a head.
async fn await_head(io: &mut WatchedIo, begun: Bytes, connection: &Connection) {
    let _slow = connection.slot.slow_heads.hold();
    io.await_head(begun, connection.context.border.server.max_header_bytes).await;
}

/// Keeps nothing of a connection whose client is slow, or has nothing to say, but what there is of a head or
/// a response. `None` when the connection is over.
async fn rest<S>(
    parts: http1::Parts<TokioIo<Box<WatchedIo>>, S>,
    remainder: Option<Remainder>,
    connection: &Connection,
) -> Option<Box<WatchedIo>> {
    let http1::Parts { io, mut read_buf, .. } = parts;
    let mut io = io.into_inner();
    match remainder {
        Some(remainder) => {
            let _slow = connection.slot.slow_responses.hold();
            // Not a slice of hyper's buffer.
            read_buf = Bytes::copy_from_slice(&read_buf);
            io.write_out(remainder).await?;
            // A request perhaps, which waited for its turn.
            io.read_first(read_buf);
        }
        None if io.is_within_head() && !read_buf.is_empty() => {
            await_head(&mut io, read_buf, connection).await
        }
        None => io.read_first(read_buf),
    }
    Some(io)
}

/// Listens for a while to what a client still sends, with nothing kept meanwhile but its socket.
async fn linger<S>(parts: Option<http1::Parts<TokioIo<Box<WatchedIo>>, S>>) {
    // Not the buffer of hyper's that comes with it.
    let Some(io) = parts.map(|parts| parts.io) else { return };
    io.into_inner().linger().await;
}

/// Counts and logs a request of whose head too little came to be one, where hyper answered it: its words were
/// mixed with those of the response before.
fn tell_of(connection: &Connection, broken: Option<hyper::Error>) {
    let error = match broken {
        _ if connection.watched.was_told() => return,
        Some(error) if error.is_parse_too_large() => ClientError::HeadTooLarge,
        // hyper does not answer an HTTP/2 client where only HTTP/1 is spoken.
        Some(error) if error.is_parse() && !error.is_parse_version_h2() => {
            ClientError::BadRequest("malformed_head")
        }
        Some(_) | None => return,
    };
    connection.context.gateway.refused(&ingress::refuse(error.into(), None, &connection.peer, clock::now()));
}

/// What became of a connection that was driven.
enum Driven<E> {
    /// It is over, perhaps because it broke.
    Ended(Option<E>),
    /// It is idle, and should rest.
    Rests,
}

/// Polls a connection to its end or rest, obeying the watchman.
async fn drive<C, E>(
    mut connection: Pin<&mut C>,
    watched: &Watched,
    rests: impl Fn() -> bool,
    mut drain: impl FnMut(Pin<&mut C>),
) -> Driven<E>
where
    C: Future<Output = Result<(), E>>,
{
    let (mut registered, mut draining) = (false, false);
    poll_fn(|cx| {
        if !registered {
            // A spawned task is polled with the same waker throughout.
            registered = true;
            watched.register(cx.waker());
        }
        match watched.order() {
            Order::None => {}
            // It waits for a request that may be on its way, which is answered and told that it is the last.
            Order::Drain if draining || !watched.may_end() => {}
            Order::Drain => {
                draining = true;
                drain(connection.as_mut());
            }
            // The IO answers and ends by itself.
            Order::HeadTimeout => {}
            Order::End => return Poll::Ready(Driven::Ended(None)),
        }
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending() && rests() {
            return Poll::Ready(Driven::Rests);
        }
        polled.map(|ended| Driven::Ended(ended.err()))
    })
    .await
}

fn http1_builder(context: &Context) -> http1::Builder {
    let server = &context.border.server;
    let mut builder = http1::Builder::new();
    // Not `pipeline_flush`: with it hyper's write buffer has no bound, and what it wants to say about a head
    // it cannot read stays in there.
    builder
        .header_read_timeout(None)
        .max_buf_size(server.max_header_bytes.max(8192))
        .max_header_size(server.max_header_bytes);
    if server.max_headers > 100 {
        // hyper keeps up to 100 on its stack; the border checks smaller limits.
        builder.max_headers(server.max_headers);
    }
    builder
}

fn http2_builder(context: &Context) -> http2::Builder<Streams> {
    let streams = Streams { write_timeout: context.border.server.write_timeout };
    let mut builder = http2::Builder::new(streams);
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(context.border.server.max_header_list())
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}
