//! The tower glue: requests that bear no key are polled in place.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use tower_service::Service;

use crate::clock::{self, Instant};
use crate::error::{ClientError, Error, InternalError, Refusal, UpstreamError, UpstreamErrorKind};
use crate::http::shared::{Limits, SharedWriter};
use crate::http::{Body, Request, RequestBody, Response, ResponseParts, Trail};
use crate::layers::{Boxed, Either, Inner, always_ready, inner};
use crate::memory::{Memory, Use};
use crate::metrics::{Counter, Metrics};

use super::answers::{Answer, Answers, Begun, Flight, Landing};
use super::key;

/// How far an answer too large to keep is read ahead of its client, in bytes.
const WINDOW: u64 = 256 * 1024;
/// When a client may come again that was refused because too much is under way.
const RETRY_AFTER: Duration = Duration::from_secs(1);

type Outcome = Result<Response, Error>;

/// What was done with a request that bears a key, or should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// It was carried out.
    First,
    /// It waited for the one under way.
    Waited,
    /// It was answered with what is kept.
    Replayed,
    /// It bears no key, and needs one.
    Missing,
    /// Its key is none.
    Bad,
    /// Its key stands for another request.
    Reused,
    /// It has happened, and its answer is not kept.
    Lost,
    /// Its content is too large.
    TooLarge,
    /// Too many are under way.
    Full,
}

impl Keyed {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 9] = [
        Self::First,
        Self::Waited,
        Self::Replayed,
        Self::Missing,
        Self::Bad,
        Self::Reused,
        Self::Lost,
        Self::TooLarge,
        Self::Full,
    ];

    /// The word for log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Waited => "waited",
            Self::Replayed => "replayed",
            Self::Missing => "missing",
            Self::Bad => "bad",
            Self::Reused => "reused",
            Self::Lost => "lost",
            Self::TooLarge => "too_large",
            Self::Full => "full",
        }
    }
}

/// Lets requests with a key take effect once.
#[derive(Debug)]
pub struct Idempotency<S> {
    keeping: Option<Keeping>,
    pub(super) inner: Arc<S>,
}

#[derive(Debug)]
struct Keeping {
    answers: Arc<Answers>,
    memory: Memory,
    counters: [Counter; Keyed::ALL.len()],
}

impl<S> Idempotency<S> {
    /// A layer of one route; without answers it does nothing. Content is kept as far as `memory` has room.
    pub fn new(
        answers: Option<Arc<Answers>>,
        memory: Memory,
        metrics: &Metrics,
        route: &str,
        inner: S,
    ) -> Self {
        let keeping = answers.map(|answers| {
            let counters = Keyed::ALL.map(|keyed| {
                let labels = [("route", route), ("result", keyed.as_str())];
                let help = "Requests with an idempotency key, or that need one, by what was done.";
                metrics.counter("forebay_idempotency_total", help, &labels)
            });
            Keeping { answers, memory, counters }
        });
        Self { keeping, inner: Arc::new(inner) }
    }
}

inner!(impl<S: Inner> for Idempotency<S>);

impl<'a, S: Inner> Service<Request> for &'a Idempotency<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Boxed<'a>, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a Idempotency<S> = self;
        match &layer.keeping {
            Some(keeping) if keeping.concerns(&request) => {
                Either::Left { future: Box::pin(keeping.answer(&layer.inner, request)) }
            }
            _ => Either::Right { future: layer.inner.send(request) },
        }
    }
}

impl Keeping {
    fn concerns(&self, request: &Request) -> bool {
        let plan = self.answers.plan();
        plan.methods.contains(&request.method)
            && (plan.required || request.headers.contains_key(&plan.header))
    }

    async fn answer<S: Inner>(&self, inner: &Arc<S>, mut request: Request) -> Outcome {
        let (plan, trail) = (self.answers.plan(), request.trail.clone());
        let key = match key::given(&request.headers, &plan.header) {
            Ok(Some(key)) => key,
            Ok(None) => return self.refuse(Keyed::Missing, &trail, ClientError::NoIdempotencyKey),
            Err(error) => return self.refuse(Keyed::Bad, &trail, error),
        };
        let mut room = self.memory.hold(Use::Replay);
        let content = match self.content(&mut request.body).await {
            Ok(content) if room.try_grow(content.len() as u64) => content,
            Ok(_) => {
                return self.refuse(Keyed::Full, &trail, Refusal::QueueFull { retry_after: RETRY_AFTER });
            }
            Err(Error::Client(ClientError::BodyTooLarge)) => {
                return self.refuse(Keyed::TooLarge, &trail, ClientError::BodyTooLarge);
            }
            Err(error) => return Err(error),
        };
        let print = key::fingerprint(&request, &content);
        let key = key::scoped(&key, &request.headers, &plan.scope);
        request.body = if content.is_empty() { RequestBody::Empty } else { RequestBody::Full(content) };
        match self.answers.begin(key, print, clock::now().instant) {
            Begun::Lead(flight) => {
                self.note(Keyed::First, &trail);
                // Its client may leave and ask again.
                request.gives_up = None;
                request.attempt.repeatable = plan.retry;
                let (tell, told) = oneshot::channel();
                let execution = Execution { flight, memory: self.memory.clone(), keep: plan.max_response };
                let inner = Arc::clone(inner);
                tokio::spawn(async move {
                    execution.run(&*inner, request, tell).await;
                    drop(room);
                });
                told.await.unwrap_or_else(|_| Err(InternalError::Panicked.into()))
            }
            Begun::Follow(mut landing) => {
                self.note(Keyed::Waited, &trail);
                let landed = landing.wait_for(Option::is_some).await.ok().and_then(|landed| landed.clone());
                match landed {
                    Some(Landing::Answer(answer)) => Ok(answer.response()),
                    Some(Landing::Lost) => Err(ClientError::IdempotencyAnswerLost.into()),
                    Some(Landing::Failed(error)) => Err(error),
                    None => Err(InternalError::Panicked.into()),
                }
            }
            Begun::Replay(answer) => {
                self.note(Keyed::Replayed, &trail);
                Ok(answer.response())
            }
            Begun::Lost => self.refuse(Keyed::Lost, &trail, ClientError::IdempotencyAnswerLost),
            Begun::Reused => self.refuse(Keyed::Reused, &trail, ClientError::IdempotencyKeyReused),
            Begun::Full => self.refuse(Keyed::Full, &trail, Refusal::QueueFull { retry_after: RETRY_AFTER }),
        }
    }

