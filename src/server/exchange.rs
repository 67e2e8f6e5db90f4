//! One exchange on a connection: its request is taken in, answered, and on HTTP/1 preceded by what the
//! origin has to say before.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, STRICT_TRANSPORT_SECURITY, TRAILER, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use crate::clock;
use crate::error::{ClientError, Error, InternalError};
use crate::http::interim::Exchange;
use crate::http::{Body, Interim, Peer, Refused, Request, RequestId, Scheme};
use crate::layers::respond;

use super::connection::{Context, Slot, Spoken};
use super::ingress;
use super::lending::Lending;
use super::outgoing::{self, Outgoing};
use super::watch::{Order, Watched};

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Arc<Peer>,
    pub(super) slot: Arc<Slot>,
    pub(super) context: Arc<Context>,
    pub(super) watched: Arc<Watched>,
    pub(super) spoken: Spoken,
    /// Where interim responses can be sent.
    pub(super) interim: Option<Exchange>,
    /// What is lent of the response that is being written.
    pub(super) lending: Lending,
}

impl Connection {
    /// The answer to a client from whom no request could be read, as bytes. It is counted and logged like
    /// others. HEAD is answered without content (RFC 9110 §9.3.2).
    pub(super) fn refuse(&self, error: ClientError, method_is_head: bool) -> Bytes {
        let now = clock::now();
        let refused = ingress::refuse(error.into(), None, &self.peer, now);
        outgoing::last_words(&self.context.gateway.refused(&refused), now, !method_is_head)
    }

    /// Takes the interim responses of the next request.
    fn interim(&self, version: Version) -> Interim {
        match &self.interim {
            // RFC 9110 §15.2: never to a client of HTTP/1.0.
            Some(exchange) if version == Version::HTTP_11 => exchange.begin(),
            Some(_) | None => Interim::none(),
        }
    }

    /// Waits until they are on their way. From here on the final response is written.
    async fn interim_ends(&self) {
        let Some(exchange) = &self.interim else { return };
        if exchange.waits() {
            // The socket takes them when hyper flushes it next, in this very poll, and wakes us.
            poll_fn(|_| if exchange.waits() { Poll::Pending } else { Poll::Ready(()) }).await;
        }
        exchange.end();
    }
}

/// The mark that a request is in flight, until its response's body has ended.
#[derive(Debug)]
pub(super) struct InFlight {
    connection: Arc<Connection>,
    /// The request's number on its connection, from 1 on.
    number: u32,
    /// Whether hyper may have more to read of the request.
    has_body: bool,
    /// Whether the client takes another response on this connection.
    persists: bool,
    /// Whether it knows chunks (RFC 9112 §7.1).
    knows_chunks: bool,
    /// Whether the response has no content, whatever it says of it (RFC 9110 §9.3.2).
    pub(super) is_head: bool,
}

impl InFlight {
    /// The response could not be finished.
    pub(super) fn cut(&self) {
        self.connection.watched.cut();
    }

    /// What lends the response's body.
    pub(super) fn lending(&self) -> &Lending {
        &self.connection.lending
    }

    /// Takes the response's body, to lend it, if that can be done.
    pub(super) fn lend(&self, body: &mut Body, headers: &HeaderMap, close: bool) -> bool {
        let may = self.connection.spoken == Spoken::Http1 && !self.has_body && Lending::takes(body);
        if !may {
            return false;
        }
        // As hyper frames it (RFC 9112 §6).
        let is_chunked = body.size_hint().exact().is_none();
        let is_framed_otherwise = headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRAILER);
        if is_chunked && (!self.knows_chunks || is_framed_otherwise) {
            return false;
        }
        self.lending().lend(std::mem::take(body), is_chunked, self.persists && !close);
        true
    }

    /// hyper has had all of the body that was lent, or wants no more of it.
    pub(super) fn lent_all(self) {
        let connection = self.connection.clone();
        connection.lending.ended(self);
    }

    /// And whether the connection may carry another request after this one.
    fn begin(connection: &Arc<Connection>, request: &http::Request<Incoming>) -> (Self, bool) {
        let has_body = !request.body().is_end_stream();
        let number = connection.watched.request_begins(has_body);
        // RFC 9112 §9.3; a list with more in it may be of one that does not.
        let keep_alive = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"keep-alive");
        let knows_chunks = request.version() == Version::HTTP_11;
        let persists = knows_chunks && request.headers().get(CONNECTION).is_none_or(keep_alive);
        let goes_on = number < connection.context.border.server.max_requests_per_connection;
        let is_head = request.method() == Method::HEAD;
        let connection = connection.clone();
        (Self { connection, number, has_body, persists, knows_chunks, is_head }, goes_on)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.connection.watched.request_ends();
    }
}

