//! The tower glue.

use std::future::{Future, Ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::Error;
use crate::http::{Request, Response};
use crate::layers::{Either, Inner, always_ready, inner};

use super::plan::CorsPlan;
use super::rules::{self, Grant};

/// Tells browsers which pages may use the route.
#[derive(Debug)]
pub struct Cors<S> {
    plan: Option<Arc<CorsPlan>>,
    inner: S,
}

impl<S> Cors<S> {
    /// Around `inner`; without a plan it does nothing.
    pub const fn new(plan: Option<Arc<CorsPlan>>, inner: S) -> Self {
        Self { plan, inner }
    }
}

inner!(impl<S: Inner> for Cors<S>);

/// An answer to a preflight, an inner answer as it is, or one that browsers are told about.
pub type CorsFuture<'a, S> = Either<
    Ready<Result<Response, Error>>,
    Either<<S as Inner>::Future<'a>, Telling<'a, <S as Inner>::Future<'a>>>,
>;

impl<'a, S: Inner> Service<Request> for &'a Cors<S> {
    type Response = Response;
    type Error = Error;
    type Future = CorsFuture<'a, S>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let layer: &'a Cors<S> = self;
        let Some(plan) = &layer.plan else {
            return Either::later(Either::Left { future: layer.inner.send(request) });
        };
        if rules::is_preflight(&request) {
            return Either::now(Ok(rules::preflight(plan, &request)));
        }
        let granted = rules::grant(plan, &request.headers);
        let future = layer.inner.send(request);
        Either::later(Either::Right { future: Telling { future, plan, granted } })
    }
}

pin_project! {
    /// An inner answer that browsers are told about.
    pub struct Telling<'a, F> {
        #[pin]
        future: F,
        plan: &'a CorsPlan,
        granted: Grant,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Telling<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let telling = self.project();
        let mut result = ready!(telling.future.poll(cx));
        if let Ok(response) = &mut result {
            rules::replace(telling.plan, telling.granted, &mut response.headers);
        }
        Poll::Ready(result)
    }
}
