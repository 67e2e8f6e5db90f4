//! The gateway: the table of built routes, swapped as a whole, and what a request does with it.
//!
//! Building a table takes what is equal from the one before: an upstream whose plan did not change keeps its
//! pools and latencies, a limiter its buckets. What attempts have spent is kept whatever changes. Stored
//! responses live in the process-wide store, under a namespace that is made from what decides their meaning,
//! so they are found again iff it is the same.

mod builder;
mod caches;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use self::builder::Builder;
use crate::error::Refusal;
use crate::http::{Refused, Request, Response};
use crate::layers::access_log::{AccessLog, LogWriter};
use crate::layers::admission::Gate;
use crate::layers::auth::Guard;
use crate::layers::budget::Ledger;
use crate::layers::cache::Store;
use crate::layers::cache::purge::{Absent, Control};
use crate::layers::compress::Kept;
use crate::layers::fixed::{ServerWide, ToHttps};
use crate::layers::hedge::Tally;
use crate::layers::idempotency::Answers;
use crate::layers::quota::Pace;
use crate::layers::rate_limit::Limiter;
use crate::layers::respond::{self, Respond};
use crate::layers::transform::Rewrite;
use crate::layers::{Inner, refuse::Refuse};
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::plan::{OriginPlan, Plan};
use crate::route::{Found, RouteTable};
use crate::stack::Stack;
use crate::upstream::{BuildError, Upstream};

/// Why a table cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// An upstream's files cannot be used.
    #[error(transparent)]
    Upstream(#[from] BuildError),
    /// A route leads to an upstream that the plan does not have: no validated plan does.
    #[error("route `{0}` leads nowhere")]
    NoUpstream(String),
}

/// The route that requests without one are logged under.
const UNROUTED: &str = "-";

/// What lives as long as the process and is shared by all tables.
#[derive(Clone, Debug)]
pub struct Shared {
    /// The metrics.
    pub metrics: Metrics,
    /// The budget of all bodies in memory.
    pub memory: Memory,
    /// The stored responses.
    pub store: Arc<Store>,
    /// Encoded forms of what is stored.
    pub kept: Arc<Kept>,
    /// The access log, unless it is off.
    pub log: Option<LogWriter>,
}

/// The gateway.
#[derive(Debug)]
pub struct Gateway {
    table: ArcSwap<Table>,
    generation: AtomicU64,
    /// What is stored for routes as they were before.
    absent: Absent,
    shared: Shared,
}

/// The routes and what they share.
#[derive(Debug)]
pub struct Table {
    routes: RouteTable<Arc<Route>>,
    /// Records the requests that no route takes.
    unrouted: AccessLog<()>,
    origins: BTreeMap<String, Arc<Origin>>,
    limiters: HashMap<(String, String), Arc<Limiter>>,
    /// What is known for hedging, by route and upstream.
    tallies: HashMap<(String, String), Arc<Tally>>,
    /// What is kept for idempotency keys, by route.
    answers: HashMap<String, Arc<Answers>>,
    /// Who watches which route.
    guards: HashMap<String, Arc<Guard>>,
    plan: Plan,
}

/// A built route.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// The upstream it leads to, unless it answers itself.
    pub upstream: Option<String>,
    /// Its caches, for operators: one, or one a part.
    caches: Vec<Control>,
    /// The cache that clients may purge with a token, if it is one.
    purge: Option<Control>,
    /// Whether it has parts: what is stored is found under their paths, and not under its own.
    has_parts: bool,
    rewrite: Option<Rewrite>,
    stack: Stack,
}

/// A built upstream.
#[derive(Debug)]
pub struct Origin {
    plan: OriginPlan,
    /// Its endpoints.
    pub upstream: Arc<Upstream>,
    /// Its admission.
    pub gate: Arc<Gate>,
    /// Its own rate limit, where it has one.
    pace: Option<Arc<Pace>>,
    /// What its attempts earned and spent, of all routes.
    ledger: Arc<Ledger>,
}

