//! Deadline: a request has its route's `timeout`, from the arrival of its head to the last byte of its
//! response; queueing, retries and the body are part of it.
//!
//! Past it, what is still going on is dropped and the answer is 504; where the response has begun, its body
//! fails, so that the client sees a transfer that broke off and not one that ended.
//!
//! The inner service is polled before any timer exists: an answer that is ready at once, a cache hit, never
//! touches the timer wheel. Nor does a body that is in memory. **Exempt** once their head is there: tunnels
//! (101), `text/event-stream` and gRPC, which may rightly go on for hours; idle timeouts bound them.
//!
//! Inner services find the deadline in [`RequestParts::deadline`](crate::http::RequestParts::deadline), so
//! that none starts what it cannot finish.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_TYPE;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use crate::clock::Instant;
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::{Request, Response};
use crate::report::{Path, Report};
use crate::units::Time;

use super::{Inner, inner};

#[cfg(test)]
mod tests;

/// Checks a route's `timeout`.
pub fn plan(timeout: Time, at: &Path, report: &mut Report) -> Duration {
    if timeout.get().is_zero() {
        report.error_with_hint(
            at,
            "a request needs some time",
            "to wait for as long as it takes, write a long time like \"1d\"",
        );
        return Duration::from_secs(300);
    }
    timeout.get()
}

/// Bounds the time of a request.
#[derive(Debug)]
pub struct Deadline<S> {
    timeout: Duration,
    inner: S,
}

impl<S> Deadline<S> {
    /// Around `inner`, which has `timeout` for a request.
    pub const fn new(timeout: Duration, inner: S) -> Self {
        Self { timeout, inner }
    }
}

inner!(impl<S: Inner> for Deadline<S>);

impl<'a, S: Inner> Service<Request> for &'a Deadline<S> {
    type Response = Response;
    type Error = Error;
    type Future = Bounded<S::Future<'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let own = request.received.instant + self.timeout;
        let deadline = request.deadline.map_or(own, |earlier| earlier.min(own));
        request.deadline = Some(deadline);
        Bounded { inner: Some(self.inner.send(request)), timer: None, deadline }
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
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Bounded<F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(inner) = this.inner.as_mut().as_pin_mut()
            && let Poll::Ready(result) = inner.poll(cx)
        {
            return Poll::Ready(result.map(|response| bound(response, *this.deadline)));
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

/// Bounds the body of a response, where it has one that takes time.
fn bound(mut response: Response, deadline: Instant) -> Response {
    if !response.body.is_in_memory() && !is_exempt(&response) {
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
