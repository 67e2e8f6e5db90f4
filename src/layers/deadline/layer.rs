//! The tower glue, outermost and innermost: [`Deadline`] sets and enforces it, [`Tell`] passes it on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use crate::clock::{self, Instant};
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::{Request, Response};
use crate::layers::{Inner, always_ready, inner};

use super::plan::DeadlinePlan;
use super::signals::Signals;

/// Bounds the time of a request.
#[derive(Debug)]
pub struct Deadline<S> {
    timeout: Duration,
    signals: Option<Arc<Signals>>,
    pub(super) inner: S,
}

impl<S> Deadline<S> {
    /// Around `inner`, which has the plan's time for a request.
    pub fn new(plan: &DeadlinePlan, inner: S) -> Self {
        Self { timeout: plan.timeout, signals: plan.signals.clone(), inner }
    }

    /// When the client gives up, where it says so and that is before the timeout.
    fn wish(&self, request: &Request) -> Option<Instant> {
        let asked = self.signals.as_ref()?.asked(&request.headers)?;
        (asked < self.timeout).then(|| request.received.instant + asked)
    }
}

inner!(impl<S: Inner> for Deadline<S>);

impl<'a, S: Inner> Service<Request> for &'a Deadline<S> {
    type Response = Response;
    type Error = Error;
    type Future = Bounded<S::Future<'a>>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        let own = request.received.instant + self.timeout;
        let deadline = request.deadline.map_or(own, |earlier| earlier.min(own));
        request.deadline = Some(deadline);
        let wish = self.wish(&request).filter(|wish| *wish < deadline);
        request.gives_up = wish;
        let deadline = wish.unwrap_or(deadline);
        Bounded { inner: Some(self.inner.send(request)), timer: None, deadline, wished: wish.is_some() }
    }
}

pin_project! {
    /// An answer that comes in time, or 504.
    pub struct Bounded<F> {
        #[pin]
        inner: Option<F>,
        #[pin]
        timer: Option<Sleep>,
        deadline: Instant,
        // Whether the client asked for it.
        wished: bool,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Bounded<F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut()
            && let Poll::Ready(result) = inner.poll(cx)
        {
            return Poll::Ready(result.map(|response| bound(response, *this.deadline, *this.wished)));
        }
        if this.timer.is_none() {
            this.timer.set(Some(tokio::time::sleep_until(*this.deadline)));
        }
        if let Some(timer) = this.timer.as_mut().as_pin_mut() {
            ready!(timer.poll(cx));
        }
        // What is still going on ends here, not when somebody drops this future.
        this.inner.set(None);
        Poll::Ready(Err(UpstreamError::sent(UpstreamErrorKind::Deadline).into()))
    }
}

/// Bounds the body of a response, where it has one that takes time. A client that says how long it waits
/// means the streams too.
fn bound(mut response: Response, deadline: Instant, wished: bool) -> Response {
    if !response.body.is_in_memory() && (wished || !is_exempt(&response)) {
        response.body.cut_at(deadline);
    }
    response
}

/// Whether a response may go on for as long as something comes.
fn is_exempt(response: &Response) -> bool {
    let is = |kind: &[u8], start: &str| {
        kind.get(..start.len()).is_some_and(|kind| kind.eq_ignore_ascii_case(start.as_bytes()))
    };
    response.status == StatusCode::SWITCHING_PROTOCOLS
        || response.headers.get(CONTENT_TYPE).is_some_and(|kind| {
            let kind = kind.as_bytes();
            is(kind, "text/event-stream") || is(kind, "application/grpc")
        })
}

/// Tells the upstream how long the client will still wait; anew on each attempt, for time has passed.
#[derive(Debug)]
pub struct Tell<S> {
    signals: Option<Arc<Signals>>,
    inner: S,
}

impl<S> Tell<S> {
    /// Around `inner`, which sends one attempt.
    pub fn new(plan: &DeadlinePlan, inner: S) -> Self {
        let signals = plan.signals.clone().filter(|signals| signals.tells());
        Self { signals, inner }
    }
}

#[cfg(test)]
impl<S> Tell<S> {
    pub(super) const fn inner(&self) -> &S {
        &self.inner
    }
}

inner!(impl<S: Inner> for Tell<S>);

impl<'a, S: Inner> Service<Request> for &'a Tell<S> {
    type Response = Response;
    type Error = Error;
    type Future = S::Future<'a>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(signals) = &self.signals
            && let Some(until) = request.until()
        {
            let left = until.saturating_duration_since(clock::instant());
            signals.tell(&mut request.headers, left);
        }
        self.inner.send(request)
    }
}
