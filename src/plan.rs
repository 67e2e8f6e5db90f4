//! The plan: the config, validated and complete, without any I/O. Two plans are equal iff they mean the same,
//! which is what a reload goes by when it decides what state to keep.

mod routes;
mod sockets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

pub use self::routes::{AnswerPlan, RoutePlan};
use crate::config::Config;
use crate::config::upstream::UpstreamConfig;
use crate::http::normalize::PathRules;
use crate::layers::access_log::plan::{Destination, LogPlan};
use crate::layers::admission::plan::AdmissionPlan;
use crate::layers::cache::plan::StorePlan;
use crate::layers::cache::purge::PurgePlan;
use crate::layers::quota::QuotaPlan;
use crate::layers::{access_log, admission, cache, compress, quota};
use crate::report::{Path, Report};
use crate::units::{Rate, Secret};
use crate::upstream;
use crate::upstream::plan::UpstreamPlan;

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
    /// What encoded forms of stored responses may take, in bytes.
    pub kept: u64,
    /// The APIs behind, by name, and under their URL those that keys for tokens are fetched from.
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
    /// Connections of one address open at once.
    pub max_connections_per_address: usize,
    /// For a head.
    pub header_timeout: Duration,
    /// Between two reads of a request body.
    pub body_timeout: Duration,
    /// Between two requests.
    pub idle_timeout: Duration,
    /// Without progress of a write.
    pub write_timeout: Duration,
    /// The least bytes a second of bodies.
    pub min_rate: u64,
    /// Requests a connection may carry.
    pub max_requests_per_connection: u32,
    /// How old a connection may get.
    pub max_connection_age: Duration,
    /// HTTP/2 frames that are no part of a request.
    pub max_http2_control_frames: Rate,
    /// Without a byte either way on an upgraded connection.
    pub tunnel_timeout: Duration,
    /// The largest header section, in bytes.
    pub max_header_bytes: usize,
    /// The most header fields.
    pub max_headers: usize,
    /// How often a request may have passed a Forebay before.
    pub max_hops: usize,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// For requests in flight after the signal to stop.
    pub drain_timeout: Duration,
    /// For all bodies in memory together, in bytes.
    pub memory_limit: u64,
    /// How paths are normalised.
    pub paths: PathRules,
}

impl ServerPlan {
    /// How large HTTP/2 lets a list of fields be, as it counts them (RFC 9113 §6.5.2).
    pub fn max_header_list(&self) -> u32 {
        u32::try_from(self.max_header_bytes).unwrap_or(u32::MAX)
    }
}

/// An address where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerPlan {
    /// The address.
    pub address: SocketAddr,
    /// The name of a socket that is handed over, to be used in place of binding the address.
    pub socket: Option<String>,
    /// Whether another process may listen on the address too.
    pub reuse_port: bool,
    /// Whether HTTP/1 is spoken.
    pub http1: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
    /// Certificates; none: clear text.
    pub certificates: Vec<CertificatePlan>,
    /// Networks of trusted proxies.
    pub trusted: Vec<IpNet>,
    /// Whether they begin each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// Client certificates.
    pub client_auth: Option<ClientAuthPlan>,
    /// Whether clear text is answered with a redirect.
    pub redirect_to_https: bool,
    /// The value of `Strict-Transport-Security`.
    pub hsts: Option<HeaderValue>,
}

/// What certificates clients must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuthPlan {
    /// The authorities' file.
    pub ca: PathBuf,
    /// Whether one must be shown.
    pub required: bool,
    /// Whether origins get it.
    pub told: bool,
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
    /// Its own rate limit, where it has one.
    pub quota: Option<QuotaPlan>,
}

impl Plan {
    /// Validates a config. There is a plan iff the report has no errors.
    pub fn build(config: &Config) -> (Option<Self>, Report) {
        let mut report = Report::new();
        let root = Path::root();
        let server = sockets::server(&config.server, &root.key("server"), &mut report);
        PurgePlan::plan(&config.cache.purge, &root.key("cache").key("purge"), &mut report);
        let routes = routes::routes(config, &server, &root.key("route"), &mut report);
        let mut upstreams = upstreams(&config.upstream, &root.key("upstream"), &mut report);
        imply_upstreams(&routes, &root.key("route"), &mut upstreams, &mut report);
        let name_servers = upstream::plan::name_servers(&config.dns, &root.key("dns"), &mut report);
        for origin in upstreams.values_mut() {
            origin.endpoints.name_servers.clone_from(&name_servers);
        }
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
            kept: compress::plan_kept(
                &config.compress,
                config.server.memory_limit.bytes(),
                &root.key("compress"),
                &mut report,
            ),
            upstreams,
            routes,
            server,
        };
        (if report.has_errors() { None } else { Some(plan) }, report)
    }

    /// The files that are read when the plan becomes real: certificates, their keys, authorities.
    pub fn files(&self) -> Vec<PathBuf> {
        let certificates = self.listeners.iter().flat_map(|listener| &listener.certificates);
        let shown = certificates.flat_map(|certificate| [&certificate.cert, &certificate.key]);
        let clients = self.listeners.iter().filter_map(|listener| Some(&listener.client_auth.as_ref()?.ca));
        let tls = self.upstreams.values().map(|origin| &origin.endpoints.tls);
        let upstream =
            tls.flat_map(|tls| tls.ca.iter().chain(tls.identity.iter().flat_map(|(cert, key)| [cert, key])));
        shown.chain(clients).chain(upstream).cloned().collect()
    }

    /// Makes the paths of files that the config names relative to `folder`, where the config is.
    pub fn resolve_files(&mut self, folder: &std::path::Path) {
        for certificate in self.listeners.iter_mut().flat_map(|listener| &mut listener.certificates) {
            certificate.cert = folder.join(&certificate.cert);
            certificate.key = folder.join(&certificate.key);
        }
        for client_auth in self.listeners.iter_mut().filter_map(|listener| listener.client_auth.as_mut()) {
            client_auth.ca = folder.join(&client_auth.ca);
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
        let quota = config.quota.as_ref().map(|quota| quota::plan(quota, &at.key("quota"), report));
        (name.clone(), OriginPlan { endpoints, admission, quota })
    };
    configs.iter().map(plan).collect()
}

/// Adds what routes fetch keys from by URL: an upstream of its own, under the URL's beginning.
fn imply_upstreams(
    routes: &[RoutePlan],
    at: &Path,
    upstreams: &mut BTreeMap<String, OriginPlan>,
    report: &mut Report,
) {
    for (index, route) in routes.iter().enumerate() {
        let Some(keys) = route.auth.fetched_keys().filter(|keys| keys.implied) else { continue };
        if !keys.upstream.is_empty() && !upstreams.contains_key(&keys.upstream) {
            let at = at.index(index).key("auth").key("jwt").key("jwks");
            let endpoints = upstream::plan::implied(&keys.upstream, &at, report);
            let plan = OriginPlan { endpoints, admission: AdmissionPlan::OFF, quota: None };
            upstreams.insert(keys.upstream.clone(), plan);
        }
    }
}
