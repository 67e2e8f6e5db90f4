//! The tower glue: the first attempt is polled in place, only a retry allocates a future.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use crate::clock;
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::drain::drain;
use crate::http::pause::asked_for;
use crate::http::{Repeat, Request, RequestBody, Response};
use crate::layers::budget::Budget;
use crate::layers::{Boxed, Inner, always_ready, inner};
use crate::memory::Memory;
use crate::metrics::{Counter, Metrics};

use super::condition::{self, Cause, Decision, Facts, GiveUp};
use super::plan::RetryPlan;

type Outcome = Result<Response, Error>;

/// Makes failed attempts of `S` again.
#[derive(Debug)]
pub struct Retry<S> {
    plan: RetryPlan,
    budget: Budget,
    /// What request bodies are kept in.
    memory: Memory,
    retries: [Counter; Cause::ALL.len()],
    given_up: [Counter; GiveUp::ALL.len()],
    budget_exhausted: Counter,
    /// Whether there is another endpoint to go to, so that it must be known where an attempt failed.
    elsewhere: bool,
    inner: S,
}

impl<S> Retry<S> {
    /// A layer of one route; `budget` is its share in its upstream's. Request bodies are kept as far as
    /// `memory` has room.
    pub fn new(
        plan: RetryPlan,
        budget: Budget,
        memory: Memory,
        metrics: &Metrics,
        route: &str,
        inner: S,
    ) -> Self {
        let retries = Cause::ALL.map(|cause| {
            let labels = [("route", route), ("reason", cause.as_str())];
            metrics.counter("forebay_retries_total", "Attempts after the first, by what went wrong", &labels)
        });
        let given_up = GiveUp::ALL.map(|reason| {
            let labels = [("route", route), ("reason", reason.as_str())];
            let help = "Failures worth a retry that were not retried, by why not";
            metrics.counter("forebay_retries_given_up_total", help, &labels)
        });
        let budget_exhausted = metrics.counter(
            "forebay_retry_budget_exhausted_total",
            "Retries not made because the upstream's budget was spent",
            &[("route", route)],
        );
        Self { plan, budget, memory, retries, given_up, budget_exhausted, elsewhere: false, inner }
    }

    /// Says whether the upstream has several endpoints: then a retry avoids the one that failed.
    #[must_use]
    pub fn with_elsewhere(mut self, elsewhere: bool) -> Self {
        self.elsewhere = elsewhere;
        self
    }
}

#[cfg(test)]
impl<S> Retry<S> {
    /// What was counted: the words of retries and of giving up, each as often as it was counted.
    pub(super) fn counted(&self) -> Vec<&'static str> {
        let retries = Cause::ALL.into_iter().map(Cause::as_str).zip(&self.retries);
        let given_up = GiveUp::ALL.into_iter().map(GiveUp::as_str).zip(&self.given_up);
        retries
            .chain(given_up)
            .flat_map(|(word, counter)| std::iter::repeat_n(word, usize::try_from(counter.get()).unwrap()))
            .collect()
    }

    pub(super) const fn inner(&self) -> &S {
        &self.inner
    }
}

inner!(impl<S: Inner> for Retry<S>);

impl<'a, S: Inner> Service<Request> for &'a Retry<S> {
    type Response = Response;
    type Error = Error;
    type Future = Sending<'a, S>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Sending<'a, S> {
        let layer: &'a Retry<S> = self;
        request.trail.note(|notes| notes.attempts = 1);
        // A tunnel has no second attempt: the client's side of it is handed over with the first.
        if layer.plan.attempts == 1 || request.upgrade.is_some() {
            return Sending {
                layer,
                first: Some(layer.inner.send(request)),
                timer: None,
                repeat: None,
                rest: None,
            };
        }
        if layer.elsewhere {
            // An answer does not tell which endpoint gave it. Its trail does.
            request.trail.keep();
        }
        let timer = layer.attempt_timer(&mut request);
        // What may not be sent twice is not worth keeping: it is retried only where none of it was read.
        let keep = if layer.may_repeat(&request) { layer.plan.max_body } else { 0 };
        let repeat = Some(Repeat::of(&mut request, keep, &layer.memory));
        Sending { layer, first: Some(layer.inner.send(request)), timer, repeat, rest: None }
    }
}

