//! The plan: the config, validated and complete, without any I/O. Two plans are equal iff they mean the same,
//! which is what a reload goes by when it decides what state to keep.

mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::Config;
use crate::config::route::RouteConfig;
use crate::config::upstream::UpstreamConfig;
use crate::http::normalize::PathRules;
use crate::layers::access_log::plan::{Destination, LogPlan};
use crate::layers::admission::plan::AdmissionPlan;
use crate::layers::cache::plan::{CachePlan, StorePlan};
use crate::layers::cache::purge::PurgePlan;
use crate::layers::fixed::{FixedPlan, plan_redirect, plan_respond};
use crate::layers::hedge::HedgePlan;
use crate::layers::rate_limit::plan::LimitPlan;
use crate::layers::retry::plan::RetryPlan;
use crate::layers::transform::plan::TransformPlan;
use crate::layers::{access_log, admission, cache, deadline, hedge, rate_limit, retry, transform};
use crate::report::{Path, Report, nearest};
use crate::route::lint::Candidate;
use crate::route::plan::MatchPlan;
use crate::units::Secret;
use crate::upstream::plan::UpstreamPlan;
use crate::{route, upstream};

/// Everything the gateway is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The process.
    pub server: ServerPlan,
    /// Where the admin listener is, if there is one.
    pub admin: Option<AdminPlan>,
    /// The access log.
    pub log: LogPlan,
    /// Where clients connect.
    pub listeners: Vec<ListenerPlan>,
    /// The store of responses.
    pub store: StorePlan,
    /// The APIs behind, by name.
    pub upstreams: BTreeMap<String, OriginPlan>,
    /// The routes, in the file's order.
    pub routes: Vec<RoutePlan>,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPlan {
    /// Where it listens.
    pub address: SocketAddr,
    /// What writes take; none if empty, and then `address` is a loopback address.
    pub token: Secret,
}

/// Limits and timeouts of all listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPlan {
    /// Threads; `None`: one a processor.
    pub workers: Option<usize>,
    /// Connections open at once.
    pub max_connections: usize,
    /// For a head.
    pub header_timeout: Duration,
    /// Between two reads of a request body.
    pub body_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Without progress of a write.
    pub write_timeout: Duration,
    /// Without a byte either way on an upgraded connection.
    pub tunnel_timeout: Duration,
    /// The largest header section, in bytes.
    pub max_header_bytes: usize,
    /// The most header fields.
    pub max_headers: usize,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// For requests in flight after the signal to stop.
    pub drain_timeout: Duration,
    /// For all bodies in memory together, in bytes.
    pub memory_limit: u64,
    /// How paths are normalised.
    pub paths: PathRules,
}

/// An address where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// The address.
    pub address: SocketAddr,
    /// Whether HTTP/1 is spoken.
    pub http1: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Certificates; none: clear text.
    pub certificates: Vec<CertificatePlan>,
    /// Networks of trusted proxies.
    pub trusted: Vec<IpNet>,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePlan {
    /// The chain's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

/// An upstream: where its endpoints are and what it can take.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginPlan {
    /// Endpoints and how they are used.
    pub endpoints: UpstreamPlan,
    /// Backpressure.
    pub admission: AdmissionPlan,
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Its name.
    pub name: String,
    /// Which requests it takes.
    pub matching: MatchPlan,
    /// Higher ones are tried first.
    pub priority: i32,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// What happens to requests and responses on the way.
    pub transform: TransformPlan,
    /// For the whole request.
    pub timeout: Duration,
    /// Rate limits.
    pub limits: Vec<LimitPlan>,
    /// Who answers.
    pub answer: AnswerPlan,
}

impl RoutePlan {
    /// The name of the upstream that answers, unless the route answers itself.
    pub fn upstream(&self) -> Option<&str> {
        match &self.answer {
            AnswerPlan::Upstream { name, .. } => Some(name),
            AnswerPlan::Fixed(_) => None,
        }
    }
}

/// Who answers a route's requests.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerPlan {
    /// An upstream, by name, through cache and retries.
    Upstream {
        /// The upstream's name.
        name: String,
        /// Caching, unless it is off.
        cache: Option<Arc<CachePlan>>,
        /// Retries.
        retry: RetryPlan,
        /// Hedging, unless it is off.
        hedge: Option<HedgePlan>,
    },
    /// We do, with a redirect or a fixed response.
    Fixed(FixedPlan),
}

impl Plan {
    /// Validates a config. There is a plan iff the report has no errors.
    pub fn build(config: &Config) -> (Option<Self>, Report) {
        let mut report = Report::new();
        let root = Path::root();
        let server = sockets::server(&config.server, &root.key("server"), &mut report);
        PurgePlan::plan(&config.cache.purge, &root.key("cache").key("purge"), &mut report);
        let plan = Self {
            admin: sockets::admin(&config.admin, &root.key("admin"), &mut report),
            log: access_log::plan::plan(&config.log, &root.key("log"), &mut report),
            listeners: sockets::listeners(&config.listener, &root.key("listener"), &mut report),
            store: cache::plan::plan_store(
                &config.cache,
                config.server.memory_limit,
                &root.key("cache"),
                &mut report,
            ),
            upstreams: upstreams(&config.upstream, &root.key("upstream"), &mut report),
            routes: routes(config, &server, &root.key("route"), &mut report),
            server,
        };
        (if report.has_errors() { None } else { Some(plan) }, report)
    }

