//! Sockets and lifetimes: what accepts, serves, reloads and ends.
//!
//! [`Server::start`] binds and builds everything or fails; [`Server::reload`] changes it in place;
//! [`Server::stop`] drains. A listener's way: `listener` → `connection` → `ingress` → the gateway.

pub mod admin;
pub mod client_address;
pub mod connection;
pub mod ingress;
pub mod io;
pub mod listener;
pub mod reload;
pub mod shutdown;
pub mod tls;
pub mod tunnel;
pub mod watch;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{AdminState, EndpointState, EndpointStatus, RouteStatus, Snapshot, UpstreamStatus};
use crate::gateway::{Gateway, Origin, Route, Shared, TableError};
use crate::layers::access_log::LogWriter;
use crate::layers::cache::Store;
use crate::lifecycle::Lifecycle;
use crate::metrics::{self, Metrics};
use crate::plan::{ListenerPlan, Plan};
use crate::upstream;

use client_address::Trusted;
use connection::Context;
use ingress::Border;
use listener::{Listener, Serving};
use shutdown::Drained;
use tls::CertificateError;
use tunnel::Tunnels;
use watch::{Timeouts, Watch};

/// How long the access log may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Why the server cannot start, or a reload not be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A certificate or key cannot be used.
    #[error("cannot use a certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// The routes and upstreams cannot be built.
    #[error("cannot build the routes: {0}")]
    Table(#[from] TableError),
    /// The access log cannot be opened.
    #[error("cannot open the access log: {0}")]
    Log(std::io::Error),
}

/// A running gateway.
#[derive(Debug)]
pub struct Server {
    plan: Plan,
    gateway: Arc<Gateway>,
    shared: Shared,
    listeners: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    lifecycle: Lifecycle,
    watch: Watch,
    tunnels: Tunnels,
    slots: Arc<Semaphore>,
    connections: TaskTracker,
    stop: CancellationToken,
}

/// A listener that accepts.
#[derive(Debug)]
struct Bound {
    plan: ListenerPlan,
    address: SocketAddr,
    serving: Arc<ArcSwap<Serving>>,
    stop: CancellationToken,
}

impl Server {
    /// Binds and builds everything, and begins to serve.
    ///
    /// # Errors
    /// When an address, a certificate, an upstream or the log cannot be used. Nothing is left running then.
    pub async fn start(plan: Plan) -> Result<Self, StartError> {
        let metrics = Metrics::default();
        metrics::process::register(&metrics);
        let log = LogWriter::start(&plan.log, &metrics).map_err(StartError::Log)?;
        let store = Arc::new(Store::new(&plan.store, &metrics));
        let shared = Shared { metrics: metrics.clone(), store, log };
        let gateway = Arc::new(Gateway::from_plan(&plan, shared.clone())?);
        let watch = Watch::default();
        let stop = CancellationToken::new();
        let mut server = Self {
            gateway,
            shared,
            listeners: Vec::new(),
            addresses: Vec::new(),
            admin: None,
            lifecycle: Lifecycle::default(),
            watch: watch.clone(),
            tunnels: Tunnels::new(&metrics),
            slots: Arc::new(Semaphore::new(plan.server.max_connections.min(Semaphore::MAX_PERMITS))),
            connections: TaskTracker::new(),
            stop: stop.clone(),
            plan: plan.clone(),
        };
        let fresh = server.bind(&plan)?;
        server.admin = server.serve_admin(&plan)?;
        tokio::spawn(stop.run_until_cancelled_owned(watch.run()));
        server.listeners =
            fresh.into_iter().map(|(listener, bound)| server.accept(listener, bound)).collect();
        server.addresses = server.listeners.iter().map(|bound| bound.address).collect();
        server.lifecycle.ready();
        Ok(server)
    }

    /// The listeners' addresses, in the config's order.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The admin listener's address.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Opens log files again.
    pub fn reopen_logs(&self) {
        if let Some(log) = &self.shared.log {
            log.reopen();
        }
    }

    /// Counts a reload that was not made because its config is bad.
    pub fn reload_refused(&self) {
        self.count_reload("refused");
    }

    fn count_reload(&self, result: &str) {
        let labels = [("result", result)];
        self.shared.metrics.counter("forebay_reloads_total", "Config reloads.", &labels).increment();
    }

    /// Changes the running server into what `plan` says, all or nothing. Requests in flight, upgraded
    /// connections and all state whose plan is equal are untouched.
    ///
    /// # Errors
    /// When an address, a certificate or an upstream cannot be used; everything stays as it was.
    pub async fn reload(&mut self, plan: Plan) -> Result<(), StartError> {
        let result = self.try_reload(plan);
        self.count_reload(if result.is_ok() { "applied" } else { "failed" });
        result
    }

