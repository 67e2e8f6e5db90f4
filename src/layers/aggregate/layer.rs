//! The tower glue: all parts are polled in one future, whose drop ends them all.

use std::future::{Future, Ready, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, Method};
use tower_service::Service;

use crate::error::{Error, InternalError, Refusal};
use crate::http::{Request, Response, Trail};
use crate::layers::{Boxed, Either, Inner, always_ready, inner};
use crate::memory::Memory;
use crate::metrics::Metrics;

use super::merge::merge;
use super::part::{Part, Piece};
use super::plan::PartPlan;

/// Answers with several answers of `S`, merged.
#[derive(Debug)]
pub struct Aggregate<S> {
    parts: Vec<Part<S>>,
}

impl<S> Aggregate<S> {
    /// Of these parts, each with who is asked for it. Bodies are held as far as `memory` has room.
    pub fn new(
        parts: impl IntoIterator<Item = (PartPlan, S)>,
        memory: &Memory,
        metrics: &Metrics,
        route: &str,
    ) -> Self {
        let part = |(plan, inner)| Part::new(plan, inner, memory.clone(), metrics, route);
        Self { parts: parts.into_iter().map(part).collect() }
    }
}

inner!(impl<S: Inner> for Aggregate<S>);

impl<'a, S: Inner> Service<Request> for &'a Aggregate<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Ready<Result<Response, Error>>, Boxed<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a Aggregate<S> = self;
        if request.method != Method::GET && request.method != Method::HEAD {
            let allowed = HeaderValue::from_static("GET, HEAD");
            return Either::now(Err(Refusal::MethodNotAllowed(allowed).into()));
        }
        Either::later(Box::pin(layer.gather(request)))
    }
}

/// A part on its way.
enum Call<'a> {
    Pending(Pin<Box<dyn Future<Output = Result<Piece, Error>> + Send + 'a>>),
    Done(Option<Piece>),
}

impl<S: Inner> Aggregate<S> {
    async fn gather(&self, request: Request) -> Result<Response, Error> {
        let (mut calls, mut trails) = (Vec::new(), Vec::new());
        for part in &self.parts {
            let asked = part.request(&request)?;
            trails.push(asked.trail.clone());
            calls.push(Call::Pending(Box::pin(part.fetch(asked))));
        }
        let joined = poll_fn(|cx| poll_all(&mut calls, cx)).await;
        note(&request.trail, &trails);
        joined?;
        const LOST: Error = Error::Internal(InternalError::Bug("a part without an end"));
        let mut pieces = Vec::new();
        for (part, call) in self.parts.iter().zip(calls) {
            let Call::Done(Some(piece)) = call else { return Err(LOST) };
            pieces.push((&part.plan.name, piece));
        }
        Ok(merge(pieces))
    }
}

/// Polls what is pending; ready when nothing is any more, or with the first failure.
fn poll_all(calls: &mut [Call<'_>], cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
    let mut pending = false;
    for call in calls {
        let Call::Pending(future) = call else { continue };
        match future.as_mut().poll(cx) {
            Poll::Ready(Ok(piece)) => *call = Call::Done(Some(piece)),
            Poll::Ready(Err(error)) => {
                *call = Call::Done(None);
                return Poll::Ready(Err(error));
            }
            Poll::Pending => pending = true,
        }
    }
    if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
}

/// Notes about the whole what there is about its parts: the sum of attempts, the longest of waits, and what
/// the cache did where that is the same for all.
fn note(whole: &Trail, parts: &[Trail]) {
    whole.note(|notes| {
        for (index, part) in parts.iter().map(Trail::read).enumerate() {
            notes.attempts += part.attempts;
            notes.queue_wait = notes.queue_wait.max(part.queue_wait);
            notes.upstream_time = notes.upstream_time.max(part.upstream_time);
            if index == 0 {
                notes.cache = part.cache;
            } else if notes.cache != part.cache {
                notes.cache = Some("mixed");
            }
        }
    });
}
