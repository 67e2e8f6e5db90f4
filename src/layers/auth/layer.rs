//! The tower glue: what can be decided at once is, without a boxed future.

use std::future::Ready;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower_service::Service;

use crate::error::{Denial, Error};
use crate::http::{Request, Response};
use crate::layers::{Either, Inner, inner};
use crate::metrics::{Counter, Metrics};

use super::guard::{Guard, Verdict};

/// Lets in who may use the route.
#[derive(Debug)]
pub struct Auth<S> {
    guard: Option<Guarding>,
    inner: S,
}

/// A guard and its counts.
#[derive(Debug)]
struct Guarding {
    guard: Arc<Guard>,
    admitted: Counter,
    denied: [Counter; Denial::ALL.len()],
}

impl<S> Auth<S> {
    /// Before `inner`; without a guard it does nothing.
    pub fn new(guard: Option<Arc<Guard>>, metrics: &Metrics, route: &str, inner: S) -> Self {
        let guard = guard.map(|guard| {
            let counter = |result| {
                let labels = [("route", route), ("result", result)];
                metrics.counter("forebay_auth_total", "Requests that were let in or not, by why.", &labels)
            };
            let denied = Denial::ALL.map(|why| counter(why.as_str()));
            Guarding { guard, admitted: counter("ok"), denied }
        });
        Self { guard, inner }
    }
}

inner!(impl<S: Inner> for Auth<S>);

impl<'a, S: Inner> Service<Request> for &'a Auth<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Ready<Result<Response, Error>>, S::Future<'a>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let layer: &'a Auth<S> = self;
        if let Some(guarding) = &layer.guard
            && let Err(error) = guarding.check(&mut request)
        {
            return Either::now(Err(error));
        }
        Either::later(layer.inner.send(request))
    }
}

impl Guarding {
    fn check(&self, request: &mut Request) -> Result<(), Error> {
        let admitted = match self.guard.look(request) {
            Verdict::Open => return Ok(()),
            Verdict::Known(identity) => self.guard.admit(identity, request),
            Verdict::Denied(why) => Err(why),
        };
        match admitted {
            Ok(()) => {
                self.admitted.increment();
                Ok(())
            }
            Err(why) => {
                if let Some(counter) = self.denied.get(why as usize) {
                    counter.increment();
                }
                Err(self.guard.refusal(why).into())
            }
        }
    }
}
