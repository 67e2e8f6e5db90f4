//! The tower glue: a route without fallbacks polls its inner service in place.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use http::{HeaderValue, Method};
use tokio::time::sleep_until;
use tower_service::Service;

use crate::clock::{self, Instant};
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::drain::drain;
use crate::http::{Repeat, Request, Response, Trail, fields};
use crate::layers::{Boxed, Either, Inner, always_ready, inner};
use crate::memory::Memory;
use crate::metrics::{Counter, Metrics};

use super::cause::{Cause, On};
use super::plan::FixedAnswer;

type Outcome = Result<Response, Error>;

/// What was done about a failure that a rule lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fell {
    /// Another upstream was asked.
    Upstream,
    /// A fixed response was given.
    Respond,
    /// The other upstream was not asked: the request may have had an effect, and may not have another.
    NotIdempotent,
    /// The other upstream was not asked: what the client sent was read and is not kept.
    Body,
    /// The other upstream was not asked: the request has no time left.
    Deadline,
}

impl Fell {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 5] =
        [Self::Upstream, Self::Respond, Self::NotIdempotent, Self::Body, Self::Deadline];

    /// The word for log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Respond => "respond",
            Self::NotIdempotent => "not_idempotent",
            Self::Body => "body",
            Self::Deadline => "deadline",
        }
    }
}

/// One fallback, built.
#[derive(Debug)]
pub struct Rule<F> {
    /// Which failures it makes good.
    pub on: On,
    /// For timeouts: how long whoever is asked before may take.
    pub after: Option<Duration>,
    /// Who answers.
    pub to: To<F>,
}

/// Who answers instead.
#[derive(Debug)]
pub enum To<F> {
    /// Another upstream.
    Upstream(F),
    /// We do.
    Respond(FixedAnswer),
}

/// How much of a request body is kept for another upstream.
#[derive(Clone, Debug)]
pub struct Keep {
    /// Methods that may be sent twice, beside the idempotent ones: somebody further in may repeat them.
    pub methods: Vec<Method>,
    /// In bytes.
    pub max_body: usize,
    /// What it is kept in.
    pub memory: Memory,
}

/// Makes good what `S` fails at: by an `F`, or by a fixed response.
#[derive(Debug)]
pub struct Fallback<S, F> {
    rules: Option<Box<Rules<F>>>,
    pub(super) inner: S,
}

#[derive(Debug)]
struct Rules<F> {
    list: Vec<Rule<F>>,
    keep: Keep,
    counters: [[Counter; Fell::ALL.len()]; Cause::ALL.len()],
}

impl<S, F> Fallback<S, F> {
    /// A layer of one route; without rules it does nothing.
    pub fn new(list: Vec<Rule<F>>, keep: Keep, metrics: &Metrics, route: &str, inner: S) -> Self {
        let rules = (!list.is_empty()).then(|| {
            let counters = Cause::ALL.map(|cause| {
                Fell::ALL.map(|fell| {
                    let labels = [("route", route), ("reason", cause.as_str()), ("result", fell.as_str())];
                    let help = "Failures that a fallback is for, by what was done.";
                    metrics.counter("forebay_fallbacks_total", help, &labels)
                })
            });
            Box::new(Rules { list, keep, counters })
        });
        Self { rules, inner }
    }
}

#[cfg(test)]
impl<S, F> Fallback<S, F> {
    pub(super) fn rules_for_tests(&self) -> &[Rule<F>] {
        self.rules.as_ref().map_or(&[], |rules| &rules.list)
    }
}

inner!(impl<S: Inner, F: Inner> for Fallback<S, F>);

impl<'a, S: Inner, F: Inner> Service<Request> for &'a Fallback<S, F> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Boxed<'a>, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a Fallback<S, F> = self;
        match &layer.rules {
            Some(rules) => Either::Left { future: Box::pin(rules.answer(&layer.inner, request)) },
            None => Either::Right { future: layer.inner.send(request) },
        }
    }
}

impl<F: Inner> Rules<F> {
    async fn answer<S: Inner>(&self, inner: &S, mut request: Request) -> Outcome {
        let (trail, until) = (request.trail.clone(), request.until());
        let may_repeat = request.method.is_idempotent() && request.upgrade.is_none();
        let mut repeat = self.repeat(&mut request);
        let patience = self.patience(0, request.received.instant, until, may_repeat);
        let mut outcome = within(patience, inner, request).await;
        for (index, rule) in self.list.iter().enumerate() {
            let Some(cause) = rule.on.cause(&outcome) else { continue };
            let upstream = match &rule.to {
                To::Respond(answer) => {
                    self.note(cause, Fell::Respond, &trail);
                    return Ok(marked(answer.response(), Fell::Respond));
                }
                To::Upstream(upstream) => upstream,
            };
            let now = clock::now().instant;
            let next = match &mut repeat {
                _ if until.is_some_and(|until| until <= now) => Err(Fell::Deadline),
                Some(repeat) => again(repeat, &outcome, may_repeat),
                None => Err(Fell::Body),
            };
            let request = match next {
                Ok(request) => request,
                Err(why) => {
                    self.note(cause, why, &trail);
                    continue;
                }
            };
            self.note(cause, Fell::Upstream, &trail);
            finish(outcome);
            let patience = self.patience(index + 1, now, until, may_repeat);
            outcome = within(patience, upstream, request).await.map(|answer| marked(answer, Fell::Upstream));
        }
        outcome
    }

