//! Body limit: a request body larger than its route accepts is refused before the upstream sees a byte of it
//! where its length is known, and cut when it passes the limit where it is not.

use std::future::Ready;

use http_body::Body as _;
use tower_service::Service;

use crate::error::{ClientError, Error};
use crate::http::{Request, RequestBody, Response};

use super::{Either, Inner, inner};

/// Bounds request bodies.
#[derive(Debug)]
pub struct BodyLimit<S> {
    max_bytes: u64,
    inner: S,
}

impl<S> BodyLimit<S> {
    /// Around `inner`, which never sees more than `max_bytes` of a body.
    pub const fn new(max_bytes: u64, inner: S) -> Self {
        Self { max_bytes, inner }
    }
}

inner!(impl<S: Inner> for BodyLimit<S>);

impl<'a, S: Inner> Service<Request> for &'a BodyLimit<S> {
    type Response = Response;
    type Error = Error;
    type Future = Either<Ready<Result<Response, Error>>, S::Future<'a>>;

    crate::layers::always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let RequestBody::Incoming(body) = &mut request.body {
            if body.size_hint().lower() > self.max_bytes {
                return Either::now(Err(ClientError::BodyTooLarge.into()));
            }
            body.limit(self.max_bytes);
        }
        Either::later(self.inner.send(request))
    }
}
