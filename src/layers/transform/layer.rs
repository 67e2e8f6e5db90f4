//! The tower glue.

use std::future::{Future, Ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::Error;
use crate::http::{Request, Response};
use crate::layers::{Either, Inner, always_ready, inner};

use super::plan::TransformPlan;
use super::rewrite::Rewrite;
use super::rules::HeaderRules;

/// Changes requests on their way in.
#[derive(Debug)]
pub struct TransformRequest<S> {
    rewrite: Option<Rewrite>,
    rules: HeaderRules,
    inner: S,
}

impl<S> TransformRequest<S> {
    /// Around `inner`, which sees what the plan makes of requests.
    pub fn new(plan: &TransformPlan, inner: S) -> Self {
        Self { rewrite: plan.rewrite.clone(), rules: plan.request.clone(), inner }
    }
}

#[cfg(test)]
impl<S> TransformRequest<S> {
    pub(super) const fn inner(&self) -> &S {
        &self.inner
    }
}

inner!(impl<S: Inner> for TransformRequest<S>);

impl<'a, S: Inner> Service<Request> for &'a TransformRequest<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Ready<Result<Response, Error>>, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(rewrite) = &self.rewrite {
            match rewrite.apply(&request.target, &request.params) {
                Ok(Some(changed)) => request.target.path_and_query = changed,
                Ok(None) => {}
                Err(error) => return Either::now(Err(error.into())),
            }
        }
        self.rules.apply(&mut request.headers);
        Either::later(self.inner.send(request))
    }
}

/// Changes responses on their way out.
#[derive(Debug)]
pub struct TransformResponse<S> {
    rules: HeaderRules,
    inner: S,
}

impl<S> TransformResponse<S> {
    /// Around `inner`, whose responses go out as the plan makes them.
    pub fn new(plan: &TransformPlan, inner: S) -> Self {
        Self { rules: plan.response.clone(), inner }
    }
}

inner!(impl<S: Inner> for TransformResponse<S>);

impl<'a, S: Inner> Service<Request> for &'a TransformResponse<S> {
    type Response = Response;
    type Error = Error;
    type Future = Transformed<'a, S::Future<'a>>;

    always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        Transformed { inner: self.inner.send(request), rules: &self.rules }
    }
}

pin_project! {
    /// An answer whose fields the rules change.
    pub struct Transformed<'a, F> {
        #[pin]
        inner: F,
        rules: &'a HeaderRules,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Transformed<'_, F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        if let Ok(response) = &mut result {
            this.rules.apply(&mut response.headers);
        }
        Poll::Ready(result)
    }
}
