//! The layers of a route's stack: one folder each, none imports another. `stack.rs` lists them in order.
//!
//! A layer is called by shared reference: it implements `tower::Service<Request> for &Layer<S>`, is always
//! ready, and decides in `call`. So a route's stack is one value that is never cloned and never boxed. A
//! synchronous decision returns [`Either`]; an asynchronous one boxes one future that borrows the layer.

pub mod access_log;
pub mod admission;
pub mod body_limit;
pub mod cache;
pub mod deadline;
pub mod fixed;
pub mod rate_limit;
pub mod refuse;
pub mod respond;
pub mod retry;
pub mod transform;

use std::future::{Future, Ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::error::Error;
use crate::http::{Request, Response};

/// What a layer asks of the service it wraps: callable by shared reference.
///
/// Implemented for every `T` whose reference is a [`Service`].
pub trait Inner: Send + Sync + 'static {
    /// The answer to be.
    type Future<'a>: Future<Output = Result<Response, Error>> + Send + 'a
    where
        Self: 'a;

    /// Sends a request inward.
    fn send<'a>(&'a self, request: Request) -> Self::Future<'a>;
}

impl<T> Inner for T
where
    T: Send + Sync + 'static,
    for<'a> &'a T: Service<Request, Response = Response, Error = Error, Future: Send + 'a>,
{
    type Future<'a> = <&'a T as Service<Request>>::Future;

    fn send<'a>(&'a self, request: Request) -> Self::Future<'a> {
        let mut service = self;
        service.call(request)
    }
}

/// An answer that takes an await of ours: one boxed future that borrows the layer.
pub type Boxed<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'a>>;

pin_project! {
    #[allow(missing_docs, reason = "the macro takes no docs on fields of variants")]
    /// One of two ways to an answer.
    #[project = EitherProj]
    pub enum Either<A, B> {
        /// The first.
        Left { #[pin] future: A },
        /// The second.
        Right { #[pin] future: B },
    }
}

impl<B> Either<Ready<Result<Response, Error>>, B> {
    /// An answer at once.
    pub fn now(result: Result<Response, Error>) -> Self {
        Self::Left { future: std::future::ready(result) }
    }

    /// An answer later.
    pub const fn later(future: B) -> Self {
        Self::Right { future }
    }
}

impl<A, B> Future for Either<A, B>
where
    A: Future<Output = Result<Response, Error>>,
    B: Future<Output = Result<Response, Error>>,
{
    type Output = Result<Response, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            EitherProj::Left { future } => future.poll(cx),
            EitherProj::Right { future } => future.poll(cx),
        }
    }
}
