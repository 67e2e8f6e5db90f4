//! One request's record, from its head to its end: opened once, closed exactly once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{HOST, REFERER, USER_AGENT};
use http::{HeaderName, Method, StatusCode, Version};

use crate::clock::{self, Now};
use crate::http::trail::Notes;
use crate::http::{End, Held, Refused, Request, RequestBody, Response, Trail};
use crate::metrics::{Counter, Histogram, Level, Metrics};

use super::hidden::Hidden;
use super::record::{Answered, Asked, Line, Outcome};
use super::requests::{MethodIndex, Requests};
use super::writer::LogWriter;

/// The status of a request whose client left before the head of its answer.
const CLIENT_LEFT: u16 = 499;

/// What one route counts and logs.
#[derive(Debug)]
pub(super) struct Recorder {
    route: Box<str>,
    upstream: Option<Box<str>>,
    writer: Option<LogWriter>,
    /// What of targets is not written.
    pub(super) hidden: Hidden,
    requests: Requests,
    seconds: Histogram,
    request_bytes: Counter,
    response_bytes: Counter,
    in_flight: Level,
    failed: Counter,
    aborted: Counter,
}

impl Recorder {
    pub(super) fn new(
        route: &str,
        upstream: Option<&str>,
        writer: Option<LogWriter>,
        metrics: &Metrics,
    ) -> Self {
        let at = [("route", route)];
        let incomplete = |reason: Outcome| {
            metrics.counter(
                "forebay_responses_incomplete_total",
                "Responses that ended early: cut by a failure, or the client left.",
                &[("route", route), ("reason", reason.as_str())],
            )
        };
        Self {
            route: route.into(),
            upstream: upstream.map(Box::from),
            writer,
            hidden: Hidden::default(),
            requests: Requests::new(route, metrics),
            seconds: metrics.histogram(
                "forebay_request_seconds",
                "From the request's head to the end of its response.",
                &at,
            ),
            request_bytes: metrics.counter(
                "forebay_request_bytes_total",
                "Bytes of request bodies that were read.",
                &at,
            ),
            response_bytes: metrics.counter(
                "forebay_response_bytes_total",
                "Bytes of response bodies that were handed on.",
                &at,
            ),
            in_flight: metrics.level("forebay_requests_in_flight", "Requests that have not ended.", &at),
            failed: incomplete(Outcome::Failed("")),
            aborted: incomplete(Outcome::Aborted),
        }
    }

    /// Opens the record of a request that is about to go inward.
    pub(super) fn open(&self, request: &mut Request) -> State {
        self.in_flight.add(1);
        let line = self.writer.as_ref().map(|writer| {
            request.trail = Trail::kept();
            (self.asked(request, |asked| Line::begin(writer.format(), asked)), request.trail.clone())
        });
        State {
            received: request.received,
            method: (&request.method).into(),
            is_head: request.method == Method::HEAD,
            status: CLIENT_LEFT,
            ttfb: None,
            bytes: 0,
            bytes_received: BytesReceived::of(&mut request.body),
            line,
        }
    }

    /// Records a request that was refused at the border, in one go.
    pub(super) fn refused(&self, refused: &Refused, response: &Response) {
        let status = response.status.as_u16();
        let method = refused.head.as_ref().map_or(MethodIndex::OTHER, |head| (&head.method).into());
        // Without a head the connection has answered by itself, without content.
        let content = refused.head.as_ref().filter(|head| head.method != Method::HEAD);
        let bytes = content.and(response.body.as_full()).map_or(0, <[u8]>::len) as u64;
        let duration = clock::instant().saturating_duration_since(refused.received.instant);
        self.requests.count(method, status);
        self.seconds.observe(duration);
        self.response_bytes.add(bytes);
        if let Some(writer) = &self.writer {
            let answered = Answered {
                status,
                bytes,
                bytes_received: 0,
                duration,
                ttfb: None,
                outcome: Outcome::Complete,
                notes: &Notes { error: Some(refused.error.as_str()), ..Notes::default() },
            };
            let line = self.asked_in_vain(refused, |asked| Line::begin(writer.format(), asked));
            writer.append(|out| line.end(&answered, out));
        }
    }