pin_project! {
    /// The answer to a request that may be retried.
    pub struct Sending<'a, S: Inner> {
        layer: &'a Retry<S>,
        #[pin]
        first: Option<S::Future<'a>>,
        #[pin]
        timer: Option<Sleep>,
        repeat: Option<Repeat>,
        rest: Option<Boxed<'a>>,
    }
}

impl<S: Inner> Future for Sending<'_, S> {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut this = self.project();
        if let Some(first) = this.first.as_mut().as_pin_mut() {
            let outcome = match first.poll(cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => match this.timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                    Some(Poll::Ready(())) => Err(timed_out(this.repeat.as_ref())),
                    Some(Poll::Pending) | None => return Poll::Pending,
                },
            };
            // Whatever the attempt still holds is free before the next one begins.
            this.first.set(None);
            this.timer.set(None);
            let Some(mut repeat) = this.repeat.take() else {
                this.layer.earn(&outcome);
                return Poll::Ready(outcome);
            };
            match this.layer.judge(outcome, &mut repeat) {
                Verdict::Final(outcome) => return Poll::Ready(outcome),
                Verdict::Again(again) => *this.rest = Some(Box::pin(this.layer.rest(repeat, again))),
            }
        }
        match this.rest {
            Some(rest) => rest.as_mut().poll(cx),
            // Polled after its end, which no caller does.
            None => Poll::Pending,
        }
    }
}

/// What follows an attempt.
enum Verdict {
    /// The client gets this.
    Final(Outcome),
    /// Another attempt.
    Again(Again),
}

/// An attempt to be made.
struct Again {
    body: RequestBody,
    wait: Duration,
    /// What is made good.
    failed: Outcome,
}

impl<S: Inner> Retry<S> {
    /// Every attempt after the first.
    async fn rest(&self, mut repeat: Repeat, mut again: Again) -> Outcome {
        loop {
            pause(again.failed, again.wait).await;
            let mut request = repeat.request(again.body);
            request.trail.note(|notes| notes.attempts = repeat.head.attempt.number + 1);
            let outcome = match self.attempt_timer(&mut request) {
                None => self.inner.send(request).await,
                Some(timer) => tokio::select! {
                    biased;
                    outcome = self.inner.send(request) => outcome,
                    () = timer => Err(timed_out(Some(&repeat))),
                },
            };
            match self.judge(outcome, &mut repeat) {
                Verdict::Final(outcome) => return outcome,
                Verdict::Again(next) => again = next,
            }
        }
    }

    /// Decides what follows an attempt, and prepares the next one.
    fn judge(&self, outcome: Outcome, repeat: &mut Repeat) -> Verdict {
        let cause = match &outcome {
            Ok(response) => condition::cause_of_status(&self.plan.on, response.status),
            Err(error) => condition::cause_of_error(&self.plan.on, error),
        };
        if outcome.is_err()
            && let Some(failure) = repeat.client_failure()
        {
            return Verdict::Final(Err(failure));
        }
        let outcome = remembering(outcome, repeat);
        let Some(cause) = cause else {
            self.earn(&outcome);
            return Verdict::Final(outcome);
        };
        let mut decision = self.decide(cause, &outcome, repeat);
        if let Decision::Retry { wait, .. } = decision {
            // From here on the failed attempt reads no more of the body, whoever may still poll it.
            match repeat.body_again() {
                Some(body) => {
                    self.note(decision);
                    repeat.head.attempt.number += 1;
                    avoid(repeat, &outcome);
                    return Verdict::Again(Again { body, wait, failed: outcome });
                }
                None => decision = Decision::GiveUp(GiveUp::Body),
            }
        }
        self.note(decision);
        Verdict::Final(outcome)
    }