/// Answers one request; a panic on the way is a 500.
pub(super) fn answer(
    request: http::Request<Incoming>,
    connection: &Arc<Connection>,
) -> impl Future<Output = Result<http::Response<Outgoing>, Infallible>> + use<> {
    let (in_flight, goes_on) = InFlight::begin(connection, &request);
    // Not in the future, which would have room for hyper's request until the end.
    let admit = || ingress::admit(request, &connection.context.border, &connection.peer, clock::now());
    let admitted = std::panic::catch_unwind(AssertUnwindSafe(admit));
    Caught { answer: admitted.ok().map(|admitted| respond_to(admitted, in_flight, goes_on)) }
}

async fn respond_to(
    admitted: Result<Request, Box<Refused>>,
    in_flight: InFlight,
    goes_on: bool,
) -> http::Response<Outgoing> {
    let connection = &*in_flight.connection;
    let context = &*connection.context;
    if !goes_on && connection.spoken == Spoken::Http2 {
        connection.watched.give(Order::Drain);
    }
    let mut is_secure = connection.peer.scheme == Scheme::Https;
    let (mut response, close) = match admitted {
        Ok(request) if request.target.path_and_query.as_str() == "*" => {
            (context.gateway.server_wide(request).await, false)
        }
        Ok(request) if context.redirect_to_https && request.target.scheme == Scheme::Http => {
            (context.gateway.to_https(request).await, false)
        }
        Ok(mut request) => {
            is_secure = request.target.scheme == Scheme::Https;
            let downstream = request.upgrade.clone();
            request.interim = connection.interim(request.version);
            let mut response = context.gateway.call(request).await;
            connection.interim_ends().await;
            if let (Some(upstream), Some(downstream)) = (response.upgrade.take(), downstream) {
                connection.watched.hand_over();
                let idle_timeout = context.border.server.tunnel_timeout;
                context.tunnels.open(*downstream, *upstream, idle_timeout, connection.slot.clone());
                // Fields of the connection, and this is another one (RFC 9110 §7.8).
                response.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
                response.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            }
            (response, false)
        }
        Err(refused) => (context.gateway.refused(&refused), connection.spoken == Spoken::Http1),
    };
    if in_flight.has_body && connection.spoken == Spoken::Http1 {
        // hyper finds out whether anybody reads the body. Where nobody does, and it is not all there, it ends
        // the connection, and says so if it knows before it writes the head.
        tokio::task::yield_now().await;
    }
    if let (Some(hsts), true) = (&context.hsts, is_secure) {
        // RFC 6797 §7.2: never by `http`. What the origin says of itself stands.
        response.headers.entry(STRICT_TRANSPORT_SECURITY).or_insert_with(|| hsts.clone());
    }
    // RFC 9112 §9.6: who closes the connection after this response says so in it.
    let is_last = !goes_on
        || connection.watched.order() >= Order::Drain
        || connection.watched.awaits_body(in_flight.number);
    let close = close || is_last && connection.spoken == Spoken::Http1;
    Outgoing::of(response, connection.spoken, close, Some(in_flight))
}

pin_project! {
    /// Turns a panic while answering into a 500: the connection's other requests go on.
    struct Caught<F> {
        // `None` after a panic.
        #[pin]
        answer: Option<F>,
    }
}

impl<F: Future<Output = http::Response<Outgoing>>> Future for Caught<F> {
    type Output = Result<http::Response<Outgoing>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let answer = self.project().answer.as_pin_mut();
        let polled = answer.map(|answer| std::panic::catch_unwind(AssertUnwindSafe(|| answer.poll(cx))));
        match polled {
            Some(Ok(polled)) => polled.map(Ok),
            Some(Err(_)) | None => {
                let error = Error::Internal(InternalError::Panicked);
                let response = respond::response(&error, &RequestId::Random(fastrand::u128(..)));
                Poll::Ready(Ok(Outgoing::of(response, Spoken::Http1, true, None)))
            }
        }
    }
}
