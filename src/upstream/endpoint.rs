//! One endpoint of an upstream at run time, and how a request gets something to be sent on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::HeaderValue;
use rustls_pki_types::ServerName;
use tokio::time::timeout_at;

use crate::clock::{self, Instant};
use crate::error::UpstreamErrorKind as Kind;
use crate::http::Scheme;

use super::config::Protocol;
use super::connect::connect;
use super::connection::Exclusive;
use super::dns::Dns;
use super::grant::{Checkout, Grant, Need, Stream};
use super::meters::Meters;
use super::plan::{EndpointPlan, UpstreamPlan};
use super::pool::{Pool, Speaks};
use super::resolve::Location;
use super::tls::{BuildError, Tls};

/// One endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Host and port.
    pub(super) name: Arc<str>,
    pub(super) scheme: Scheme,
    /// What it calls itself in `Host`.
    pub(super) authority: HeaderValue,
    pub(super) protocol: Protocol,
    pub(super) location: Location,
    pub(super) tls: Option<(Tls, ServerName<'static>)>,
    pub(super) pool: Arc<Pool>,
    /// Requests from their start to the end of their response body.
    pub(super) in_flight: AtomicUsize,
    /// Whether it fails its probes.
    pub(super) unhealthy: AtomicBool,
    /// Whether it was probed.
    pub(super) probed: AtomicBool,
    connect_timeout: Duration,
    meters: Arc<Meters>,
}

/// What a request is sent on.
#[derive(Debug)]
pub(super) enum Line {
    /// An HTTP/1.1 connection for itself.
    Exclusive(Exclusive),
    /// A stream of a shared HTTP/2 connection.
    Stream(Stream),
}

impl Endpoint {
    /// Needs a tokio runtime: names begin to be resolved.
    pub(super) fn build(
        plan: &UpstreamPlan,
        endpoint: &EndpointPlan,
        tls: Option<&Tls>,
        meters: &Arc<Meters>,
        dns: &Dns,
    ) -> Result<Self, BuildError> {
        let secure = endpoint.scheme == Scheme::Https;
        let speaks = match plan.protocol {
            Protocol::Http2 => Speaks::Http2,
            Protocol::Auto if secure => Speaks::Unknown,
            Protocol::Auto | Protocol::Http1 => Speaks::Http1,
        };
        let tls = match tls.filter(|_| secure) {
            Some(tls) => Some((tls.clone(), tls.server_name(endpoint)?)),
            None => None,
        };
        let authority = endpoint.authority();
        Ok(Self {
            name: endpoint.label().into(),
            scheme: endpoint.scheme,
            authority: HeaderValue::try_from(authority.clone())
                .map_err(|_| BuildError::ServerName(authority))?,
            protocol: plan.protocol,
            location: Location::of(endpoint, plan.resolve_interval, dns),
            tls,
            pool: Arc::new(Pool::new(plan.max_connections, plan.idle_timeout, speaks)),
            in_flight: AtomicUsize::new(0),
            unhealthy: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            connect_timeout: plan.connect_timeout,
            meters: Arc::clone(meters),
        })
    }

    /// How many requests it is busy with.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it fails its probes.
    pub(super) fn is_unhealthy(&self) -> bool {
        self.unhealthy.load(Ordering::Relaxed)
    }

    /// Something to send a request on: a used connection, a new one, or the first that comes free.
    pub(super) async fn line(
        &self,
        need: Need,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<Line, Kind> {
        if need == Need::Http1 && self.protocol == Protocol::Http2 {
            return Err(Kind::BadUpgrade);
        }
        loop {
            let grant = match self.pool.checkout(need, now) {
                Checkout::Now(grant) => grant,
                Checkout::Wait(granted) => Box::pin(self.wait(granted, deadline)).await?,
                Checkout::Full => return Err(Kind::ConnectionLimit),
            };
            match grant {
                Grant::Exclusive(connection) if connection.is_ready() => {
                    return Ok(Line::Exclusive(connection));
                }
                Grant::Exclusive(mut connection) => {
                    if connection.settle().await {
                        return Ok(Line::Exclusive(connection));
                    }
                }
                Grant::Stream(stream) => return Ok(Line::Stream(stream)),
                Grant::Dial(dial) => {
                    let until = self.patience(deadline);
                    let connected = Box::pin(connect(self, need, dial, until)).await;
                    self.meters.connected(connected.as_ref().err().copied());
                    return connected.map_err(|kind| past_deadline(deadline).unwrap_or(kind));
                }
            }
        }
    }

    async fn wait(
        &self,
        granted: tokio::sync::oneshot::Receiver<Grant>,
        deadline: Option<Instant>,
    ) -> Result<Grant, Kind> {
        match timeout_at(self.patience(deadline), granted).await {
            Ok(Ok(grant)) => Ok(grant),
            // Only a pool that is gone leaves somebody in line.
            Ok(Err(_)) => Err(Kind::NoEndpoint),
            Err(_) => Err(past_deadline(deadline).unwrap_or_else(|| {
                if self.pool.is_full() { Kind::ConnectionLimit } else { Kind::ConnectTimeout }
            })),
        }
    }

    /// Until when a connection is waited for.
    fn patience(&self, deadline: Option<Instant>) -> Instant {
        let until = clock::instant() + self.connect_timeout;
        deadline.map_or(until, |deadline| deadline.min(until))
    }
}

fn past_deadline(deadline: Option<Instant>) -> Option<Kind> {
    deadline.filter(|deadline| clock::instant() >= *deadline).map(|_| Kind::Deadline)
}
