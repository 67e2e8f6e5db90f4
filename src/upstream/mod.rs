//! Named sets of endpoints: which one gets a request, on which connection, and what is learnt from how it
//! went.
//!
//! ```no_run
//! # use forebay::metrics::Metrics;
//! # use forebay::report::{Path, Report};
//! # use forebay::upstream::{Balance, Upstream, config::EndpointsConfig, plan};
//! # fn example(config: EndpointsConfig) -> Result<(), Box<dyn std::error::Error>> {
//! let plan = plan::plan(&config, &Path::root(), &mut Report::new());
//! let orders = Upstream::build("orders", &plan, &Metrics::default())?; // inside a tokio runtime
//! let service = Balance(orders); // a tower service, called by shared reference
//! # drop(service); Ok(())
//! # }
//! ```
//!
//! In reading order:
//! - [`config`], [`plan`]: what the user writes, and what comes of it.
//! - `fleet`, with `balance` and `ejection` (pure): the choice of an endpoint, and the account of an attempt.
//! - `health` (pure), with `probe`: what an endpoint says when it is asked how it does.
//! - `discovery`, with `dns`: endpoints that are found by name, while requests run.
//! - `endpoint`, with `pool`, `grant`, `connect`, `tls`, `resolve`: how a request gets a connection.
//! - `attempt`, with `forward`, `upload`, `answer`, `failure`, `lease`: how it is sent, and what comes back.
//! - `connection`, `io`, `heads`, `frames`: hyper's connections and the sockets below them.
//!
//! What surprises:
//! - `max_connections` counts sockets, tunnels included; a socket owns its place and frees it when it is
//!   closed.
//! - A connection that cannot be made is another endpoint's chance, at once and without the retry budget:
//!   nothing was sent. Anything else is for the retry layer to decide.
//! - An endpoint that fails its probes or is ejected gets nothing while another one is left. When all are
//!   out, all are asked: a wrong health check must not take everything down.
//! - What is known of endpoints lives as long as the upstream, which a reload keeps where its plan is equal.
//! - Dropping the future of a request closes its HTTP/1.1 connection at once, or resets its HTTP/2 stream.
//! - Of an upgrade only the upstream's side is here: the ingress keeps the client's (its `OnUpgrade` is
//!   `Clone`).

mod answer;
mod attempt;
mod balance;
pub mod config;
mod connect;
mod connection;
mod discovery;
pub mod dns;
mod ejection;
mod endpoint;
mod failure;
mod fleet;
mod forward;
mod frames;
mod grant;
mod heads;
mod health;
mod io;
mod lease;
mod meters;
pub mod plan;
mod pool;
mod probe;
mod resolve;
mod service;
mod tls;
mod upload;
mod websocket;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{self, Instant};
use crate::metrics::Metrics;

use discovery::{Discovery, Workshop};
use dns::Dns;
use fleet::Fleet;
use forward::Forwarding;
use meters::{Meters, ProbeMeters};
use plan::UpstreamPlan;
use tls::Tls;

pub use service::{Balance, Sending};
pub use tls::BuildError;

/// A named set of endpoints with their connections.
///
/// Its background tasks and idle connections end when it is dropped; requests that are under way end on their
/// own.
#[derive(Debug)]
pub struct Upstream {
    name: Box<str>,
    /// Replaced as a whole where endpoints are found by name.
    fleet: Arc<ArcSwap<Fleet>>,
    discovery: Option<Discovery>,
    connect_timeout: Duration,
    forwarding: Forwarding,
    read_timeout: Duration,
    /// What the TLS files held when they were read.
    files: tls::Fingerprint,
    _sweeper: AbortOnDropHandle<()>,
    _probes: Vec<AbortOnDropHandle<()>>,
}

/// How one endpoint is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointStatus {
    /// Host and port.
    pub name: Arc<str>,
    /// Whether it is left out because it failed.
    pub ejected: bool,
    /// Whether it is left out because it fails its probes.
    pub unhealthy: bool,
    /// Requests from their start to the end of their response body.
    pub in_flight: usize,
    /// Open connections, and those being made.
    pub connections: usize,
    /// Those of them that no request uses.
    pub idle: usize,
}

