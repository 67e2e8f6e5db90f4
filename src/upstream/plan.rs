//! A validated upstream: what `config.rs` says, checked once, with names parsed and numbers in range.

mod ejection;
mod health;
mod implied;
mod service;
mod url;

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderName, HeaderValue};

use crate::http::Scheme;
use crate::report::{Path, Report};

use url::endpoint_url;

use super::config::{Balance, EndpointConfig, EndpointsConfig, Protocol, UpstreamTlsConfig};

pub use ejection::EjectionPlan;
pub use health::{HealthPlan, Thresholds};
pub use implied::implied;
pub use service::{ServicePlan, name_servers};

/// A named set of endpoints, ready to be built. Equal plans mean that a running upstream can be kept.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamPlan {
    /// Where requests go; no two alike, and at least one where there are no services.
    pub endpoints: Vec<EndpointPlan>,
    /// Where more of them are found.
    pub services: Vec<ServicePlan>,
    /// Who is asked for names; the system where there are none.
    pub name_servers: Vec<SocketAddr>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// The field whose value decides in `hash` mode; the client's address if none.
    pub hash_header: Option<HeaderName>,
    /// What is spoken to endpoints.
    pub protocol: Protocol,
    /// How long resolving, connecting and the TLS handshake may take together.
    pub connect_timeout: Duration,
    /// How long an endpoint may be silent.
    pub read_timeout: Duration,
    /// How many connections an endpoint is given; at least one.
    pub max_connections: usize,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// How often names are resolved again; at least a second.
    pub resolve_interval: Duration,
    /// What the origin gets as `Host`.
    pub host: HostMode,
    /// Whether the origin gets a `Forwarded` field.
    pub forwarded: bool,
    /// Trust and identity towards `https` endpoints.
    pub tls: TlsPlan,
    /// How endpoints are probed, if they are.
    pub health: Option<HealthPlan>,
    /// When a failing endpoint is left out.
    pub ejection: EjectionPlan,
    /// How long an endpoint that is back takes to its full share; zero: no time.
    pub slow_start: Duration,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointPlan {
    /// TLS or not.
    pub scheme: Scheme,
    /// The machine.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// Its share of the requests, relative to the others' of its priority; at least 1.
    pub weight: u32,
    /// It is asked while no endpoint of a lower number can be.
    pub priority: u16,
}

/// The machine of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address: never resolved.
    Ip(IpAddr),
    /// A DNS name in lower case.
    Name(Box<str>),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl UpstreamPlan {
    /// Whether an endpoint speaks TLS.
    pub fn is_secure(&self) -> bool {
        let services = self.services.iter().map(|service| service.scheme);
        self.endpoints.iter().map(|endpoint| endpoint.scheme).chain(services).any(|of| of == Scheme::Https)
    }

    /// Whether there may be more than one endpoint.
    pub fn may_have_several(&self) -> bool {
        self.endpoints.len() > 1 || !self.services.is_empty()
    }
}

impl EndpointPlan {
    /// Host and port, always with the port: the endpoint's name in logs, metrics and errors.
    pub fn label(&self) -> String {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).to_string(),
            Host::Name(name) => format!("{name}:{}", self.port),
        }
    }

    /// Host and port as a client would write them in `Host` (RFC 9110 §4.2.3: without the scheme's default
    /// port).
    pub fn authority(&self) -> String {
        let label = self.label();
        if self.port != self.scheme.default_port() {
            return label;
        }
        label.rsplit_once(':').map_or(label.clone(), |(host, _)| host.to_owned())
    }
}

/// What the origin gets as `Host` or `:authority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostMode {
    /// What the client asked for.
    Preserve,
    /// The endpoint's own.
    Endpoint,
    /// Always this.
    Fixed(HeaderValue),
}

/// Trust and identity towards `https` endpoints: the files are read when the upstream is built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPlan {
    /// Authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// The name to ask for and to expect, instead of the endpoint's host.
    pub server_name: Option<Box<str>>,
    /// Our certificate chain and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// The longest wait for a connection: beyond a minute no client is left.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const RESOLVE_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Checks what the user wrote; every problem is reported at the path of the wrong value.