impl Gateway {
    /// Builds the first table.
    ///
    /// # Errors
    /// When an upstream's TLS files cannot be used.
    pub fn from_plan(plan: &Plan, shared: Shared) -> Result<Self, TableError> {
        let table = Table::build(plan, None, &shared)?;
        let (table, generation) = (ArcSwap::from_pointee(table), AtomicU64::new(1));
        Ok(Self { table, generation, absent: Absent::default(), shared })
    }

    /// Builds a table from `plan` aside and swaps it in; requests in flight end on the one they began with.
    ///
    /// # Errors
    /// When an upstream's TLS files cannot be used; the table in use stays.
    pub fn swap(&self, plan: &Plan) -> Result<(), TableError> {
        let before = self.table.load_full();
        let table = Table::build(plan, Some(&before), &self.shared)?;
        self.absent.change(&before.namespaces(), &table.namespaces(), self.shared.store.purges());
        self.table.store(Arc::new(table));
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.forget_removed(plan);
        Ok(())
    }

    /// Takes the series of routes and upstreams that are gone out of the metrics.
    fn forget_removed(&self, plan: &Plan) {
        self.shared.metrics.retain(|_, labels| {
            let route = labels
                .get("route")
                .is_none_or(|name| name == UNROUTED || plan.routes.iter().any(|route| route.is_named(name)));
            route && labels.get("upstream").is_none_or(|name| plan.upstreams.contains_key(name))
        });
    }

    /// How many tables have been in use.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The table in use.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Answers a request about the server as a whole (`OPTIONS *`).
    pub async fn server_wide(&self, request: Request) -> Response {
        let id = request.id.clone();
        let stack = self.table.load().unrouted.around(ServerWide);
        stack.send(request).await.unwrap_or_else(|error| respond::response(&error, &id))
    }

    /// Answers with a redirect to the same URL at `https`.
    pub async fn to_https(&self, request: Request) -> Response {
        let id = request.id.clone();
        let stack = self.table.load().unrouted.around(Respond::new(ToHttps));
        stack.send(request).await.unwrap_or_else(|error| respond::response(&error, &id))
    }

    /// Answers a request.
    pub async fn call(&self, mut request: Request) -> Response {
        let id = request.id.clone();
        let found = self.find(&mut request);
        let answer = match &found {
            Ok(route) => match &route.stack {
                Stack::Upstream(stack) => stack.send(request).await,
                Stack::Aggregate(stack) => stack.send(request).await,
                Stack::Fixed(stack) => stack.send(request).await,
            },
            Err(refusal) => {
                let table = self.table.load_full();
                let stack = table.unrouted.around(Respond::new(Refuse(refusal.clone())));
                stack.send(request).await
            }
        };
        // `Respond` has made a response of every error; this is for the type.
        answer.unwrap_or_else(|error| respond::response(&error, &id))
    }

    fn find(&self, request: &mut Request) -> Result<Arc<Route>, Refusal> {
        let table = self.table.load();
        let target = &request.target;
        match table.routes.find(
            target.host(),
            target.path(),
            &request.method,
            &request.headers,
            target.query(),
        ) {
            Found::Route { value, params } => {
                request.params = params;
                request.may_purge = value.purge.as_ref().is_some_and(|cache| cache.may_purge(request));
                Ok(value.clone())
            }
            Found::MethodNotAllowed { allow } => Err(Refusal::MethodNotAllowed(allow)),
            Found::NotFound => Err(Refusal::NoRoute),
        }
    }

    /// Counts a connection that was ended for what its client did.
    pub fn refused_connection(&self, reason: &'static str) {
        self.shared
            .metrics
            .counter(
                "forebay_refused_connections_total",
                "Connections that were ended for what their client did.",
                &[("reason", reason)],
            )
            .increment();
    }