    /// What another upstream would need; a tunnel has no second attempt, for the client's side of it is
    /// handed over with the first.
    fn repeat(&self, request: &mut Request) -> Option<Repeat> {
        let copied = self.list.iter().any(|rule| matches!(rule.to, To::Upstream(_)));
        if !copied || request.upgrade.is_some() {
            return None;
        }
        // What may not be sent twice is sent elsewhere only where none of it was read.
        let kept = request.method.is_idempotent() || self.keep.methods.contains(&request.method);
        let max_body = if kept { self.keep.max_body } else { 0 };
        Some(Repeat::of(request, max_body, &self.keep.memory))
    }

    /// Until when whoever is asked before the rules from `first` on may take, where one of them is for
    /// timeouts and could act on this request.
    fn patience(
        &self,
        first: usize,
        start: Instant,
        until: Option<Instant>,
        may_repeat: bool,
    ) -> Option<Instant> {
        let rules = self.list.get(first..).unwrap_or_default().iter();
        let timed = rules
            .filter(|rule| rule.on.contains(Cause::Timeout))
            .filter(|rule| may_repeat || matches!(rule.to, To::Respond(_)));
        let turn = |rule: &Rule<F>| match (rule.after, until) {
            (Some(after), _) => Some(start + after),
            (None, Some(until)) => Some(start + until.saturating_duration_since(start) * 4 / 5),
            (None, None) => None,
        };
        timed.filter_map(turn).min()
    }

    fn note(&self, cause: Cause, fell: Fell, trail: &Trail) {
        let counters = self.counters.get(cause as usize);
        if let Some(counter) = counters.and_then(|counters| counters.get(fell as usize)) {
            counter.increment();
        }
        trail.note(|notes| notes.fallback = Some((fell.as_str(), cause.as_str())));
    }
}

/// The request once more, for another upstream.
fn again(repeat: &mut Repeat, failed: &Outcome, may_repeat: bool) -> Result<Request, Fell> {
    repeat.sent |= match failed {
        Ok(_) => true,
        Err(Error::Upstream(error)) => error.sent,
        // Refused before it was sent.
        Err(_) => false,
    };
    if repeat.sent && !may_repeat {
        return Err(Fell::NotIdempotent);
    }
    // From here on the failed attempt reads no more of the body, whoever may still poll it.
    let body = repeat.body_again().ok_or(Fell::Body)?;
    Ok(repeat.request(body))
}

/// Sends a request and gives it up at `patience`, of which those inward know too.
async fn within<S: Inner>(patience: Option<Instant>, inner: &S, mut request: Request) -> Outcome {
    let Some(patience) = patience else { return inner.send(request).await };
    // Where the client hurries, the upstream has not failed.
    let deadline = if request.gives_up.is_some() { &mut request.gives_up } else { &mut request.deadline };
    *deadline = Some(deadline.map_or(patience, |deadline| deadline.min(patience)));
    tokio::select! {
        biased;
        outcome = inner.send(request) => outcome,
        () = sleep_until(patience) => Err(UpstreamError::sent(UpstreamErrorKind::HeadTimeout).into()),
    }
}

/// Says that this is not the answer that was asked for: of another upstream's in `Cache-Status`, of our own
/// in `Proxy-Status` (RFC 9209). No cache has a part in what we make ourselves (RFC 9211 §2).
fn marked(mut response: Response, fell: Fell) -> Response {
    let (name, text) = match fell {
        Fell::Upstream => {
            let status = response.status.as_u16();
            let text = format!("forebay; fwd=bypass; fwd-status={status}; detail=fallback-upstream");
            (&fields::CACHE_STATUS, text)
        }
        fell => (&fields::PROXY_STATUS, format!("forebay; details=\"fallback_{}\"", fell.as_str())),
    };
    if let Ok(value) = HeaderValue::try_from(text) {
        response.headers.append(name, value);
    }
    response
}

/// Reads what is there of a small failed response, and lets it go.
fn finish(failed: Outcome) {
    let Ok(body) = failed.map(Response::into_body) else { return };
    // What is not there yet is not waited for.
    let _ = pin!(drain(body)).poll(&mut Context::from_waker(Waker::noop()));
}
