//! One attempt at one endpoint: send, wait for the head, and hand the connection on to whoever reads the
//! body.
//!
//! Within an attempt a request is sent again only where that is safe whatever the retry policy says: when the
//! connection turned out to be closed before a byte was written (hyper hands the request back), and once when
//! a connection that had been used before broke before a byte of the answer, for a request that may be sent
//! twice (RFC 9110 §9.2.2) and whose body is at hand. Both happen when an endpoint closes an idle connection
//! just then.

use std::pin::pin;
use std::sync::Arc;

use http::{HeaderMap, Response as HttpResponse, StatusCode};
use hyper::body::Incoming as HyperIncoming;
use tokio::time::sleep_until;

use crate::clock::{self, Instant};
use crate::error::{Error, UpstreamError, UpstreamErrorKind as Kind};
use crate::http::incoming::{Incoming, Side};
use crate::http::{Body, Request, Response, Trail};

use super::Upstream;
use super::answer;
use super::connection::{Exclusive, Sent};
use super::endpoint::{Endpoint, Line};
use super::failure::{Failure, classify_http1, classify_http2};
use super::fleet::Account;
use super::forward::{Aim, Load, prepare};
use super::grant::{Need, Stream};
use super::lease::{Carrier, Lease};
use super::upload::Upload;
use super::websocket::Challenge;

/// Connections that may turn out dead before a new one is made at once, and before none is any more.
const DEAD_IDLE: u32 = 3;
const DEAD_MAX: u32 = 5;

/// What stays the same while a request is sent, perhaps more than once.
pub(super) struct Attempt<'a> {
    pub(super) upstream: &'a Upstream,
    pub(super) endpoint: &'a Arc<Endpoint>,
    pub(super) started: Instant,
    pub(super) deadline: Option<Instant>,
    /// Whether a websocket was asked for.
    pub(super) upgrade: bool,
    /// What a 101 has to answer.
    pub(super) challenge: Option<Challenge>,
    pub(super) trail: Trail,
}

/// What became of one sending.
enum Outcome {
    Answered(HttpResponse<HyperIncoming>, Carrier),
    /// Nothing was written; the request is as it was.
    Unsent(Load, bool),
    /// The used connection broke before a byte of the answer; here is a copy of the request.
    Stale(Load),
    Failed(Error),
}

