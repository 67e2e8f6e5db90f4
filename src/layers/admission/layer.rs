//! The gate of an upstream as a layer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::{Error, UpstreamErrorKind as Kind};
use crate::http::held::DropAtEnd;
use crate::http::{Request, Response};
use crate::layers::{Boxed, Either, Inner, always_ready, inner};

use super::adaptive::Outcome;
use super::claim::Claims;
use super::gate::Gate;
use super::place::Holding;

/// Sends a request inward once the upstream's [`Gate`] has a permit for it.
///
/// The permit is given back at the end of the response body, not at its head: until then the upstream is at
/// work. It is given back at once if the request fails or the client leaves. At a 101 it is given back too: a
/// tunnel may stay for hours and is not counted.
#[derive(Debug)]
pub struct Admission<S> {
    gate: Arc<Gate>,
    claims: Claims,
    inner: S,
}

impl<S> Admission<S> {
    /// The layer of `gate`, which the routes of one upstream share, around `inner`; `route` tells whose
    /// latencies to compare, `claims` how its requests stand in the queue.
    pub fn new(gate: Arc<Gate>, claims: Claims, route: &str, inner: S) -> Self {
        let claims = claims.compared_with(gate.baseline(route));
        Self { gate, claims, inner }
    }
}

impl<S: Inner> Admission<S> {
    async fn wait(&self, mut request: Request) -> Result<Response, Error> {
        let permit = self.gate.acquire(self.claims.of(&request), &request.trail).await?;
        let holding = Holding::new(permit, &mut request.body);
        Admitted { future: self.inner.send(request), holding }.await
    }
}

inner!(impl<S: Inner> for Admission<S>);

impl<'a, S: Inner> Service<Request> for &'a Admission<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Admitted<S::Future<'a>>, Boxed<'a>>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        let layer: &'a Admission<S> = self;
        let holding = if layer.gate.is_off() {
            Holding::Nothing
        } else {
            match layer.gate.try_acquire(layer.claims.baseline()) {
                Some(permit) => Holding::new(permit, &mut request.body),
                None => return Either::Right { future: Box::pin(layer.wait(request)) },
            }
        };
        Either::Left { future: Admitted { future: layer.inner.send(request), holding } }
    }
}

pin_project! {
    /// An answer under way with its permit, or without one where there is no limit.
    pub struct Admitted<F> {
        // Before the permit: the request is gone from the upstream when another is let in.
        #[pin]
        future: F,
        holding: Holding,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Admitted<F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        let Some(mut permit) = this.holding.take() else { return Poll::Ready(result) };
        permit.observe(outcome(&result));
        Poll::Ready(result.map(|mut response| {
            let tunnel = response.status == StatusCode::SWITCHING_PROTOCOLS;
            if !tunnel && !http_body::Body::is_end_stream(&response.body) {
                response.body.hold(DropAtEnd(permit));
            }
            response
        }))
    }
}

/// What the result tells about the upstream's load.
fn outcome(result: &Result<Response, Error>) -> Outcome {
    match result {
        Ok(response) => match response.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Outcome::Overloaded,
            _ => Outcome::Answered,
        },
        Err(Error::Upstream(error)) => match error.kind {
            Kind::ConnectTimeout | Kind::ConnectionLimit | Kind::HeadTimeout | Kind::Deadline => {
                Outcome::Overloaded
            }
            Kind::NoEndpoint
            | Kind::Dns
            | Kind::ConnectFailed
            | Kind::Tls
            | Kind::Reset
            | Kind::BadResponse
            | Kind::HeadTooLarge
            | Kind::BadUpgrade
            | Kind::Trouble
            | Kind::BodyTimeout
            | Kind::BodyIncomplete => Outcome::Failed,
        },
        Err(Error::Client(_) | Error::Refused(_) | Error::Part(_) | Error::Internal(_)) => Outcome::Left,
    }
}
