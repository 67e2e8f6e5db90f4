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

use crate::admin::cache::{self, Caches, Call, Telling};
use crate::admin::{self, AdminState, guard};
use crate::gateway::Gateway;
use crate::http::{Body, Response};
use crate::layers::cache::purge::order::{Done, Order, OrderError};

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;

/// How long a head may take, and how long a connection may be idle.
const PATIENCE: Duration = Duration::from_secs(10);

/// Binds `address` and serves until `stop`; returns the bound address.
///
/// # Errors
/// When the address cannot be bound.
pub fn serve(address: SocketAddr, state: AdminState, stop: CancellationToken) -> io::Result<SocketAddr> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    let listener = TcpListener::from_std(socket)?;
    let bound = listener.local_addr()?;
    tokio::spawn(stop.run_until_cancelled_owned(accept(listener, Arc::new(state))));
    Ok(bound)
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
            Err(refusal) => *refusal,
            Ok(()) => match call {
                Call::Entry => cache::entry(&state, head.uri.query()).await,
                Call::Purge => match read(body).await {
                    Ok(order) => cache::purge(&state, &order),
                    Err(refusal) => *refusal,
                },
            },
        },
    };
    let mut out = http::Response::new(response.body);
    *out.status_mut() = response.status;
    *out.headers_mut() = response.headers;
    Ok(out)
}

/// Reads a body, bounded in size and time.
async fn read(body: Incoming) -> Result<Bytes, Box<Response>> {
    let refuse = |status, detail: &str| Err(Box::new(guard::problem(status, detail)));
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
