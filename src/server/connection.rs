//! One downstream connection, from its first byte to its last: handshake, protocol, requests, end.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Version};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pin_project_lite::pin_project;
use tokio::io::AsyncReadExt;

use crate::clock;
use crate::error::{Error, InternalError};
use crate::gateway::Gateway;
use crate::http::{Body, Peer, RequestId, Response};
use crate::layers::respond;
use crate::net::Io;

use super::ingress::{self, Border};
use super::io::WatchedIo;
use super::tunnel::Tunnels;
use super::watch::{Order, Timeouts, Watch, Watched};

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
    /// The timeouts.
    pub timeouts: Timeouts,
    /// Upgraded connections.
    pub tunnels: Tunnels,
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
pub async fn serve_clear(mut io: Io, peer: Peer, context: Arc<Context>) {
    let watched = context.watch.enlist(context.timeouts);
    let begun = unless_ended(&watched, find_protocol(&mut io, &context)).await;
    if let Some(Some((spoken, ahead))) = begun {
        serve(WatchedIo::new(io, ahead, watched.clone()), spoken, peer, watched, context).await;
    }
}

/// Serves a connection whose protocol is known.
pub async fn serve_known(io: Io, spoken: Spoken, peer: Peer, context: Arc<Context>) {
    let watched = context.watch.enlist(context.timeouts);
    serve(WatchedIo::new(io, Bytes::new(), watched.clone()), spoken, peer, watched, context).await;
}

/// Reads until the bytes are an HTTP/2 preface or cannot become one. `None` when the client leaves before.
async fn find_protocol(io: &mut Io, context: &Context) -> Option<(Spoken, Bytes)> {
    let mut ahead = BytesMut::with_capacity(PREFACE.len());
    loop {
        if ahead.len() < PREFACE.len() && io.read_buf(&mut ahead).await.ok()? == 0 {
            return None;
        }
        let length = ahead.len().min(PREFACE.len());
        let alike = PREFACE.get(..length) == ahead.get(..length);
        match (alike, context.http1, context.http2) {
            (false, true, _) | (_, true, false) => return Some((Spoken::Http1, ahead.freeze())),
            (_, false, _) => return Some((Spoken::Http2, ahead.freeze())),
            (true, _, true) if length == PREFACE.len() => return Some((Spoken::Http2, ahead.freeze())),
            (true, _, true) => {}
        }
    }
}

/// Awaits something unless the watchman ends the connection first.
async fn unless_ended<T>(watched: &Watched, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        watched.register(cx.waker());
        // Nothing is in flight yet, so an order to drain ends the connection as well.
        if watched.order() != Order::None {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

async fn serve(io: WatchedIo, spoken: Spoken, peer: Peer, watched: Arc<Watched>, context: Arc<Context>) {
    let connection = Arc::new(Connection { peer: Arc::new(peer), context, watched });
    let requests = {
        let connection = connection.clone();
        service_fn(move |request| Caught { answer: answer(request, InFlight::begin(&connection)) })
    };
    let io = TokioIo::new(io);
    match spoken {
        Spoken::Http1 => {
            let served = http1_builder(&connection.context).serve_connection(io, requests).with_upgrades();
            drive(pin!(served), &connection.watched, |served| served.graceful_shutdown()).await;
        }
        Spoken::Http2 => {
            let served = http2_builder(&connection.context).serve_connection(io, requests);
            drive(pin!(served), &connection.watched, |served| served.graceful_shutdown()).await;
        }
    }
}

/// What the requests of one connection share.
struct Connection {
    peer: Arc<Peer>,
    context: Arc<Context>,
    watched: Arc<Watched>,
}

/// Polls a connection to its end, obeying the watchman.
async fn drive<C, E>(mut connection: Pin<&mut C>, watched: &Watched, mut drain: impl FnMut(Pin<&mut C>))
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
            Order::Drain if draining => {}
            Order::Drain => {
                draining = true;
                drain(connection.as_mut());
            }
            // The IO answers and ends by itself.
            Order::HeadTimeout => {}
            Order::End => return Poll::Ready(()),
        }
        connection.as_mut().poll(cx).map(drop)
    })
    .await;
}

