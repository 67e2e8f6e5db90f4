//! The tower glue: without a quota, requests just pass.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::sleep_until;
use tower_service::Service;

use crate::clock::{self, Instant};
use crate::error::{Error, Refusal};
use crate::http::{Request, Response, Trail};
use crate::layers::{Boxed, Either, Inner, always_ready, inner};

use super::pace::{Pace, Turn, Verdict};

/// Sends a request inward when its turn has come.
#[derive(Debug)]
pub struct Quota<S> {
    pace: Option<Arc<Pace>>,
    pub(super) inner: S,
}

impl<S> Quota<S> {
    /// At the pace of the upstream, if it has one, around `inner`.
    pub const fn new(pace: Option<Arc<Pace>>, inner: S) -> Self {
        Self { pace, inner }
    }
}

impl<S: Inner> Quota<S> {
    async fn wait(&self, pace: &Pace, mut request: Request) -> Result<Response, Error> {
        let asked_at = clock::now().instant;
        let turn = turn(pace, &request, asked_at).await?;
        let waited = clock::now().instant.saturating_duration_since(asked_at);
        let delayed = turn.due() > asked_at;
        pace.count(if delayed { Verdict::Delayed } else { Verdict::Passed });
        // It tells whether the request was sent.
        request.trail.keep();
        request.trail.note(|notes| {
            notes.turn_used = false;
            if delayed {
                notes.queue_wait += waited;
            }
        });
        let _taken = Taken { turn, trail: request.trail.clone() };
        self.inner.send(request).await
    }
}

/// The turn of a request that is on its way inward. What is refused there, or dropped while it still waits
/// for a permit, was not sent, and its turn is somebody else's.
struct Taken<'a> {
    turn: Turn<'a>,
    trail: Trail,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let turn = &mut self.turn;
        self.trail.note(|notes| {
            if notes.turn_used {
                turn.pass();
            }
        });
    }
}

/// Waits for a turn. Dropped before, it gives back what it has reserved.
async fn turn<'a>(pace: &'a Pace, request: &Request, asked_at: Instant) -> Result<Turn<'a>, Error> {
    let latest = asked_at + pace.plan().queue_timeout;
    let latest = request.until().map_or(latest, |until| until.min(latest));
    let refused = |verdict, retry_after: Duration| {
        pace.count(verdict);
        Error::from(Refusal::QuotaSpent { retry_after })
    };
    let reserve = |now: Instant| {
        let too_late = |due: Instant| refused(Verdict::TooLate, due.saturating_duration_since(now));
        pace.reserve(now, latest).map_err(too_late)
    };
    let mut turn = reserve(asked_at)?;
    if turn.due() <= asked_at {
        return Ok(turn);
    }
    let wait = turn.due() - asked_at;
    let _place = pace.enter().ok_or_else(|| refused(Verdict::QueueFull, wait))?;
    loop {
        sleep_until(turn.due()).await;
        let now = clock::now().instant;
        if turn.is_good(now) {
            return Ok(turn);
        }
        turn = reserve(now)?;
    }
}

inner!(impl<S: Inner> for Quota<S>);

impl<'a, S: Inner> Service<Request> for &'a Quota<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Boxed<'a>, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a Quota<S> = self;
        match &layer.pace {
            Some(pace) => Either::Left { future: Box::pin(layer.wait(pace, request)) },
            None => Either::Right { future: layer.inner.send(request) },
        }
    }
}

/// Charges sendings that did not wait for a turn, and hears what the origin says of its limit.
#[derive(Debug)]
pub struct Charge<S> {
    pace: Option<Arc<Pace>>,
    inner: S,
}

impl<S> Charge<S> {
    /// At the pace of the upstream, if it has one, around `inner`.
    pub const fn new(pace: Option<Arc<Pace>>, inner: S) -> Self {
        Self { pace, inner }
    }
}

inner!(impl<S: Inner> for Charge<S>);

impl<'a, S: Inner> Service<Request> for &'a Charge<S> {
    type Response = Response;
    type Error = Error;
    type Future = Charged<'a, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a Charge<S> = self;
        let pace = layer.pace.as_deref();
        // A retry, or a hedge: it avoids the endpoint that the first attempt is at.
        let extra = request.attempt.number > 0 || !request.attempt.avoid.is_empty();
        match pace {
            Some(pace) if extra => pace.charge(clock::now().instant),
            Some(_) => request.trail.note(|notes| notes.turn_used = true),
            None => {}
        }
        Charged { future: layer.inner.send(request), pace }
    }
}

pin_project! {
    /// The answer of [`Charge`].
    pub struct Charged<'a, F> {
        #[pin]
        future: F,
        pace: Option<&'a Pace>,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Charged<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        if let (Some(pace), Ok(response)) = (this.pace, &result) {
            pace.observe(response.status, &response.headers, clock::now());
        }
        Poll::Ready(result)
    }
}
