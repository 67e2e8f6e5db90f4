//! The layers of a route's stack: one folder each, none imports another. `stack.rs` lists them in order.
//!
//! A layer is called by shared reference: it implements `tower::Service<Request> for &Layer<S>`, is always
//! ready, and decides in `call`. So a route's stack is one value that is never cloned and never boxed. A
//! synchronous decision returns [`Either`]; an asynchronous one boxes one future that borrows the layer.

pub mod access_log;
pub mod admission;
pub mod aggregate;
pub mod auth;
pub mod body_limit;
pub mod budget;
pub mod cache;
pub mod compress;
pub mod cors;
pub mod deadline;
pub mod fallback;
pub mod fixed;
pub mod hedge;
pub mod idempotency;
pub mod quota;
pub mod rate_limit;
pub mod refuse;
pub mod respond;
pub mod retry;
pub mod transform;

use std::future::{Future, Ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::error::Error;
use crate::http::{Request, Response};

/// What a layer asks of the service it wraps: callable by shared reference.
///
/// `inner!` implements it for a type whose reference is a [`Service`](tower_service::Service).
pub trait Inner: Send + Sync + 'static {
    /// The answer to be.
    type Future<'a>: Future<Output = Result<Response, Error>> + Send + 'a
    where
        Self: 'a;

    /// Sends a request inward.
    fn send<'a>(&'a self, request: Request) -> Self::Future<'a>;
}

/// Implements [`Inner`] for a service that is callable by reference.
///
/// A blanket implementation would say the same in one place. But it would ask of every `T` that `&'a T` is a
/// service for all `'a`, and the compiler proves such a bound anew, several times, at each level of a nested
/// type: a stack of twelve layers took it minutes and gigabytes. Written out a type, each level asks only for
/// the next one.
macro_rules! inner {
    (impl $(<$($generic:ident: $bound:path),+>)? for $service:ty) => {
        impl $(<$($generic: $bound),+>)? $crate::layers::Inner for $service {
            type Future<'a>
                = <&'a Self as ::tower_service::Service<$crate::http::Request>>::Future
            where
                Self: 'a;

            fn send<'a>(&'a self, request: $crate::http::Request) -> Self::Future<'a> {
                let mut service = self;
                ::tower_service::Service::call(&mut service, request)
            }
        }
    };
}

pub(crate) use inner;

/// A [`Service`](tower_service::Service)'s `poll_ready`, where what has to be awaited is awaited in `call`.
macro_rules! always_ready {
    () => {
        fn poll_ready(
            &mut self,
            _: &mut ::std::task::Context<'_>,
        ) -> ::std::task::Poll<Result<(), $crate::error::Error>> {
            ::std::task::Poll::Ready(Ok(()))
        }
    };
}

pub(crate) use always_ready;

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