fn http1_builder(context: &Context) -> http1::Builder {
    let server = &context.border.server;
    let mut builder = http1::Builder::new();
    builder
        .header_read_timeout(None)
        .max_buf_size(server.max_header_bytes.max(8192))
        .max_header_size(server.max_header_bytes)
        // With it, bodies are buffered without bound, and an answer waits while anything that was read after
        // its request is not consumed: the rest of a head that cannot be parsed, half a next request.
        .pipeline_flush(false);
    if server.max_headers > 100 {
        // hyper keeps up to 100 on its stack; the border checks smaller limits.
        builder.max_headers(server.max_headers);
    }
    builder
}

fn http2_builder(context: &Context) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(context.border.server.max_header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(STREAM_SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// The mark that a request is in flight, until its response's body has ended.
struct InFlight(Arc<Connection>);

impl InFlight {
    fn begin(connection: &Arc<Connection>) -> Self {
        connection.watched.request_begins();
        Self(connection.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.watched.request_ends();
    }
}

/// Answers one request.
async fn answer(request: http::Request<Incoming>, in_flight: InFlight) -> http::Response<Outgoing> {
    let connection = &*in_flight.0;
    let context = &*connection.context;
    let version = request.version();
    let (response, close) = match ingress::admit(request, &context.border, &connection.peer, clock::now()) {
        Ok(request) if request.target.path_and_query.as_str() == "*" => (server_wide_options(), false),
        Ok(request) => {
            let downstream = request.upgrade.clone();
            let mut response = context.gateway.call(request).await;
            if let (Some(upstream), Some(downstream)) = (response.upgrade.take(), downstream) {
                connection.watched.hand_over();
                context.tunnels.open(*downstream, *upstream, context.border.server.tunnel_timeout);
                // Fields of the connection, and this is another one (RFC 9110 §7.8).
                response.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                response.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            (response, false)
        }
        Err(refused) => {
            let response = context.gateway.refused(&refused.error, &refused.id);
            (response, version < Version::HTTP_2)
        }
    };
    outgoing(response, Some(in_flight), close)
}

/// The answer to `OPTIONS *`, which asks about the server and not about a resource (RFC 9110 §9.3.7).
fn server_wide_options() -> Response {
    let mut response = Response::new(http::StatusCode::NO_CONTENT, Body::empty());
    let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers.insert(http::header::ALLOW, allowed);
    response
}

fn outgoing(response: Response, in_flight: Option<InFlight>, close: bool) -> http::Response<Outgoing> {
    let mut outgoing = http::Response::new(Outgoing { body: response.body, in_flight });
    *outgoing.status_mut() = response.status;
    *outgoing.headers_mut() = response.headers;
    if close {
        outgoing.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    outgoing
}

/// A response body on its way to hyper.
struct Outgoing {
    body: Body,
    in_flight: Option<InFlight>,
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Err(_))), Some(in_flight)) = (&polled, &self.in_flight) {
            in_flight.0.watched.cut();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// Turns a panic while answering into a 500: the connection's other requests go on.
    struct Caught<F> {
        #[pin]
        answer: F,
    }
}

impl<F: Future<Output = http::Response<Outgoing>>> Future for Caught<F> {
    type Output = Result<http::Response<Outgoing>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let answer = self.project().answer;
        let polled = std::panic::catch_unwind(AssertUnwindSafe(|| answer.poll(cx)));
        polled
            .unwrap_or_else(|_| {
                let error = Error::Internal(InternalError::Panicked);
                let response = respond::response(&error, &RequestId::Random(fastrand::u128(..)));
                Poll::Ready(outgoing(response, None, true))
            })
            .map(Ok)
    }
}