    /// The response to a request that was refused at the border; it is counted and logged like any other.
    pub fn refused(&self, refused: &Refused) -> Response {
        let reason = [("reason", refused.error.as_str())];
        self.shared
            .metrics
            .counter("forebay_refused_requests_total", "Requests whose head broke a rule.", &reason)
            .increment();
        let response = respond::response(&refused.error, &refused.id);
        self.table.load().unrouted.refused(refused, &response);
        response
    }
}

impl Table {
    /// The plan it was built from.
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The routes, in the order in which they win.
    pub fn routes(&self) -> impl Iterator<Item = &Route> {
        self.routes.iter().map(|(_, _, route)| &**route)
    }

    /// What tells the entries of its routes apart.
    fn namespaces(&self) -> BTreeSet<u64> {
        self.routes().flat_map(|route| &route.caches).map(Control::namespace).collect()
    }

    /// The upstreams, by name.
    pub const fn origins(&self) -> &BTreeMap<String, Arc<Origin>> {
        &self.origins
    }

    fn build(plan: &Plan, before: Option<&Self>, shared: &Shared) -> Result<Self, TableError> {
        let mut origins = BTreeMap::new();
        for (name, origin) in &plan.upstreams {
            origins.insert(name.clone(), Origin::build(name, origin, before, &shared.metrics)?);
        }
        let mut builder = Builder {
            origins: &origins,
            before,
            shared,
            limiters: HashMap::new(),
            tallies: HashMap::new(),
            answers: HashMap::new(),
            guards: HashMap::new(),
            tenants: Vec::new(),
        };
        let mut routes = Vec::new();
        for route in &plan.routes {
            let (stack, caches) = builder.stack(route)?;
            let has_parts = matches!(stack, Stack::Aggregate(_));
            let purge = caches.iter().find(|cache| !has_parts && cache.has_purge_token()).cloned();
            let built = Arc::new(Route {
                name: route.name.clone(),
                upstream: route.upstream().map(str::to_owned),
                caches,
                purge,
                has_parts,
                rewrite: route.transform.rewrite.clone(),
                stack,
            });
            routes.push((route.matching.clone(), route.priority, built));
        }
        let routes = RouteTable::new(routes);
        let Builder { limiters, tallies, guards, answers, .. } = builder;
        let secrets = plan.routes.iter().filter_map(|route| route.auth.secret_parameter());
        let unrouted =
            AccessLog::new(UNROUTED, None, shared.log.clone(), &shared.metrics, ()).hiding(secrets);
        Ok(Self { routes, unrouted, origins, limiters, tallies, guards, answers, plan: plan.clone() })
    }
}

impl Origin {
    /// Whether its endpoints are what the plan says, and its TLS files what they were.
    fn still_means(&self, plan: &OriginPlan) -> bool {
        self.plan.endpoints == plan.endpoints && self.upstream.files_are_unchanged(&plan.endpoints)
    }

    fn build(
        name: &str,
        origin: &OriginPlan,
        before: Option<&Table>,
        metrics: &Metrics,
    ) -> Result<Arc<Self>, TableError> {
        let old = before.and_then(|table| table.origins.get(name));
        let upstream = match old.filter(|old| old.still_means(origin)) {
            Some(old) => old.upstream.clone(),
            None => Upstream::build(name, &origin.endpoints, metrics)?,
        };
        let gate = match old.filter(|old| old.plan.admission == origin.admission) {
            Some(old) => old.gate.clone(),
            None => Gate::new(name, &origin.admission, metrics),
        };
        let ledger = old.map(|old| old.ledger.clone()).unwrap_or_default();
        let pace = origin.quota.map(|plan| {
            let kept = old.and_then(|old| old.pace.clone()).filter(|pace| *pace.plan() == plan);
            kept.unwrap_or_else(|| Arc::new(Pace::new(name, &plan, metrics)))
        });
        Ok(Arc::new(Self { plan: origin.clone(), upstream, gate, pace, ledger }))
    }
}