    fn asked_in_vain(&self, refused: &Refused, begin: impl FnOnce(&Asked<'_>) -> Line) -> Line {
        let head = refused.head.as_ref();
        let field = |name: HeaderName| head?.headers.get(name).map(|value| value.as_bytes());
        let uri = head.map(|head| &head.uri);
        let authority = uri.and_then(|uri| uri.authority()).map(|authority| authority.as_str().as_bytes());
        let path = uri.and_then(|uri| uri.path_and_query()).map_or("-", |path| path.as_str());
        let referer = field(REFERER).map(|referer| self.hidden.of(referer));
        begin(&Asked {
            time: refused.received.wall,
            id: &refused.id,
            client: refused.client,
            method: head.map_or("-", |head| head.method.as_str()),
            scheme: refused.scheme,
            host: authority.or_else(|| field(HOST)).unwrap_or_default(),
            path: &self.hidden.of(path.as_bytes()),
            version: head.map_or(Version::HTTP_11, |head| head.version),
            route: &self.route,
            upstream: self.upstream.as_deref(),
            user_agent: field(USER_AGENT),
            referer: referer.as_deref(),
        })
    }

    fn asked(&self, request: &Request, begin: impl FnOnce(&Asked<'_>) -> Line) -> Line {
        let field = |name: HeaderName| request.headers.get(name).map(|value| value.as_bytes());
        let referer = field(REFERER).map(|referer| self.hidden.of(referer));
        begin(&Asked {
            time: request.received.wall,
            id: &request.id,
            client: request.client,
            method: request.method.as_str(),
            scheme: request.target.scheme,
            host: request.target.authority.as_bytes(),
            path: &self.hidden.of(request.target.path_and_query.as_str().as_bytes()),
            version: request.version,
            route: &self.route,
            upstream: self.upstream.as_deref(),
            user_agent: field(USER_AGENT),
            referer: referer.as_deref(),
        })
    }

    fn close(&self, state: &State, duration: Duration, outcome: Outcome) {
        let bytes_received = state.bytes_received.get();
        self.in_flight.add(-1);
        self.requests.count(state.method, state.status);
        self.seconds.observe(duration);
        if state.bytes > 0 {
            self.response_bytes.add(state.bytes);
        }
        if bytes_received > 0 {
            self.request_bytes.add(bytes_received);
        }
        match outcome {
            Outcome::Complete => {}
            Outcome::Failed(_) => self.failed.increment(),
            Outcome::Aborted => self.aborted.increment(),
        }
        if let (Some(writer), Some((line, trail))) = (&self.writer, &state.line) {
            let answered = Answered {
                status: state.status,
                bytes: state.bytes,
                bytes_received,
                duration,
                ttfb: state.ttfb,
                outcome,
                notes: &trail.read(),
            };
            writer.append(|out| line.end(&answered, out));
        }
    }
}

/// What is known of a request so far.
#[derive(Debug)]
pub(super) struct State {
    received: Now,
    method: MethodIndex,
    is_head: bool,
    status: u16,
    ttfb: Option<Duration>,
    bytes: u64,
    bytes_received: BytesReceived,
    line: Option<(Line, Trail)>,
}

impl State {
    fn since_received(&self) -> Duration {
        clock::instant().saturating_duration_since(self.received.instant)
    }
}

/// The bytes of a request body.
#[derive(Debug)]
enum BytesReceived {
    Known(u64),
    Counted(Arc<AtomicU64>),
}

impl BytesReceived {
    fn of(body: &mut RequestBody) -> Self {
        match body {
            RequestBody::Incoming(incoming) if !incoming.is_end_stream() => Self::Counted(incoming.meter()),
            RequestBody::Full(bytes) => Self::Known(bytes.len() as u64),
            RequestBody::Empty | RequestBody::Incoming(_) | RequestBody::Replay(_) => Self::Known(0),
        }
    }

    fn get(&self) -> u64 {
        match self {
            Self::Known(bytes) => *bytes,
            Self::Counted(bytes) => bytes.load(Ordering::Relaxed),
        }
    }
}

/// A record that is open. Its drop closes it: whoever waited for the answer has left.
///
/// It borrows the route's recorder while the head is awaited, so that a response in memory costs no shared
/// refcount; a body that streams takes one.
#[derive(Debug)]
pub(super) struct Pending<R: AsRef<Recorder>> {
    recorder: R,
    state: Option<State>,
}

impl<R: AsRef<Recorder>> Pending<R> {
    pub(super) const fn new(recorder: R, state: State) -> Self {
        Self { recorder, state: Some(state) }
    }

    /// The response is here, and whole: `bytes` long, as far as the request's method lets them be sent.
    pub(super) fn whole(&mut self, status: StatusCode, bytes: usize) {
        if let Some(mut state) = self.state.take() {
            let duration = state.since_received();
            state.status = status.as_u16();
            state.ttfb = Some(duration);
            state.bytes = if state.is_head { 0 } else { bytes as u64 };
            self.recorder.as_ref().close(&state, duration, Outcome::Complete);
        }
    }

    /// The head of the response is here, its body is to come.
    pub(super) fn streaming<T: AsRef<Recorder>>(&mut self, status: StatusCode, recorder: T) -> Pending<T> {
        let mut state = self.state.take();
        if let Some(state) = &mut state {
            state.status = status.as_u16();
            state.ttfb = Some(state.since_received());
        }
        Pending { recorder, state }
    }

    /// There will be no response.
    pub(super) fn failed(&mut self, word: &'static str) {
        if let Some(mut state) = self.state.take() {
            state.status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
            self.recorder.as_ref().close(&state, state.since_received(), Outcome::Failed(word));
        }
    }

    /// Whether the response must not have a body, whatever its head says (RFC 9110 §9.3.2).
    pub(super) fn is_head(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_head)
    }

    fn close(&mut self, outcome: Outcome) {
        if let Some(state) = self.state.take() {
            self.recorder.as_ref().close(&state, state.since_received(), outcome);
        }
    }
}

impl<R: AsRef<Recorder>> Drop for Pending<R> {
    fn drop(&mut self) {
        self.close(Outcome::Aborted);
    }
}

impl Held for Pending<Arc<Recorder>> {
    fn data(&mut self, bytes: usize) {
        if let Some(state) = &mut self.state {
            state.bytes += bytes as u64;
        }
    }

    fn ended(mut self: Box<Self>, end: End<'_>) {
        self.close(match end {
            End::Complete => Outcome::Complete,
            End::Failed(error) => Outcome::Failed(error.as_str()),
            End::Abandoned => Outcome::Aborted,
        });
    }
}