    /// Makes the paths of files that the config names relative to `folder`, where the config is.
    pub fn resolve_files(&mut self, folder: &std::path::Path) {
        for certificate in self.listeners.iter_mut().flat_map(|listener| &mut listener.certificates) {
            certificate.cert = folder.join(&certificate.cert);
            certificate.key = folder.join(&certificate.key);
        }
        for origin in self.upstreams.values_mut() {
            let tls = &mut origin.endpoints.tls;
            let identity = tls.identity.iter_mut().flat_map(|(cert, key)| [cert, key]);
            for file in tls.ca.iter_mut().chain(identity) {
                *file = folder.join(&*file);
            }
        }
        if let Destination::File(file) = &mut self.log.destination {
            *file = folder.join(&*file);
        }
    }
}

fn upstreams(
    configs: &BTreeMap<String, UpstreamConfig>,
    at: &Path,
    report: &mut Report,
) -> BTreeMap<String, OriginPlan> {
    let plan = |(name, config): (&String, &UpstreamConfig)| {
        let at = at.key(name);
        let endpoints = upstream::plan::plan(&config.endpoints, &at, report);
        let admission = admission::plan::plan(&config.concurrency, &at.key("concurrency"), report);
        (name.clone(), OriginPlan { endpoints, admission })
    };
    configs.iter().map(plan).collect()
}

fn routes(config: &Config, server: &ServerPlan, at: &Path, report: &mut Report) -> Vec<RoutePlan> {
    if config.route.is_empty() {
        report.warn(at, "there is no route, so every request gets 404", "add [[route]]");
    }
    let mut names = BTreeSet::new();
    let mut plans = Vec::new();
    for (index, route) in config.route.iter().enumerate() {
        let at = at.index(index);
        if route.name.is_empty() {
            report.error(&at.key("name"), "the route's name is empty");
        } else if !names.insert(route.name.as_str()) {
            report.error_with_hint(
                &at.key("name"),
                format!("two routes are named `{}`", route.name),
                "log and metrics tell routes apart by name",
            );
        }
        plans.push(one_route(route, config, server, &at, report));
    }
    let mut candidates = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        let RoutePlan { name, matching, priority, .. } = plan;
        candidates.push(Candidate { plan: matching, priority: *priority, name, at: at.index(index) });
    }
    route::lint::unreachable(&candidates, report);
    plans
}

fn one_route(
    route: &RouteConfig,
    config: &Config,
    server: &ServerPlan,
    at: &Path,
    report: &mut Report,
) -> RoutePlan {
    let mut matching = route::plan::plan(&route.match_, &at.key("match"), report);
    let names: Vec<Arc<str>> = matching.path.names().cloned().collect();
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let (rewrite, requests, responses) = (&route.rewrite, &route.request_headers, &route.response_headers);
    let transform = transform::plan::plan(rewrite, requests, responses, &names, at, report);
    let answer = answer(route, config, &names, at, report);
    matching.capture_only(|name| {
        let answers = matches!(&answer, AnswerPlan::Fixed(fixed) if fixed.uses(name));
        answers || transform.uses(name)
    });
    RoutePlan {
        name: route.name.clone(),
        matching,
        priority: route.priority,
        max_body: route.max_body.map_or(server.max_body, |size| size.bytes()),
        transform,
        timeout: deadline::plan(route.timeout, &at.key("timeout"), report),
        limits: rate_limit::plan::plan(&route.rate_limit, &at.key("rate_limit"), report),
        answer,
    }
}

fn answer(
    route: &RouteConfig,
    config: &Config,
    names: &[&str],
    at: &Path,
    report: &mut Report,
) -> AnswerPlan {
    let mut cache = cache::plan::plan(&route.cache, &at.key("cache"), report);
    if route.cache.purge.is_none() {
        // What is wrong with it is reported once, for all routes.
        cache.purge = PurgePlan::plan(&config.cache.purge, &Path::root(), &mut Report::new());
    }
    let retry = retry::plan::plan(&route.retry, &at.key("retry"), report);
    let hedge = route.hedge.as_ref().map(|config| hedge::plan(config, &at.key("hedge"), report));
    let redirect =
        route.redirect.as_ref().map(|config| plan_redirect(config, names, &at.key("redirect"), report));
    let respond = route.respond.as_ref().map(|config| plan_respond(config, &at.key("respond"), report));
    let ways = [route.upstream.is_some(), redirect.is_some(), respond.is_some()];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        let hint = "a route has one of `upstream`, `redirect` and `respond`";
        report.error_with_hint(at, format!("route `{}` has several ways to answer", route.name), hint);
    }
    match (&route.upstream, redirect.or(respond)) {
        (None, Some(fixed)) => AnswerPlan::Fixed(fixed),
        (Some(name), _) => {
            known_upstream(name, config, &at.key("upstream"), report);
            let cache = route.cache.enabled.then(|| Arc::new(cache));
            AnswerPlan::Upstream { name: name.clone(), cache, retry, hedge }
        }
        (None, None) => {
            let hint = "give it one of `upstream`, `redirect` and `respond`";
            report.error_with_hint(at, format!("nothing answers route `{}`", route.name), hint);
            AnswerPlan::Upstream { name: String::new(), cache: None, retry, hedge }
        }
    }
}

fn known_upstream(name: &str, config: &Config, at: &Path, report: &mut Report) {
    if config.upstream.contains_key(name) {
        return;
    }
    let message = format!("there is no upstream `{name}`");
    match nearest(name, config.upstream.keys().map(String::as_str)) {
        Some(meant) => report.error_with_hint(at, message, format!("did you mean `{meant}`?")),
        None => report.error_with_hint(at, message, format!("add [upstream.{name}]")),
    }
}
