//! Fixed: what a route answers without an upstream: a redirect, or always the same response.
//!
//! [`Fixed`] is the innermost service of such a route. It reads nothing of the request body: the connection
//! drains it or closes.
//!
//! **A redirect cannot be turned elsewhere.** Where it leads, scheme and host, is what the config says or
//! what the client asked for itself; captured values only ever come after the host, and a path never begins
//! with two slashes, which a browser would take for another host. In a query, captured values are escaped.

pub mod config;
mod location;
pub mod plan;

use std::future::{Ready, ready};

use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, StatusCode};
use tower_service::Service;

pub use location::Location;
pub use plan::{FixedPlan, plan_redirect, plan_respond};

use crate::error::{ClientError, Error};
use crate::http::{Body, Request, Response, fields};

#[cfg(test)]
mod tests;

/// Answers without an upstream.
#[derive(Debug)]
pub struct Fixed {
    plan: FixedPlan,
}

impl Fixed {
    /// Answers as planned.
    pub const fn new(plan: FixedPlan) -> Self {
        Self { plan }
    }

    fn answer(&self, request: &Request) -> Result<Response, Error> {
        match &self.plan {
            FixedPlan::Redirect { to, status } => {
                let mut response = Response::new(*status, Body::empty());
                response.headers.insert(LOCATION, to.expand(&request.target, &request.params)?);
                Ok(response)
            }
            FixedPlan::Respond { status, body, content_type } => {
                let mut response = Response::new(*status, Body::full(body.clone()));
                if !body.is_empty() {
                    response.headers.insert(CONTENT_TYPE, content_type.clone());
                }
                Ok(response)
            }
        }
    }
}

/// Answers `OPTIONS *`, which asks about the server and not about a resource (RFC 9110 §9.3.7).
#[derive(Clone, Copy, Debug)]
pub struct ServerWide;

impl Service<Request> for &ServerWide {
    type Response = Response;
    type Error = Error;
    type Future = Ready<Result<Response, Error>>;

    crate::layers::always_ready!();

    fn call(&mut self, _: Request) -> Self::Future {
        let mut response = Response::new(StatusCode::NO_CONTENT, Body::empty());
        response.headers.insert(ALLOW, HeaderValue::from_static(fields::ALL_METHODS));
        ready(Ok(response))
    }
}
crate::layers::inner!(impl for ServerWide);

/// Answers with a redirect to the same URL at `https`, on its own port; the method stays what it was (RFC
/// 9110 §15.4.9).
#[derive(Clone, Copy, Debug)]
pub struct ToHttps;

impl Service<Request> for &ToHttps {
    type Response = Response;
    type Error = Error;
    type Future = Ready<Result<Response, Error>>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        let target = &request.target;
        let to = format!("https://{}{}", target.host(), target.path_and_query);
        ready(match HeaderValue::try_from(to) {
            Ok(to) if !target.host().is_empty() => {
                let mut response = Response::new(StatusCode::PERMANENT_REDIRECT, Body::empty());
                response.headers.insert(LOCATION, to);
                Ok(response)
            }
            _ => Err(ClientError::BadRequest("no_host").into()),
        })
    }
}
crate::layers::inner!(impl for ToHttps);

crate::layers::inner!(impl for Fixed);

impl Service<Request> for &Fixed {
    type Response = Response;
    type Error = Error;
    type Future = Ready<Result<Response, Error>>;

    crate::layers::always_ready!();

    fn call(&mut self, request: Request) -> Self::Future {
        ready(self.answer(&request))
    }
}
