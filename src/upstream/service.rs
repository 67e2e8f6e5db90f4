//! The tower glue: the innermost service of every stack.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use smallvec::SmallVec;
use tower_service::Service;

use crate::clock;
use crate::error::{Error, UpstreamError, UpstreamErrorKind as Kind};
use crate::http::{Request, Response};

use super::Upstream;
use super::attempt::Attempt;
use super::fleet::Account;
use super::websocket::Challenge;

/// Sends each request to one of an upstream's endpoints.
#[derive(Clone, Debug)]
pub struct Balance(pub Arc<Upstream>);

/// An answer to come: the one future a forwarded request allocates here.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send + 'a>>;

/// Endpoints tried, one after the other, while none can be connected to.
const MAX_TRIED: usize = 3;

impl<'a> Service<Request> for &'a Balance {
    type Response = Response;
    type Error = Error;
    type Future = Sending<'a>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(send(&self.0, request))
    }
}

async fn send(upstream: &Upstream, mut request: Request) -> Result<Response, Error> {
    if !request.body.is_empty() {
        // Content in front of a tunnel is how requests are smuggled into one; RFC 9110 §7.8 lets us ignore
        // the wish.
        request.upgrade = None;
    }
    let mut tried: SmallVec<[usize; MAX_TRIED]> = SmallVec::new();
    let fleet = match upstream.fleet_now() {
        Some(fleet) => fleet,
        None => Box::pin(upstream.first_fleet(request.deadline)).await,
    };
    let nobody = if fleet.endpoints.is_empty() { Kind::Dns } else { Kind::NoEndpoint };
    let mut failure = Error::Upstream(UpstreamError::unsent(nobody));
    loop {
        let started = clock::instant();
        let Some(mut account) = Account::open(&fleet, &request, started, &tried) else {
            return Err(failure);
        };
        let index = account.index();
        let Some(endpoint) = fleet.endpoints.get(index) else { return Err(failure) };
        request.trail.note(|notes| notes.endpoint = Some(Arc::clone(&endpoint.name)));
        let attempt = Attempt {
            upstream,
            endpoint,
            started,
            deadline: request.deadline,
            upgrade: request.upgrade.is_some(),
            challenge: request.upgrade.as_ref().and_then(|_| Challenge::of(&request.headers)),
            trail: request.trail.clone(),
        };
        match endpoint.line(attempt.need(), started, request.deadline).await {
            Ok(line) => return attempt.run(line, request, account).await,
            Err(kind) => {
                failure = attempt.unsent(kind);
                account.failed(&failure);
                tried.push(index);
                if !matches!(kind, Kind::ConnectFailed | Kind::Dns) || tried.len() == MAX_TRIED {
                    return Err(failure);
                }
            }
        }
    }
}
