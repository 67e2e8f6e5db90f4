//! The tower glue: what can be decided at once is, without a boxed future.

use std::fmt;
use std::future::Ready;
use std::sync::Arc;

use tower_service::Service;

use crate::error::{Denial, Error};
use crate::http::{Request, Response};
use crate::layers::{Boxed, Either, Inner, always_ready, inner};
use crate::metrics::{Counter, Metrics};

use super::guard::{Guard, Others, Outcome, Question, Verdict};
use super::identity::Identity;

/// Lets in who may use the route.
#[derive(Debug)]
pub struct Auth<S> {
    guard: Option<Guarding>,
    inner: S,
}

/// A guard, whom it asks, and its counts.
struct Guarding {
    guard: Arc<Guard>,
    others: Others,
    admitted: Counter,
    /// Where the service that decides gave the answer.
    answered: Counter,
    denied: [Counter; Denial::ALL.len()],
}

impl<S> Auth<S> {
    /// Before `inner`; without a guard it does nothing.
    pub fn new(guard: Option<(Arc<Guard>, Others)>, metrics: &Metrics, route: &str, inner: S) -> Self {
        let guard = guard.map(|(guard, others)| {
            let counter = |result| {
                let labels = [("route", route), ("result", result)];
                metrics.counter("forebay_auth_total", "Requests that were let in or not, by why.", &labels)
            };
            let denied = Denial::ALL.map(|why| counter(why.as_str()));
            Guarding { guard, others, admitted: counter("ok"), answered: counter("answered"), denied }
        });
        Self { guard, inner }
    }
}

inner!(impl<S: Inner> for Auth<S>);

impl<'a, S: Inner> Service<Request> for &'a Auth<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Ready<Result<Response, Error>>, Either<S::Future<'a>, Boxed<'a>>>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        let layer: &'a Auth<S> = self;
        if let Some(guarding) = &layer.guard {
            let judged = match guarding.guard.look(&mut request, &guarding.others) {
                Verdict::Open => Ok(()),
                Verdict::Known(identity) => guarding.admit(identity, &mut request),
                Verdict::Denied(why) => Err(guarding.turn_away(why)),
                Verdict::Later(question) => {
                    let future = Box::pin(layer.find_out(guarding, question, request));
                    return Either::later(Either::Right { future });
                }
            };
            if let Err(error) = judged {
                return Either::now(Err(error));
            }
        }
        Either::later(Either::Left { future: layer.inner.send(request) })
    }
}

impl<S: Inner> Auth<S> {
    async fn find_out(
        &self,
        guarding: &Guarding,
        question: Question,
        mut request: Request,
    ) -> Result<Response, Error> {
        match guarding.guard.find_out(question, &request, &guarding.others).await {
            Ok(Outcome::Known(identity)) => {
                guarding.admit(identity, &mut request)?;
                self.inner.send(request).await
            }
            Ok(Outcome::Answer(response)) => {
                guarding.answered.increment();
                Ok(response)
            }
            Err(why) => Err(guarding.turn_away(why)),
        }
    }
}

impl Guarding {
    fn admit(&self, identity: Identity, request: &mut Request) -> Result<(), Error> {
        self.guard.admit(identity, request).map_err(|why| self.turn_away(why))?;
        self.admitted.increment();
        Ok(())
    }

    fn turn_away(&self, why: Denial) -> Error {
        if let Some(counter) = self.denied.get(why as usize) {
            counter.increment();
        }
        self.guard.refusal(why).into()
    }
}

impl fmt::Debug for Guarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guarding").field("guard", &self.guard).finish_non_exhaustive()
    }
}
