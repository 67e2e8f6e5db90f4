//! The limits of a route as a layer.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use smallvec::SmallVec;
use tower_service::Service;

use crate::error::{Error, Refusal};
use crate::http::{Request, Response};
use crate::layers::{Boxed, Inner, always_ready, inner};
use crate::metrics::{Counter, Metrics};

use super::config::Scope;
use super::delay::{Turn, Verdict};
use super::fields::{Fields, Template};
use super::limiter::{Limiter, Standing};

/// Lets a request inward only if every limit lets it.
///
/// Limits are asked in their order and each counts its own verdict. When one refuses, those after it are not
/// asked; what those before it let through stays counted there (a client that hammers a narrow limit uses up
/// the wide one too), but a turn reserved in a delay queue is given back.
///
/// A success carries the `RateLimit` fields, besides any that the origin sent, where the layer stands outside
/// the cache ([`Scope::All`]). Inside it ([`Scope::Origin`]) it does not: they would be stored, and served to
/// others. A 429 carries them always.
#[derive(Debug)]
pub struct RateLimit<S> {
    limits: Box<[Limit]>,
    template: Template,
    advertise: bool,
    inner: S,
}

#[derive(Debug)]
struct Limit {
    limiter: Arc<Limiter>,
    results: Results,
}

/// `forebay_rate_limit_total` by result.
#[derive(Debug)]
struct Results {
    allowed: Counter,
    delayed: Counter,
    limited: Counter,
    queue_full: Counter,
}

impl Results {
    fn new(metrics: &Metrics, route: &str, limit: &str) -> Self {
        let counter = |result| {
            metrics.counter(
                "forebay_rate_limit_total",
                "Requests by the verdict of a rate limit.",
                &[("route", route), ("limit", limit), ("result", result)],
            )
        };
        Self {
            allowed: counter("allowed"),
            delayed: counter("delayed"),
            limited: counter("limited"),
            queue_full: counter("queue_full"),
        }
    }

    fn count(&self, verdict: &Verdict<'_>) {
        match verdict {
            Verdict::Allowed(_) => self.allowed.increment(),
            Verdict::Delayed(_) => self.delayed.increment(),
            Verdict::Limited { .. } => self.limited.increment(),
            Verdict::QueueFull { .. } => self.queue_full.increment(),
        }
    }
}

/// What all limits together said to a request.
struct Passage<'a> {
    fields: Option<Fields<'a>>,
    turns: SmallVec<[Turn<'a>; 0]>,
}

impl<S> RateLimit<S> {
    /// The layer of `limits`, all of one scope, around `inner`. Without limits it does nothing.
    pub fn new(limits: Vec<Arc<Limiter>>, metrics: &Metrics, route: &str, inner: S) -> Self {
        let template = Template::new(limits.iter().map(|limiter| limiter.plan()));
        let advertise = !limits.is_empty() && limits.iter().all(|limiter| limiter.plan().scope == Scope::All);
        let limit = |limiter: Arc<Limiter>| {
            let results = Results::new(metrics, route, &limiter.plan().name);
            Limit { limiter, results }
        };
        Self { limits: limits.into_iter().map(limit).collect(), template, advertise, inner }
    }

    /// Asks all limits.
    fn judge(&self, request: &Request) -> Result<Passage<'_>, Refusal> {
        let now = request.received.instant;
        let mut writer = self.template.writer();
        let mut turns = SmallVec::new();
        for limit in &self.limits {
            let verdict = limit.limiter.decide(&limit.limiter.key(request), now, request.until());
            limit.results.count(&verdict);
            match verdict {
                Verdict::Allowed(standing) => writer.push(&standing),
                Verdict::Delayed(turn) => {
                    writer.push(turn.standing());
                    turns.push(turn);
                }
                Verdict::Limited { retry_after } => {
                    writer.push(&Standing::exhausted(retry_after));
                    let fields = Box::new(writer.finish().into_pairs());
                    return Err(Refusal::RateLimited { retry_after, fields });
                }
                Verdict::QueueFull { retry_after } => return Err(Refusal::RateQueueFull { retry_after }),
            }
        }
        Ok(Passage { fields: self.advertise.then(|| writer.finish()), turns })
    }
}

impl<S: Inner> RateLimit<S> {
    /// Waits until all turns are due. Dropped before, it gives them back.
    async fn delay<'a>(&'a self, request: Request, passage: Passage<'a>) -> Result<Response, Error> {
        let received = request.received.instant;
        let due = passage.turns.iter().map(Turn::due).max().unwrap_or(received);
        // Before the wait: the log line of a client that leaves meanwhile should tell why it did.
        request.trail.note(|notes| notes.delayed = due.saturating_duration_since(received));
        tokio::time::sleep_until(due).await;
        passage.turns.into_iter().for_each(Turn::pass);
        Answer::passed(self.inner.send(request), passage.fields).await
    }
}

inner!(impl<S: Inner> for RateLimit<S>);

impl<'a, S: Inner> Service<Request> for &'a RateLimit<S> {
    type Response = Response;
    type Error = Error;
    type Future = Answer<'a, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a RateLimit<S> = self;
        match layer.judge(&request) {
            Ok(Passage { fields, turns }) if turns.is_empty() => {
                Answer::passed(layer.inner.send(request), fields)
            }
            Ok(passage) => Answer::delayed(Box::pin(layer.delay(request, passage))),
            Err(refusal) => Answer::refused(refusal),
        }
    }
}

pin_project! {
    /// The answer of [`RateLimit`].
    pub struct Answer<'a, F> {
        #[pin]
        state: State<'a, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<'a, F> {
        Refused { #[pin] result: Ready<Result<Response, Error>> },
        Passed { #[pin] future: F, fields: Option<Fields<'a>> },
        Delayed { future: Boxed<'a> },
    }
}

impl<'a, F> Answer<'a, F> {
    fn refused(refusal: Refusal) -> Self {
        Self { state: State::Refused { result: ready(Err(refusal.into())) } }
    }

    const fn passed(future: F, fields: Option<Fields<'a>>) -> Self {
        Self { state: State::Passed { future, fields } }
    }

    const fn delayed(future: Boxed<'a>) -> Self {
        Self { state: State::Delayed { future } }
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Answer<'_, F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (future, fields) = match self.project().state.project() {
            StateProj::Refused { result } => return result.poll(cx),
            StateProj::Delayed { future } => return future.as_mut().poll(cx),
            StateProj::Passed { future, fields } => (future, fields),
        };
        let mut response = ready!(future.poll(cx))?;
        if let Some(fields) = fields.take() {
            // Appended: an origin may have limits of its own to tell of, and both fields are lists.
            for (name, value) in fields.into_pairs() {
                response.headers.append(name, value);
            }
        }
        Poll::Ready(Ok(response))
    }
}
