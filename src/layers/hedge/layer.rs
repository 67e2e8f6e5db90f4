//! The tower glue: a route without hedging polls its inner service in place.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep_until;
use tower_service::Service;

use crate::clock::{self, Instant};
use crate::error::Error;
use crate::http::{Interim, Request, Response, Trail};
use crate::layers::budget::Budget;
use crate::layers::{Boxed, Either, Inner, always_ready, inner};
use crate::metrics::{Counter, Metrics};

use super::tally::{Tally, Waited};

type Outcome = Result<Response, Error>;

/// What became of a hedge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedged {
    /// It answered first; the first attempt was cancelled.
    Won,
    /// The first attempt answered after all; the hedge was cancelled.
    Lost,
    /// It was not made: too many were, of this route.
    MaxExtra,
    /// It was not made: the upstream's budget for attempts on top was spent.
    Budget,
}

impl Hedged {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Won, Self::Lost, Self::MaxExtra, Self::Budget];

    /// The word for log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::MaxExtra => "max_extra",
            Self::Budget => "budget",
        }
    }
}

/// Sends late requests of `S` twice.
#[derive(Debug)]
pub struct Hedge<S> {
    hedging: Option<Hedging>,
    pub(super) inner: S,
}

#[derive(Debug)]
struct Hedging {
    tally: Arc<Tally>,
    budget: Budget,
    counters: [Counter; Hedged::ALL.len()],
}

impl<S> Hedge<S> {
    /// A layer of one route, with its share in its upstream's budget; without a tally it does nothing.
    pub fn new(tally: Option<Arc<Tally>>, budget: Budget, metrics: &Metrics, route: &str, inner: S) -> Self {
        let hedging = tally.map(|tally| Hedging {
            tally,
            budget,
            counters: Hedged::ALL.map(|hedged| {
                let labels = [("route", route), ("result", hedged.as_str())];
                metrics.counter("forebay_hedges_total", "Requests that were late, by what was done.", &labels)
            }),
        });
        Self { hedging, inner }
    }
}

inner!(impl<S: Inner> for Hedge<S>);

impl<'a, S: Inner> Service<Request> for &'a Hedge<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Boxed<'a>, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a Hedge<S> = self;
        match &layer.hedging {
            Some(hedging) if may_repeat(&request) => {
                Either::Left { future: Box::pin(layer.hedge(hedging, request)) }
            }
            _ => Either::Right { future: layer.inner.send(request) },
        }
    }
}

/// Whether a request may be sent twice at once, and has not been sent before.
fn may_repeat(request: &Request) -> bool {
    request.attempt.number == 0
        && request.method.is_idempotent()
        && request.upgrade.is_none()
        && request.body.is_empty()
}

impl<S: Inner> Hedge<S> {
    async fn hedge(&self, hedging: &Hedging, mut request: Request) -> Outcome {
        let begun = clock::now().instant;
        let Some(after) = hedging.tally.begins() else {
            let outcome = self.inner.send(request).await;
            hedging.answered(begun, &outcome);
            return outcome;
        };
        // It tells where the first attempt went, which the second one avoids.
        request.trail.keep();
        let (trail, copy) = (request.trail.clone(), request.again());
        let mut first = pin!(self.inner.send(request));
        let refused = tokio::select! {
            biased;
            outcome = &mut first => {
                hedging.answered(begun, &outcome);
                return outcome;
            }
            refused = hedging.grant(begun, after) => refused,
        };
        if let Some(refused) = refused {
            hedging.note(refused, &trail);
            let outcome = first.await;
            hedging.answered(begun, &outcome);
            return outcome;
        }
        let (copy, notes) = elsewhere(copy, &trail);
        let mut second = pin!(self.inner.send(copy));
        let (earlier, second_came) = tokio::select! {
            biased;
            outcome = &mut first => (outcome, false),
            outcome = &mut second => (outcome, true),
        };
        // An attempt that failed has not won: the other one still may.
        let (outcome, won) = match (is_answer(&earlier), second_came) {
            (true, won) => (earlier, won),
            (false, true) => (first.await, false),
            (false, false) => {
                let later = second.await;
                if is_answer(&later) { (later, true) } else { (earlier, false) }
            }
        };
        if won {
            adopt(&trail, &notes);
            // The first attempt would have taken longer, who knows how much.
            hedging.took(begun);
        } else {
            hedging.answered(begun, &outcome);
        }
        hedging.note(if won { Hedged::Won } else { Hedged::Lost }, &trail);
        outcome
    }
}

impl Hedging {
    /// Waits until a request is late, and says why it may not be hedged, if it may not.
    async fn grant(&self, begun: Instant, after: Duration) -> Option<Hedged> {
        sleep_until(begun + after).await;
        if !self.tally.try_take(Waited::Long) {
            sleep_until(begun + after * 2).await;
            if !self.tally.try_take(Waited::Longer) {
                return Some(Hedged::MaxExtra);
            }
        }
        // Asked last, so that the upstream's other routes lose nothing for a hedge that is not made.
        if self.budget.try_withdraw(clock::now().instant) {
            return None;
        }
        self.tally.give_back();
        Some(Hedged::Budget)
    }

    /// The first attempt is over.
    fn answered(&self, begun: Instant, outcome: &Outcome) {
        if is_answer(outcome) {
            self.took(begun);
        }
    }

    fn took(&self, begun: Instant) {
        let now = clock::now().instant;
        self.tally.took(now, now.saturating_duration_since(begun));
    }

    fn note(&self, hedged: Hedged, trail: &Trail) {
        if let Some(counter) = self.counters.get(hedged as usize) {
            counter.increment();
        }
        trail.note(|notes| notes.hedge = Some(hedged.as_str()));
    }
}

/// Whether an attempt was answered by an endpoint that is well.
fn is_answer(outcome: &Outcome) -> bool {
    outcome.as_ref().is_ok_and(|response| !response.status.is_server_error())
}

/// Sends the copy to another endpoint than the first attempt, with notes of its own; what the origin says
/// ahead of its answer comes from the first alone.
fn elsewhere(mut copy: Request, first: &Trail) -> (Request, Trail) {
    let notes = Trail::kept();
    (copy.trail, copy.interim) = (notes.clone(), Interim::none());
    copy.attempt.avoid.extend(first.read().endpoint);
    (copy, notes)
}

/// Takes over what is noted about the attempt that won.
fn adopt(trail: &Trail, won: &Trail) {
    let won = won.read();
    trail.note(|notes| {
        notes.endpoint = won.endpoint;
        notes.upstream_time = won.upstream_time;
        notes.upstream_status = won.upstream_status;
    });
}
