//! Sockets and lifetimes: what accepts, serves, reloads and ends.
//!
//! [`Server::start`] binds and builds everything or fails; [`Server::reload`] changes it in place;
//! [`Server::stop`] drains. A listener's way: `listener` → `connection` → `ingress` → the gateway.

pub mod addresses;
pub mod admin;
pub mod client_address;
pub mod client_certificate;
pub mod connection;
pub mod descriptors;
mod exchange;
pub mod frames;
pub mod framing;
pub mod ingress;
pub mod io;
mod lending;
pub mod listener;
pub mod notify;
mod outgoing;
mod phase;
mod pretence;
pub mod proxy_protocol;
pub mod reload;
pub mod shutdown;
mod simulated;
pub mod sockets;
pub mod streams;
pub mod tls;
pub mod tunnel;
pub mod watch;
pub mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::admin::AdminState;
use crate::gateway::{Gateway, Shared, TableError};
use crate::layers::access_log::LogWriter;
use crate::layers::cache::Store;
use crate::layers::compress::Kept;
use crate::lifecycle::Lifecycle;
use crate::memory::Memory;
use crate::metrics::{self, Metrics};
use crate::plan::{AdminPlan, ListenerPlan, Plan};

use addresses::Addresses;
use client_address::Trusted;
use connection::Context;
use ingress::Border;
use listener::{Ending, Listener, Serving, Work};
use shutdown::Drained;
use sockets::{Inherited, Leaving};
use tls::{CertificateError, Tickets};
use tunnel::Tunnels;
use watch::{Limits, ListenerId, Watch};

/// How long the access log may take to write its last lines.
const LOG_PATIENCE: Duration = Duration::from_secs(5);

/// Why the server cannot start, or a reload not be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("cannot listen on {address} (`{key}`): {error}")]
    Bind {
        /// Where the config says so.
        key: &'static str,
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
    /// The plan it was started with, which still holds for what a reload cannot change.
    first: Plan,
    gateway: Arc<Gateway>,
    shared: Shared,
    listeners: Vec<Bound>,
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    lifecycle: Lifecycle,
    watch: Watch,
    tunnels: Tunnels,
    slots: Arc<Semaphore>,
    addresses_open: Addresses,
    tickets: Tickets,
    /// How many listeners there have been.
    listener_count: AtomicU64,
    /// Sockets that were handed over to us.
    inherited: Inherited,
    listening: TaskTracker,
    connections: TaskTracker,
    /// Connections that come after their listener was told to leave.
    late: TaskTracker,
    /// Has listeners whose socket was handed over let go of it.
    let_go: CancellationToken,
    stop: CancellationToken,
}

/// A listener that accepts.
#[derive(Debug)]
struct Bound {
    id: ListenerId,
    plan: ListenerPlan,
    address: SocketAddr,
    serving: Arc<ArcSwap<Serving>>,
    leaving: Leaving,
    leave: CancellationToken,
    /// Ends it without waiting for what is on its way.
    stop: CancellationToken,
}

/// What becomes of a listener at a reload.
enum Fate {
    /// It stays, in this place among the old ones, and serves new connections like this.
    Kept(usize, Serving),
    /// It is new.
    Fresh(Box<(Listener, Bound)>),
}

impl Server {
    /// Binds and builds everything, and begins to serve.
    ///
    /// # Errors
    /// When an address, a certificate, an upstream or the log cannot be used. Nothing is left running then.
    pub async fn start(plan: Plan) -> Result<Self, StartError> {
        Self::start_on(plan, Inherited::default()).await
    }