impl Attempt<'_> {
    /// Sends the request on `line`, or on another one if that is dead.
    pub(super) async fn run(
        &self,
        mut line: Line,
        request: Request,
        mut account: Account,
    ) -> Result<Response, Error> {
        let (aim, mut load, upload) =
            prepare(request, self.endpoint, &self.upstream.forwarding, self.started);
        let (mut dead, mut again) = (0, false);
        let error = loop {
            let outcome = match line {
                Line::Exclusive(connection) => {
                    self.exclusive(connection, load, &aim, upload.as_ref(), again).await
                }
                Line::Stream(stream) => self.stream(stream, load, &aim, upload.as_ref()).await,
            };
            let need = match outcome {
                Outcome::Answered(response, carrier) => {
                    return self.answered(response, carrier, upload, account);
                }
                Outcome::Failed(error) => break error,
                Outcome::Unsent(_, false) => break self.unsent(Kind::Reset),
                Outcome::Unsent(..) if dead == DEAD_MAX => break self.unsent(Kind::Reset),
                Outcome::Unsent(recovered, true) => {
                    load = recovered;
                    dead += 1;
                    if dead < DEAD_IDLE { self.need() } else { Need::Fresh }
                }
                Outcome::Stale(replica) => {
                    load = replica;
                    again = true;
                    Need::Fresh
                }
            };
            line = match self.endpoint.line(need, clock::instant(), self.deadline).await {
                Ok(line) => line,
                Err(kind) if again => break self.sent(kind),
                Err(kind) => break self.unsent(kind),
            };
        };
        account.failed(&error);
        Err(error)
    }

    /// What the first sending needs.
    pub(super) const fn need(&self) -> Need {
        if self.upgrade { Need::Http1 } else { Need::Any }
    }

    async fn exclusive(
        &self,
        mut connection: Exclusive,
        load: Load,
        aim: &Aim,
        upload: Option<&Upload>,
        again: bool,
    ) -> Outcome {
        let used = connection.is_used();
        let replica = if used && !again && !self.upgrade { load.replica() } else { None };
        let sending = connection.send(load.http1(aim));
        match self.head(sending, upload).await {
            Ok(Ok(response)) => {
                connection.wire().head_arrived();
                Outcome::Answered(response, Carrier::Exclusive(connection))
            }
            Ok(Err(mut error)) => {
                if let Some(message) = error.take_message() {
                    connection.finished();
                    return Outcome::Unsent(Load::recovered(message), used);
                }
                if let Some(Err(client)) = upload.and_then(Upload::outcome) {
                    return Outcome::Failed(client);
                }
                let wire = connection.wire();
                match (replica, wire.read(), classify_http1(&error.into_error(), wire.flood())) {
                    (Some(replica), false, Kind::Reset) => Outcome::Stale(replica),
                    (_, _, kind) if wire.written() => Outcome::Failed(self.sent(kind)),
                    (_, _, kind) => Outcome::Failed(self.unsent(kind)),
                }
            }
            Err(kind) if connection.wire().written() => Outcome::Failed(self.sent(kind)),
            Err(kind) => Outcome::Failed(self.unsent(kind)),
        }
    }

    async fn stream(&self, mut stream: Stream, load: Load, aim: &Aim, upload: Option<&Upload>) -> Outcome {
        let request = match load.http2(aim) {
            Ok(request) => request,
            Err(error) => return Outcome::Failed(error),
        };
        let sending = stream.connection.send(request);
        match self.head(sending, upload).await {
            Ok(Ok(response)) => {
                stream.connection.answered();
                Outcome::Answered(response, Carrier::Stream(stream))
            }
            Ok(Err(mut error)) => {
                if let Some(message) = error.take_message() {
                    return Outcome::Unsent(Load::recovered(message), true);
                }
                if let Some(Err(client)) = upload.and_then(Upload::outcome) {
                    return Outcome::Failed(client);
                }
                let Failure { kind, processed } =
                    classify_http2(&error.into_error(), stream.connection.flood());
                Outcome::Failed(if processed { self.sent(kind) } else { self.unsent(kind) })
            }
            Err(kind) => Outcome::Failed(self.sent(kind)),
        }
    }

    /// Waits for a response head: for `read_timeout` from when the endpoint began to keep us waiting, and not
    /// beyond the request's deadline.
    async fn head(&self, sending: impl Future<Output = Sent>, upload: Option<&Upload>) -> Result<Sent, Kind> {
        let patience = self.upstream.read_timeout;
        let begun = clock::instant();
        let until = |since: Instant| {
            let until = since + patience;
            self.deadline.map_or(until, |deadline| deadline.min(until))
        };
        let mut sending = pin!(sending);
        let mut timer = pin!(sleep_until(until(begun)));
        loop {
            tokio::select! {
                biased;
                sent = &mut sending => return Ok(sent),
                () = &mut timer => {}
            }
            let now = clock::instant();
            if self.deadline.is_some_and(|deadline| now >= deadline) {
                return Err(Kind::Deadline);
            }
            let since = upload.map_or(begun, |upload| upload.waiting_since(now).max(begun));
            if now.saturating_duration_since(since) >= patience {
                return Err(Kind::HeadTimeout);
            }
            timer.as_mut().reset(until(since));
        }
    }

    fn answered(
        &self,
        mut response: HttpResponse<HyperIncoming>,
        mut carrier: Carrier,
        upload: Option<Upload>,
        mut account: Account,
    ) -> Result<Response, Error> {
        let now = clock::instant();
        let status = response.status();
        let tunnel = (status == StatusCode::SWITCHING_PROTOCOLS).then(|| hyper::upgrade::on(&mut response));
        let (mut parts, body) = response.into_parts();
        let checked =
            if tunnel.is_some() { self.switched(&parts.headers) } else { answer::clean(&mut parts) };
        let reusable = match checked {
            Ok(reusable) => reusable,
            Err(kind) => {
                let error = self.sent(kind);
                account.failed(&error);
                return Err(error);
            }
        };
        let after = account.answered(now, status);
        self.trail.note(|notes| {
            notes.upstream_time = after;
            notes.upstream_status = Some(status.as_u16());
        });
        let incoming = Incoming::new(body, Side::Upstream, self.upstream.read_timeout, u64::MAX);
        let mut answer = Response::new(status, Body::empty());
        answer.headers = parts.headers;
        if let Some(tunnel) = tunnel {
            crate::http::fields::strip_hop_by_hop(&mut answer.headers);
            answer.upgrade = Some(Box::new(tunnel));
            // The tunnel's bytes go over the connection's socket, which hyper takes out of its driver.
            carrier.let_go();
            account.settle(now);
            return Ok(answer);
        }
        let ended = incoming.is_end_stream();
        let lease = Lease::new(carrier, reusable, upload, account);
        if ended {
            lease.complete(now);
        } else {
            answer.body = Body::incoming(incoming);
            answer.body.hold(lease);
        }
        Ok(answer)
    }

    /// Whether a 101 is an answer to what we asked for.
    fn switched(&self, headers: &HeaderMap) -> Result<bool, Kind> {
        match self.upgrade {
            false => Err(Kind::BadResponse),
            true if self.challenge.is_some_and(|challenge| challenge.is_met(headers)) => Ok(false),
            true => Err(Kind::BadUpgrade),
        }
    }

    fn sent(&self, kind: Kind) -> Error {
        Error::Upstream(UpstreamError::sent(kind).at(Arc::clone(&self.endpoint.name)))
    }

    pub(super) fn unsent(&self, kind: Kind) -> Error {
        Error::Upstream(UpstreamError::unsent(kind).at(Arc::clone(&self.endpoint.name)))
    }
}