    fn decide(&self, cause: Cause, outcome: &Outcome, repeat: &Repeat) -> Decision {
        let now = clock::now();
        let made = repeat.head.attempt.number + 1;
        let retry_after = match outcome {
            Ok(response) if self.plan.respect_retry_after => asked_for(&response.headers, now.wall),
            _ => None,
        };
        let facts = Facts {
            attempts_left: self.plan.attempts.saturating_sub(made),
            repeatable: self.may_repeat(&repeat.head),
            sent: !matches!(outcome, Err(Error::Upstream(error)) if !error.sent),
            replayable: repeat.can_replay(),
            retry_after,
            longest: self.plan.backoff.max,
            backoff: self.plan.backoff.wait(made, fastrand::f64()),
            left: repeat.head.until().map(|deadline| deadline.saturating_duration_since(now.instant)),
        };
        condition::decide(cause, &facts, || self.budget.try_withdraw(now.instant))
    }

    /// A success pays for attempts on top. An origin that says it has too much to do is none.
    fn earn(&self, outcome: &Outcome) {
        let pays = |response: &Response| {
            !response.status.is_server_error() && response.status != StatusCode::TOO_MANY_REQUESTS
        };
        if outcome.as_ref().is_ok_and(pays) {
            self.budget.deposit(clock::instant());
        }
    }

    fn note(&self, decision: Decision) {
        tracing::debug!(decision = decision.as_str(), "an attempt failed");
        let counter = match decision {
            Decision::Retry { cause, .. } => self.retries.get(cause as usize),
            Decision::GiveUp(reason) => self.given_up.get(reason as usize),
        };
        if let Some(counter) = counter {
            counter.increment();
        }
        if decision == Decision::GiveUp(GiveUp::Budget) {
            self.budget_exhausted.increment();
        }
    }

    fn may_repeat(&self, request: &Request) -> bool {
        request.attempt.repeatable || self.plan.methods.contains(&request.method)
    }

    /// The end of an attempt, where that comes before the request's deadline.
    ///
    /// An attempt that is cut short cannot tell which endpoint it was at. Its trail can, so it is given one.
    fn attempt_timer(&self, request: &mut Request) -> Option<Sleep> {
        let timeout = self.plan.per_try_timeout?;
        let end = clock::instant() + timeout;
        if request.until().is_some_and(|deadline| deadline <= end) {
            return None;
        }
        request.trail.keep();
        Some(tokio::time::sleep_until(end))
    }
}

/// The error of an attempt that took longer than `per_try_timeout`. What of it was sent is not known.
fn timed_out(repeat: Option<&Repeat>) -> Error {
    let error = UpstreamError::sent(UpstreamErrorKind::HeadTimeout);
    let endpoint = repeat.and_then(|repeat| repeat.head.trail.read().endpoint);
    Error::Upstream(UpstreamError { endpoint, ..error })
}

/// Lets an error say that the request may have had an effect, be it in this attempt or in one before.
fn remembering(mut outcome: Outcome, repeat: &mut Repeat) -> Outcome {
    match &mut outcome {
        Err(Error::Upstream(error)) => {
            repeat.sent |= error.sent;
            error.sent = repeat.sent;
        }
        Ok(_) => repeat.sent = true,
        Err(_) => {}
    }
    outcome
}

/// Notes where the attempt failed, so that the next one goes elsewhere if it can.
fn avoid(repeat: &mut Repeat, outcome: &Outcome) {
    let endpoint = match outcome {
        Err(Error::Upstream(error)) => error.endpoint.clone(),
        Ok(_) => repeat.head.trail.read().endpoint,
        Err(_) => None,
    };
    if let Some(endpoint) = endpoint
        && !repeat.head.attempt.avoid.contains(&endpoint)
    {
        repeat.head.attempt.avoid.push(endpoint);
    }
}

/// Waits before the next attempt, and uses the time to read what is left of a small response.
async fn pause(failed: Outcome, wait: Duration) {
    let until = clock::instant() + wait;
    if let Ok(response) = failed {
        // Bounded by the pause: an origin that failed does not also get to hold up the next attempt.
        let _ = tokio::time::timeout_at(until, drain(response.into_body())).await;
    }
    tokio::time::sleep_until(until).await;
}