pub fn plan(config: &EndpointsConfig, at: &Path, report: &mut Report) -> UpstreamPlan {
    let (endpoints, services) = endpoints(config, &at.key("endpoints"), report);
    let schemes = endpoints.iter().map(|endpoint| endpoint.scheme);
    let schemes: Vec<_> = schemes.chain(services.iter().map(|service| service.scheme)).collect();
    UpstreamPlan {
        tls: tls(&config.tls, &schemes, &at.key("tls"), report),
        balance: config.balance,
        hash_header: hash_header(config, &at.key("hash_header"), report),
        protocol: config.protocol,
        connect_timeout: connect_timeout(config.connect_timeout.get(), &at.key("connect_timeout"), report),
        read_timeout: positive(config.read_timeout.get(), &at.key("read_timeout"), report),
        max_connections: max_connections(config.max_connections, &at.key("max_connections"), report),
        idle_timeout: config.idle_timeout.get(),
        resolve_interval: resolve_interval(config, &at.key("resolve_interval"), report),
        host: host_mode(&config.host, &at.key("host"), report),
        forwarded: config.forwarded,
        health: config
            .health
            .as_ref()
            .map(|health| health::plan(health, &config.host, &at.key("health"), report)),
        ejection: ejection::plan(&config.ejection, &at.key("ejection"), report),
        slow_start: config.slow_start.get(),
        endpoints,
        services,
        name_servers: Vec::new(),
    }
}

fn endpoints(
    config: &EndpointsConfig,
    at: &Path,
    report: &mut Report,
) -> (Vec<EndpointPlan>, Vec<ServicePlan>) {
    if config.endpoints.is_empty() {
        let hint = "name at least one, like endpoints = [\"http://10.0.0.1:8000\"]";
        report.error_with_hint(at, "an upstream without endpoints", hint);
    }
    let mut seen = HashSet::new();
    let (mut planned, mut services) = (Vec::with_capacity(config.endpoints.len()), Vec::new());
    for (index, endpoint) in config.endpoints.iter().enumerate() {
        let at = at.index(index);
        let (url, weight, at_url) = match endpoint {
            EndpointConfig::Url(url) => (url, 1, at.clone()),
            EndpointConfig::Weighted(weighted) => (&weighted.url, weighted.weight, at.key("url")),
        };
        if weight == 0 {
            let hint = "leave the endpoint out to send it nothing";
            report.error_with_hint(&at.key("weight"), "a weight is at least 1", hint);
        }
        if let Some(url) = url.strip_prefix(service::PREFIX) {
            if weight > 1 {
                let hint = "the endpoints of a service have the weights of its records";
                report.error_with_hint(&at.key("weight"), "a service has no weight", hint);
            }
            match service::service_url(url) {
                Ok(service) if services.contains(&service) => {
                    report.error(&at_url, format!("`{}{url}` is here twice", service::PREFIX));
                }
                Ok(service) => services.push(service),
                Err((message, hint)) => report.error_with_hint(&at_url, message, hint),
            }
            continue;
        }
        match endpoint_url(url) {
            Ok(mut endpoint) => {
                endpoint.weight = weight.max(1);
                if seen.insert(endpoint.label()) {
                    planned.push(endpoint);
                } else {
                    let hint = "give it a weight instead of naming it twice";
                    report.error_with_hint(&at_url, format!("`{url}` is here twice"), hint);
                }
            }
            Err((message, hint)) => report.error_with_hint(&at_url, message, hint),
        }
    }
    (planned, services)
}

fn host(text: &str) -> Option<Host> {
    if let Some(six) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return six.parse().ok().map(|ip| Host::Ip(IpAddr::V6(ip)));
    }
    if let Ok(ip) = text.parse() {
        return Some(Host::Ip(ip));
    }
    is_name(text).then(|| Host::Name(text.to_ascii_lowercase().into()))
}