    /// Reads the request's content, of which no more than the plan allows is held.
    async fn content(&self, body: &mut RequestBody) -> Result<Bytes, Error> {
        let body = match std::mem::take(body) {
            RequestBody::Empty => return Ok(Bytes::new()),
            RequestBody::Full(content) => return Ok(content),
            body => body,
        };
        let most = self.answers.plan().max_request;
        if body.size_hint().lower() > most {
            return Err(ClientError::BodyTooLarge.into());
        }
        match Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX)).collect().await {
            Ok(content) => Ok(content.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(ClientError::BodyTooLarge.into()),
            Err(error) => Err(error.downcast().map_or(ClientError::BodyAborted.into(), |error| *error)),
        }
    }

    fn refuse(&self, keyed: Keyed, trail: &Trail, error: impl Into<Error>) -> Outcome {
        self.note(keyed, trail);
        Err(error.into())
    }

    fn note(&self, keyed: Keyed, trail: &Trail) {
        if let Some(counter) = self.counters.get(keyed as usize) {
            counter.increment();
        }
        trail.note(|notes| notes.idempotency = Some(keyed.as_str()));
    }
}

/// A request that is carried out to its end, whoever still waits for it.
struct Execution {
    flight: Flight,
    memory: Memory,
    /// The largest answer that is kept, in bytes.
    keep: u64,
}

impl Execution {
    async fn run<S: Inner>(self, inner: &S, request: Request, tell: oneshot::Sender<Outcome>) {
        let deadline = request.deadline;
        let response = match by(deadline, inner.send(request)).await.and_then(|outcome| outcome) {
            Ok(response) => response,
            Err(error) => {
                self.flight.land(Landing::Failed(error.clone()), false, clock::now().instant);
                let _ = tell.send(Err(error));
                return;
            }
        };
        let ResponseParts { status, headers, mut body, .. } = response.into_parts();
        let limits = Limits { keep: self.keep, window: WINDOW, patience: Duration::from_secs(30) };
        let room = self.memory.hold(Use::Filling);
        let mut writer = SharedWriter::new(limits, body.size_hint().exact(), room);
        let mut answer = Response::new(status, writer.body().reader().map_or_else(Body::empty, Body::shared));
        answer.headers.clone_from(&headers);
        let _ = tell.send(Ok(answer));
        let pumped = by(deadline, pump(&mut writer, &mut body)).await.and_then(|pumped| pumped);
        let now = clock::now().instant;
        match pumped {
            Ok(trailers) => {
                let whole = writer.chunks().map(|chunks| joined(&chunks));
                let answer = whole.and_then(|whole| Answer::new(status, headers, whole, &self.memory));
                let landing = answer.map_or(Landing::Lost, |answer| Landing::Answer(Arc::new(answer)));
                // First, so that whoever has read it all finds it kept.
                self.flight.land(landing, is_final(status), now);
                writer.finish(None, trailers);
            }
            Err(error) => {
                self.flight.land(Landing::Failed(error.clone()), false, now);
                writer.fail(error);
            }
        }
    }
}

/// Whether a later request with the key is to get the same: not what failed, nor what was put off.
fn is_final(status: StatusCode) -> bool {
    let put_off = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    !status.is_server_error() && !put_off.contains(&status)
}

async fn by<F: Future>(deadline: Option<Instant>, future: F) -> Result<F::Output, Error> {
    match deadline {
        None => Ok(future.await),
        Some(at) => {
            let late = |_| Error::from(UpstreamError::sent(UpstreamErrorKind::Deadline));
            timeout_at(at, future).await.map_err(late)
        }
    }
}

/// Moves a body into the writer to its clean end, and returns its trailers.
async fn pump(writer: &mut SharedWriter, body: &mut Body) -> Result<Option<HeaderMap>, Error> {
    let mut trailers = None;
    loop {
        writer.ready().await;
        match body.frame().await.transpose()?.map(http_body::Frame::into_data) {
            None => return Ok(trailers),
            Some(Ok(data)) => {
                writer.push(data);
            }
            Some(Err(frame)) => trailers = frame.into_trailers().ok(),
        }
    }
}

/// In one piece of its exact size: what was read may be a small part of a large buffer.
fn joined(chunks: &[Bytes]) -> Bytes {
    let mut whole = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    whole.freeze()
}