    /// The same, on sockets that were handed over, where they are the plan's.
    ///
    /// # Errors
    /// As for [`start`](Self::start).
    pub async fn start_on(plan: Plan, inherited: Inherited) -> Result<Self, StartError> {
        let metrics = Metrics::default();
        metrics::process::register(&metrics);
        let log = LogWriter::start(&plan.log, &metrics).map_err(StartError::Log)?;
        let memory = Memory::new(plan.server.memory_limit);
        metrics::memory::register(&metrics, &memory);
        let store = Arc::new(Store::new(&plan.store, memory.clone(), &metrics));
        let places = plan.server.workers.unwrap_or_else(processors).div_ceil(2);
        let kept = Arc::new(Kept::new(plan.kept, memory.clone(), places));
        let shared = Shared { metrics: metrics.clone(), memory, store, kept, log };
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
            addresses_open: Addresses::default(),
            tickets: Tickets::default(),
            inherited,
            listening: TaskTracker::new(),
            connections: TaskTracker::new(),
            late: TaskTracker::new(),
            let_go: stop.child_token(),
            stop: stop.clone(),
            plan: plan.clone(),
            first: plan.clone(),
            listener_count: AtomicU64::new(0),
        };
        let bind = |listener| server.bind(&plan, listener);
        let fresh: Vec<_> = plan.listeners.iter().map(bind).collect::<Result<_, _>>()?;
        server.inherited.warn_of_unused(&plan.listeners);
        server.admin = server.serve_admin(&plan)?;
        tokio::spawn(stop.run_until_cancelled_owned(watch.run()));
        // The sockets listen already: whoever reads that they do may ask whether we are ready.
        server.lifecycle.ready();
        server.listeners =
            fresh.into_iter().map(|(listener, bound)| server.accept(listener, bound)).collect();
        server.addresses = server.listeners.iter().map(|bound| bound.address).collect();
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
        // Nothing is changed before all that can fail has been done.
        let fates = self.fates(&plan)?;
        self.gateway.swap(&plan)?;
        reload::warn_of_restarts(&self.first, &plan);
        let mut before: Vec<Option<Bound>> =
            std::mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for (listener, fate) in plan.listeners.iter().zip(fates) {
            let bound = match fate {
                Fate::Kept(index, serving) => {
                    let Some(bound) = before.get_mut(index).and_then(Option::take) else { continue };
                    bound.serving.store(Arc::new(serving));
                    Bound { plan: listener.clone(), ..bound }
                }
                Fate::Fresh(fresh) => self.accept(fresh.0, fresh.1),
            };
            self.listeners.push(bound);
        }
        for removed in before.into_iter().flatten() {
            info!(address = %removed.address, "no longer listening");
            removed.leave.cancel();
            if removed.leaving == Leaving::HandsBack {
                removed.stop.cancel();
            }
            self.watch.drain_listener(removed.id);
        }
        self.addresses = self.listeners.iter().map(|bound| bound.address).collect();
        self.plan = plan;
        Ok(())
    }

    /// What is to become of each listener of a plan: one that has its address is kept, connections and all.
    fn fates(&self, plan: &Plan) -> Result<Vec<Fate>, StartError> {
        let mut left: Vec<usize> = (0..self.listeners.len()).collect();
        let fate = |listener: &ListenerPlan| {
            let same = |index: &usize| {
                let old = self.listeners.get(*index).map(|old| &old.plan);
                old.is_some_and(|old| old.address == listener.address && old.socket == listener.socket)
            };
            Ok(match left.iter().position(same).map(|at| left.remove(at)) {
                Some(index) => {
                    let id = self.listeners.get(index).map(|old| old.id).unwrap_or_default();
                    Fate::Kept(index, self.serving(plan, listener, id)?)
                }
                None => Fate::Fresh(Box::new(self.bind(plan, listener)?)),
            })
        };
        plan.listeners.iter().map(fate).collect()
    }

    /// Stops: says so, lets what is in flight finish within `server.drain_timeout`, or until `impatient`
    /// ends.
    pub async fn stop(self, impatient: impl Future<Output = ()>) -> Drained {
        self.lifecycle.draining();
        for listener in &self.listeners {
            listener.leave.cancel();
        }
        let work = shutdown::Work {
            watch: &self.watch,
            listening: &self.listening,
            connections: &self.connections,
            late: &self.late,
            tunnels: &self.tunnels,
            let_go: &self.let_go,
        };
        let drained = shutdown::drain(work, self.plan.server.drain_timeout, impatient).await;
        self.stop.cancel();
        if let Some(log) = self.shared.log.clone() {
            // Waits for its thread to write what is left.
            let _ = tokio::task::spawn_blocking(move || log.shutdown(LOG_PATIENCE)).await;
        }
        info!(?drained, "stopped");
        drained
    }

    fn bind(&self, plan: &Plan, listener: &ListenerPlan) -> Result<(Listener, Bound), StartError> {
        let id = ListenerId(self.listener_count.fetch_add(1, Ordering::Relaxed));
        let serving = self.serving(plan, listener, id)?;
        let address = listener.address;
        let socket = Listener::bind(listener, &self.inherited, &self.shared.metrics)
            .map_err(|error| StartError::Bind { key: "listener.address", address, error })?;
        let leaving = socket.leaving();
        let above = if leaving == Leaving::HandsBack { &self.let_go } else { &self.stop };
        let bound = Bound {
            id,
            plan: listener.clone(),
            address: socket.address(),
            serving: Arc::new(ArcSwap::from_pointee(serving)),
            leaving,
            leave: CancellationToken::new(),
            stop: above.child_token(),
        };
        Ok((socket, bound))
    }

    fn accept(&self, listener: Listener, bound: Bound) -> Bound {
        info!(address = %bound.address, tls = !bound.plan.certificates.is_empty(), "listening");
        let work = Work {
            serving: bound.serving.clone(),
            slots: self.slots.clone(),
            connections: self.connections.clone(),
            late: self.late.clone(),
        };
        let ending = Ending { leave: bound.leave.clone(), stop: bound.stop.clone() };
        self.listening.spawn(listener.run(work, ending));
        bound
    }

    fn serving(&self, plan: &Plan, listener: &ListenerPlan, id: ListenerId) -> Result<Serving, StartError> {
        let server = &plan.server;
        let tls = tls::server(listener, &self.tickets)?;
        let border = Border {
            server: server.clone(),
            trusted: Trusted::new(listener.trusted.clone()),
            certificates: tls.as_ref().map(|tls| tls.certificates.clone()),
        };
        let context = Context {
            gateway: self.gateway.clone(),
            border,
            http1: listener.http1,
            http2: listener.http2,
            watch: self.watch.clone(),
            limits: Limits::new(server),
            tunnels: self.tunnels.clone(),
            listener: id,
            addresses: self.addresses_open.clone(),
            proxy_protocol: listener.proxy_protocol,
            tells_certificate: listener.client_auth.as_ref().is_some_and(|auth| auth.told),
            redirect_to_https: listener.redirect_to_https,
            hsts: listener.hsts.clone(),
        };
        Ok(Serving { context: Arc::new(context), tls: tls.map(|tls| tls.config) })
    }

    fn serve_admin(&self, plan: &Plan) -> Result<Option<SocketAddr>, StartError> {
        let Some(AdminPlan { address, token }) = plan.admin.clone() else { return Ok(None) };
        let state = AdminState::new(self.shared.metrics.clone(), self.lifecycle.clone(), {
            let gateway = self.gateway.clone();
            move || admin::snapshot(&gateway)
        })
        .with_caches(admin::GatewayCaches(self.gateway.clone()), token);
        // A process that is about to replace another one gets the address when that is gone.
        let patient = plan.listeners.iter().any(|listener| listener.reuse_port);
        admin::serve(address, state, patient, self.stop.child_token()).map_err(|error| StartError::Bind {
            key: "admin.listen",
            address,
            error,
        })
    }
}

/// How many processors there are for us.
fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}