/// Whether a text can be a DNS name (RFC 1123 §2.1, and the underscore that container networks use).
fn is_name(text: &str) -> bool {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let numeric =
        labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    text.len() <= 253
        && !numeric
        && labels.split('.').all(|label| {
            matches!(label.len(), 1..=63)
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

fn hash_header(config: &EndpointsConfig, at: &Path, report: &mut Report) -> Option<HeaderName> {
    let name = config.hash_header.as_deref()?;
    if config.balance != Balance::Hash {
        report.warn(at, "this field decides nothing here", "set balance = \"hash\" to choose by it");
    }
    match HeaderName::from_bytes(name.as_bytes()) {
        Ok(name) => Some(name),
        Err(_) => {
            report.error(at, format!("`{name}` is no field name"));
            None
        }
    }
}

fn positive(duration: Duration, at: &Path, report: &mut Report) -> Duration {
    if duration.is_zero() {
        report.error_with_hint(at, "zero would fail every request", "write how long to wait, like \"30s\"");
        return Duration::from_secs(30);
    }
    duration
}

fn connect_timeout(duration: Duration, at: &Path, report: &mut Report) -> Duration {
    let duration = positive(duration, at, report);
    if duration > CONNECT_TIMEOUT_MAX {
        report.error_with_hint(
            at,
            "longer than a minute",
            "1s to 5s: a healthy endpoint accepts in milliseconds",
        );
    }
    duration.min(CONNECT_TIMEOUT_MAX)
}

fn max_connections(count: u32, at: &Path, report: &mut Report) -> usize {
    if !(1..=65_535).contains(&count) {
        report.error(at, "a number of connections is 1 to 65535");
    }
    count.clamp(1, 65_535) as usize
}

fn resolve_interval(config: &EndpointsConfig, at: &Path, report: &mut Report) -> Duration {
    let interval = config.resolve_interval.get();
    if interval < RESOLVE_INTERVAL_MIN {
        report.error_with_hint(at, "names are resolved at most once a second", "write at least \"1s\"");
    }
    interval.max(RESOLVE_INTERVAL_MIN)
}

fn host_mode(host: &str, at: &Path, report: &mut Report) -> HostMode {
    match host {
        "preserve" => HostMode::Preserve,
        "endpoint" => HostMode::Endpoint,
        fixed => {
            if let Some(value) = fixed_host(fixed) {
                return HostMode::Fixed(value);
            }
            let hint = "preserve, endpoint, or a name like \"api.example.com\"";
            report.error_with_hint(at, format!("`{fixed}` is no host"), hint);
            HostMode::Preserve
        }
    }
}

/// A `Host` that was written out.
fn fixed_host(text: &str) -> Option<HeaderValue> {
    let authority = text.parse::<Authority>().ok()?;
    let valid = !text.contains('@') && host(authority.host()).is_some() && !text.ends_with(':');
    HeaderValue::from_str(text).ok().filter(|_| valid)
}

fn tls(config: &UpstreamTlsConfig, schemes: &[Scheme], at: &Path, report: &mut Report) -> TlsPlan {
    let unused = *config != UpstreamTlsConfig::default()
        && !schemes.is_empty()
        && schemes.iter().all(|scheme| *scheme == Scheme::Http);
    if unused {
        report.warn(at, "no endpoint speaks TLS", "write its URL with https://");
    }
    if let Some(name) = config.server_name.as_deref()
        && (name.contains('[') || host(name).is_none())
    {
        report.error(&at.key("server_name"), format!("`{name}` is no DNS name and no IP address"));
    }
    let identity = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => Some((PathBuf::from(cert), PathBuf::from(key))),
        (Some(_), None) => {
            report.error_with_hint(at, "a certificate without its key", "add key = \"key.pem\"");
            None
        }
        (None, Some(_)) => {
            report.error_with_hint(at, "a key without its certificate", "add cert = \"cert.pem\"");
            None
        }
        (None, None) => None,
    };
    TlsPlan {
        ca: config.ca.as_ref().map(PathBuf::from),
        server_name: config.server_name.as_deref().map(|name| name.to_ascii_lowercase().into()),
        identity,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
