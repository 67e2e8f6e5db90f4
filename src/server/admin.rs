//! The admin listener: serves the handlers of [`crate::admin`] on a socket of its own, so that a flood of
//! requests does not keep an operator from looking.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::cache::{self, Caches, Call, Telling};
use crate::admin::{
    self, AdminState, EndpointState, EndpointStatus, RouteStatus, Snapshot, UpstreamStatus, guard,
};
use crate::gateway::{Gateway, Origin, Route};
use crate::http::{Body, Response, ResponseParts};
use crate::layers::cache::purge::order::{Done, Order, OrderError};
use crate::upstream;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a head may take, and how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often an address is tried that another process still has.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// Binds `address` and serves until `stop`; returns the bound address. A `patient` one that finds the address
/// taken waits until it is free, and returns none.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(
    address: SocketAddr,
    state: AdminState,
    patient: bool,
    stop: CancellationToken,
) -> io::Result<Option<SocketAddr>> {
    let state = Arc::new(state);
    let (listener, bound) = match bind(address) {
        Ok(bound) => bound,
        Err(error) if patient && error.kind() == io::ErrorKind::AddrInUse => {
            warn!(%address, "another process has the pages for operators until it ends");
            let waits = async move {
                let listener = loop {
                    tokio::time::sleep(TRY_AGAIN).await;
                    if let Ok((listener, _)) = bind(address) {
                        break listener;
                    }
                };
                info!(%address, "admin");
                accept(listener, state).await;
            };
            tokio::spawn(stop.run_until_cancelled_owned(waits));
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    info!(address = %bound, "admin");
    tokio::spawn(stop.run_until_cancelled_owned(accept(listener, state)));
    Ok(Some(bound))
}

fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

async fn accept(listener: TcpListener, state: Arc<AdminState>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let state = state.clone();
        tokio::spawn(async move {
            let requests = service_fn(move |request: http::Request<Incoming>| answer(state.clone(), request));
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), requests)
                .await;
            drop((served, slot));
        });
    }
}

async fn answer(
    state: Arc<AdminState>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let response = match Call::at(head.uri.path()) {
        None => admin::handle(&state, &head),
        Some(call) => match call.check(&state, &head) {
            Err(refusal) => refusal,
            Ok(()) => match call {
                Call::Entry => cache::entry(&state, head.uri.query()).await,
                Call::Purge => match read(body).await {
                    Ok(order) => cache::purge(&state, &order),
                    Err(refusal) => refusal,
                },
            },
        },
    };
    let ResponseParts { status, headers, body, .. } = response.into_parts();
    let mut out = http::Response::new(body);
    *out.status_mut() = status;
    *out.headers_mut() = headers;
    Ok(out)
}

/// Reads a body, bounded in size and time.
async fn read(body: Incoming) -> Result<Bytes, Response> {
    let refuse = |status, detail: &str| Err(guard::problem(status, detail));
    let whole = Limited::new(body, cache::ORDER_MAX).collect();
    match tokio::time::timeout(PATIENCE, whole).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            refuse(StatusCode::PAYLOAD_TOO_LARGE, "an order has at most 64 KiB")
        }
        Ok(Err(_)) => refuse(StatusCode::BAD_REQUEST, "the body did not arrive as a whole"),
        Err(_) => refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    }
}

/// The gateway's caches, as the admin API sees them.
#[derive(Debug)]
pub struct GatewayCaches(pub Arc<Gateway>);

impl Caches for GatewayCaches {
    fn purge(&self, order: &Order) -> Result<Done, OrderError> {
        self.0.purge(order)
    }

    fn stored<'a>(&'a self, url: &'a str) -> Telling<'a> {
        Box::pin(self.0.stored(url))
    }
}

/// What the admin API shows of the gateway.
pub(super) fn snapshot(gateway: &Gateway) -> Snapshot {
    let table = gateway.table();
    let route = |route: &Route| RouteStatus { name: route.name.clone(), upstream: route.upstream.clone() };
    let endpoint = |status: upstream::EndpointStatus| EndpointStatus {
        endpoint: status.name.to_string(),
        state: match (status.unhealthy, status.ejected) {
            (true, _) => EndpointState::Unhealthy,
            (false, true) => EndpointState::Ejected,
            (false, false) => EndpointState::Healthy,
        },
        in_flight: status.in_flight as u64,
    };
    let origin = |(name, origin): (&String, &Arc<Origin>)| UpstreamStatus {
        name: name.clone(),
        endpoints: origin.upstream.endpoints_status().into_iter().map(endpoint).collect(),
    };
    Snapshot {
        config_generation: gateway.generation(),
        routes: table.routes().map(route).collect(),
        upstreams: table.origins().iter().map(origin).collect(),
    }
}
