//! Respond: the only place where an error becomes a response.
//!
//! gRPC clients are told in their own way: status 200 and a `grpc-status`. For all others:
//! the body is `application/problem+json` (RFC 9457); `Proxy-Status` (RFC 9209) says the same to machines on
//! the way. An error is never stored by a cache behind us: `Cache-Control: no-store`.
//!
//! ```
//! use forebay::error::{Error, Refusal};
//! use forebay::http::RequestId;
//! let response = forebay::layers::respond::response(&Error::Refused(Refusal::NoRoute),
//! &RequestId::Random(7)); assert_eq!(response.status, 404); assert_eq!(response.headers["proxy-status"],
//! "forebay; error=destination_not_found; details=\"no_route\"");
//! ```

mod grpc;
mod problem;

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::CONNECTION;
use http::{HeaderValue, Version};
use pin_project_lite::pin_project;
use tower_service::Service;

pub use problem::response;

use crate::error::{ClientError, Error};
use crate::http::{Request, RequestId, Response, Trail};

use super::{Inner, inner};

/// Turns whatever fails further in into a response; it never fails itself.
#[derive(Debug)]
pub struct Respond<S> {
    inner: S,
}

impl<S> Respond<S> {
    /// Around `inner`.
    pub const fn new(inner: S) -> Self {
        Self { inner }
    }
}

inner!(impl<S: Inner> for Respond<S>);

impl<'a, S: Inner> Service<Request> for &'a Respond<S> {
    type Response = Response;
    type Error = Error;
    type Future = Responding<S::Future<'a>>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let (id, trail) = (request.id.clone(), request.trail.clone());
        let grpc = grpc::media_type(&request);
        let is_http1 = request.version < Version::HTTP_2;
        Responding { inner: self.inner.send(request), id, trail, grpc, is_http1 }
    }
}

pin_project! {
    /// An answer that is always a response.
    pub struct Responding<F> {
        #[pin]
        inner: F,
        id: RequestId,
        trail: Trail,
        // What the client speaks, where that is gRPC.
        grpc: Option<HeaderValue>,
        is_http1: bool,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Responding<F> {
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        Poll::Ready(Ok(result.unwrap_or_else(|error| {
            this.trail.note(|notes| notes.error = Some(error.as_str()));
            let mut response = match this.grpc.take() {
                Some(media_type) => grpc::response(&error, this.id, media_type),
                None => response(&error, this.id),
            };
            if *this.is_http1 && matches!(error, Error::Client(ClientError::BadBody)) {
                // The server ends the connection where the framing is broken. Where it is whole and the rest
                // is not, we do.
                response.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        })))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};

    use http::{Method, StatusCode};

    use super::*;
    use crate::error::{Refusal, UpstreamError, UpstreamErrorKind};
    use crate::http::testing::request;
    use crate::http::{Body, RequestBody};

    struct Origin(Option<Error>);

    crate::layers::inner!(impl for Origin);

    impl Service<Request> for &Origin {
        type Response = Response;
        type Error = Error;
        type Future = Ready<Result<Response, Error>>;

        crate::layers::always_ready!();

        fn call(&mut self, _: Request) -> Self::Future {
            ready(self.0.clone().map_or_else(|| Ok(Response::new(StatusCode::OK, Body::empty())), Err))
        }
    }

    #[tokio::test]
    async fn an_error_becomes_a_response_and_a_note() {
        for (error, status, word) in [
            (None, 200, None),
            (Some(Refusal::NoRoute.into()), 404, Some("no_route")),
            (Some(UpstreamError::sent(UpstreamErrorKind::Deadline).into()), 504, Some("deadline")),
        ] {
            let layer = Respond::new(Origin(error));
            let request = request(Method::GET, RequestBody::Empty);
            let trail = request.trail.clone();
            let response = layer.send(request).await.unwrap();
            assert_eq!(response.status, status);
            assert_eq!(trail.read().error, word);
        }
    }
}