    fn try_reload(&mut self, plan: Plan) -> Result<(), StartError> {
        let mut kept = std::mem::take(&mut self.listeners);
        let (mut swaps, mut fresh) = (Vec::new(), Vec::new());
        let mut build = || -> Result<(), StartError> {
            let mut left: Vec<usize> = (0..kept.len()).collect();
            for listener in &plan.listeners {
                let serving = self.serving(&plan, listener)?;
                let same =
                    |index: &usize| kept.get(*index).is_some_and(|old| old.plan.address == listener.address);
                match left.iter().position(same) {
                    Some(at) => swaps.push((left.remove(at), listener.clone(), serving)),
                    None => fresh.push(self.bind_one(listener, serving)?),
                }
            }
            Ok(self.gateway.swap(&plan)?)
        };
        if let Err(error) = build() {
            self.listeners = kept;
            return Err(error);
        }
        warn_of_restarts(&self.plan, &plan);
        let mut listeners = Vec::new();
        for (index, listener, serving) in swaps {
            if let Some(bound) = kept.get_mut(index) {
                bound.serving.store(Arc::new(serving));
                bound.plan = listener;
            }
        }
        for bound in kept {
            if plan.listeners.contains(&bound.plan) {
                listeners.push(bound);
            } else {
                bound.stop.cancel();
            }
        }
        for (listener, bound) in fresh {
            listeners.push(self.accept(listener, bound));
        }
        self.addresses = listeners.iter().map(|bound| bound.address).collect();
        self.listeners = listeners;
        self.plan = plan;
        Ok(())
    }

    /// Stops: says so, lets what is in flight finish within `server.drain_timeout`, or until `impatient`
    /// ends.
    pub async fn stop(self, impatient: impl Future<Output = ()>) -> Drained {
        self.lifecycle.draining();
        for listener in &self.listeners {
            listener.stop.cancel();
        }
        let timeout = self.plan.server.drain_timeout;
        let drained =
            shutdown::drain(&self.watch, &self.connections, &self.tunnels, timeout, impatient).await;
        self.stop.cancel();
        if let Some(log) = self.shared.log.clone() {
            // Waits for its thread to write what is left.
            let _ = tokio::task::spawn_blocking(move || log.shutdown(LOG_PATIENCE)).await;
        }
        info!(?drained, "stopped");
        drained
    }

    fn bind(&self, plan: &Plan) -> Result<Vec<(Listener, Bound)>, StartError> {
        plan.listeners.iter().map(|listener| self.bind_one(listener, self.serving(plan, listener)?)).collect()
    }

    fn bind_one(&self, plan: &ListenerPlan, serving: Serving) -> Result<(Listener, Bound), StartError> {
        let listener = Listener::bind(plan.address, &self.shared.metrics)
            .map_err(|error| StartError::Bind { address: plan.address, error })?;
        let bound = Bound {
            plan: plan.clone(),
            address: listener.address(),
            serving: Arc::new(ArcSwap::from_pointee(serving)),
            stop: self.stop.child_token(),
        };
        Ok((listener, bound))
    }

    fn accept(&self, listener: Listener, bound: Bound) -> Bound {
        info!(address = %bound.address, tls = !bound.plan.certificates.is_empty(), "listening");
        let accepting = listener.run(
            bound.serving.clone(),
            self.slots.clone(),
            self.connections.clone(),
            bound.stop.clone(),
        );
        tokio::spawn(accepting);
        bound
    }

    fn serving(&self, plan: &Plan, listener: &ListenerPlan) -> Result<Serving, StartError> {
        let server = &plan.server;
        let context = Context {
            gateway: self.gateway.clone(),
            border: Border { server: server.clone(), trusted: Trusted::new(listener.trusted.clone()) },
            http1: listener.http1,
            http2: listener.http2,
            watch: self.watch.clone(),
            timeouts: Timeouts::new(server.header_timeout, server.idle_timeout, server.write_timeout),
            tunnels: self.tunnels.clone(),
        };
        Ok(Serving { context: Arc::new(context), tls: tls::server_config(listener)? })
    }

    fn serve_admin(&self, plan: &Plan) -> Result<Option<SocketAddr>, StartError> {
        let Some(address) = plan.admin else { return Ok(None) };
        let state = AdminState::new(self.shared.metrics.clone(), self.lifecycle.clone(), {
            let gateway = self.gateway.clone();
            move || snapshot(&gateway)
        });
        let bound = admin::serve(address, state, self.stop.child_token())
            .map_err(|error| StartError::Bind { address, error })?;
        info!(address = %bound, "admin");
        Ok(Some(bound))
    }
}

/// What the admin API shows of the gateway.
fn snapshot(gateway: &Gateway) -> Snapshot {
    let table = gateway.table();
    let route = |route: &Route| RouteStatus { name: route.name.clone(), upstream: route.upstream.clone() };
    let endpoint = |status: upstream::EndpointStatus| EndpointStatus {
        endpoint: status.name.to_string(),
        state: if status.ejected { EndpointState::Ejected } else { EndpointState::Healthy },
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

/// What a reload cannot change.
fn warn_of_restarts(old: &Plan, new: &Plan) {
    let changed = [
        ("server.workers", old.server.workers != new.server.workers),
        ("server.max_connections", old.server.max_connections != new.server.max_connections),
        ("admin.listen", old.admin != new.admin),
        ("log", old.log != new.log),
        ("cache", old.store != new.store),
    ];
    for (key, _) in changed.into_iter().filter(|(_, changed)| *changed) {
        warn!(key, "changed, which needs a restart");
    }
}
