//! Refuse: what answers a request that no route takes, so that it too is counted and logged.

use std::future::{Ready, ready};

use tower_service::Service;

use crate::error::{Error, Refusal};
use crate::http::{Request, Response};

/// Answers everything with this refusal.
#[derive(Clone, Debug)]
pub struct Refuse(pub Refusal);

crate::layers::inner!(impl for Refuse);

impl Service<Request> for &Refuse {
    type Response = Response;
    type Error = Error;
    type Future = Ready<Result<Response, Error>>;

    crate::layers::always_ready!();

    fn call(&mut self, _: Request) -> Self::Future {
        ready(Err(Error::Refused(self.0.clone())))
    }
}