impl Upstream {
    /// Reads the TLS files and starts resolving names. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// Which TLS file is unusable, and why.
    pub fn build(name: &str, plan: &UpstreamPlan, metrics: &Metrics) -> Result<Arc<Self>, BuildError> {
        let meters = Arc::new(Meters::new(name, metrics));
        // Taken before the files are read: one that changes in between is read again at the next reload.
        let files = tls::Fingerprint::of(plan);
        let tls = if plan.is_secure() { Some(Tls::build(&plan.tls, plan.protocol)?) } else { None };
        // Asked for here, so that nobody has the series who does not probe.
        let probe_meters = plan.health.as_ref().map(|_| Arc::new(ProbeMeters::new(name, metrics)));
        let workshop = Workshop {
            name: name.into(),
            plan: plan.clone(),
            tls,
            meters,
            probe_meters,
            dns: Dns::new(&plan.name_servers),
            metrics: metrics.clone(),
        };
        let first = Arc::new(workshop.fleet(&plan.endpoints, None)?);
        let fleet = Arc::new(ArcSwap::new(Arc::clone(&first)));
        let sweeper = tokio::spawn(sweep(Arc::clone(&fleet), plan.idle_timeout));
        let (discovery, probes) = if plan.services.is_empty() {
            (None, workshop.probe(&first))
        } else {
            (Some(Discovery::start(workshop, &fleet)), Vec::new())
        };
        let upstream = Arc::new(Self {
            name: name.into(),
            fleet,
            discovery,
            connect_timeout: plan.connect_timeout,
            forwarding: Forwarding { host: plan.host.clone(), forwarded: plan.forwarded },
            read_timeout: plan.read_timeout,
            files,
            _sweeper: AbortOnDropHandle::new(sweeper),
            _probes: probes,
        });
        meters::observe(&upstream, metrics);
        Ok(upstream)
    }

    /// Reads the TLS files that a plan names, to see whether they can be used.
    ///
    /// # Errors
    ///
    /// Which one cannot, and why.
    pub fn check_files(plan: &UpstreamPlan) -> Result<(), BuildError> {
        if !plan.is_secure() {
            return Ok(());
        }
        let tls = Tls::build(&plan.tls, plan.protocol)?;
        plan.endpoints.iter().try_for_each(|endpoint| tls.server_name(endpoint).map(drop))
    }

    /// Whether the TLS files hold what they did when this upstream was built.
    pub fn files_are_unchanged(&self, plan: &UpstreamPlan) -> bool {
        self.files == tls::Fingerprint::of(plan)
    }

    /// Its name in the config.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How each endpoint is doing, in the config's order.
    pub fn endpoints_status(&self) -> Vec<EndpointStatus> {
        let now = clock::instant();
        let fleet = self.fleet.load();
        let endpoints = fleet.endpoints.iter().enumerate();
        endpoints
            .map(|(index, endpoint)| {
                let (connections, idle) = endpoint.pool.count();
                EndpointStatus {
                    name: Arc::clone(&endpoint.name),
                    ejected: fleet.is_out(index, now),
                    unhealthy: endpoint.is_unhealthy(),
                    in_flight: endpoint.in_flight(),
                    connections,
                    idle,
                }
            })
            .collect()
    }

    /// How many endpoints are not left out.
    pub fn healthy(&self) -> usize {
        self.fleet.load().healthy(clock::instant())
    }

    /// The endpoints, unless none has been found yet.
    fn fleet_now(&self) -> Option<Arc<Fleet>> {
        let fleet = self.fleet.load_full();
        (self.discovery.is_none() || !fleet.endpoints.is_empty()).then_some(fleet)
    }

    /// The endpoints once they were looked for; none where they were not found, or not in time.
    async fn first_fleet(&self, deadline: Option<Instant>) -> Arc<Fleet> {
        let until = clock::instant() + self.connect_timeout;
        if let Some(discovery) = &self.discovery {
            discovery.first(deadline.map_or(until, |deadline| deadline.min(until))).await;
        }
        self.fleet.load_full()
    }
}

/// Closes what has been idle for too long, for as long as the upstream is there.
async fn sweep(fleet: Arc<ArcSwap<Fleet>>, idle_timeout: Duration) {
    let pause = (idle_timeout / 2).clamp(Duration::from_millis(100), Duration::from_secs(1));
    loop {
        tokio::time::sleep(pause).await;
        let now = clock::instant();
        for endpoint in &fleet.load_full().endpoints {
            endpoint.pool.sweep(now);
        }
    }
}
