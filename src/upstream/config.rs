//! What the user writes in `[upstream.NAME]`.

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::units::Time;

/// A named set of endpoints, minus its concurrency, which admission owns.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointsConfig {
    /// Where requests go: URLs without path, or `{ url = "...", weight = 2 }`. With `srv+` before it, as in
    /// `"srv+http://_orders._tcp.example.com"`, a URL names a service: its endpoints are those of its SRV
    /// records (RFC 2782), with their ports, priorities and weights, and change with them. A service that
    /// vanishes keeps its last endpoints.
    pub endpoints: Vec<EndpointConfig>,
    /// How an endpoint is chosen.
    #[serde(default)]
    pub balance: Balance,
    /// The header field whose value decides in `hash` mode; the client address if not given.
    #[serde(default)]
    pub hash_header: Option<String>,
    /// What is spoken to endpoints.
    #[serde(default)]
    pub protocol: Protocol,
    /// How long connecting may take, the TLS handshake included.
    #[serde(default = "connect_timeout")]
    pub connect_timeout: Time,
    /// How long an endpoint may be silent: before the response head, and between two reads of the body.
    #[serde(default = "read_timeout")]
    pub read_timeout: Time,
    /// How many connections an endpoint is given; requests beyond it wait.
    #[serde(default = "max_connections")]
    pub max_connections: u32,
    /// How long an unused connection is kept; should be less than the origin's keep-alive.
    #[serde(default = "idle_timeout")]
    pub idle_timeout: Time,
    /// How often names are resolved again; sooner where the name server says so (a second at the least),
    /// which the system's resolver does not.
    #[serde(default = "resolve_interval")]
    pub resolve_interval: Time,
    /// What the origin gets as `Host`: `preserve` (the client's), `endpoint` (the URL's), or a fixed name.
    #[serde(default = "host")]
    pub host: String,
    /// Whether the origin gets a `Forwarded` field (RFC 7239) too; one that a trusted proxy sent is continued
    /// anyway.
    #[serde(default)]
    pub forwarded: bool,
    /// How `https` endpoints are trusted.
    #[serde(default)]
    pub tls: UpstreamTlsConfig,
    /// How endpoints are probed; they are not where this is not given.
    #[serde(default)]
    pub health: Option<HealthConfig>,
    /// When a failing endpoint is left out for a while.
    #[serde(default)]
    pub ejection: EjectionConfig,
    /// How long an endpoint that was left out, by its probes or by ejection, takes to grow into its full
    /// share; `"0s"`: it gets it at once.
    #[serde(default = "slow_start")]
    pub slow_start: Time,
}

const fn connect_timeout() -> Time {
    Time::secs(2)
}

const fn read_timeout() -> Time {
    Time::secs(30)
}

const fn max_connections() -> u32 {
    256
}

const fn idle_timeout() -> Time {
    Time::secs(3)
}

const fn resolve_interval() -> Time {
    Time::secs(30)
}

const fn slow_start() -> Time {
    Time::secs(10)
}

fn host() -> String {
    "preserve".to_owned()
}

impl Default for EndpointsConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            balance: Balance::default(),
            hash_header: None,
            protocol: Protocol::default(),
            connect_timeout: connect_timeout(),
            read_timeout: read_timeout(),
            max_connections: max_connections(),
            idle_timeout: idle_timeout(),
            resolve_interval: resolve_interval(),
            host: host(),
            forwarded: false,
            tls: UpstreamTlsConfig::default(),
            health: None,
            ejection: EjectionConfig::default(),
            slow_start: slow_start(),
        }
    }
}

/// Who is asked for names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// Name servers to ask for the names of endpoints, `"10.0.0.53"` or with a port `"127.0.0.1:8600"`, one
    /// after the other where one does not answer. They are asked for whole names. Where there are none, hosts
    /// are looked up as the system does it, and services at the servers of `/etc/resolv.conf`.
    pub servers: Vec<String>,
}

/// One endpoint: text is a URL, a table has a weight too.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EndpointConfig {
    /// `"http://10.0.0.1:8000"`.
    Url(String),
    /// With a weight.
    Weighted(WeightedEndpoint),
}

// By hand, for with serde's `untagged` an error inside the table would not say what is wrong, nor where.
impl<'de> Deserialize<'de> for EndpointConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EndpointVisitor;

        impl<'de> Visitor<'de> for EndpointVisitor {
            type Value = EndpointConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a table with `url` and `weight`")
            }

            fn visit_str<E>(self, url: &str) -> Result<EndpointConfig, E> {
                Ok(EndpointConfig::Url(url.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<EndpointConfig, A::Error> {
                WeightedEndpoint::deserialize(MapAccessDeserializer::new(map)).map(EndpointConfig::Weighted)
            }
        }

        deserializer.deserialize_any(EndpointVisitor)
    }
}

/// An endpoint that takes more or less than the others.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedEndpoint {
    /// `"http://10.0.0.1:8000"`.
    pub url: String,
    /// Its share of the requests, relative to the others'.
    #[serde(default = "weight")]
    pub weight: u32,
}

const fn weight() -> u32 {
    1
}

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The better of two random ones, by latency and requests in flight.
    #[default]
    P2c,
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastRequests,
    /// By a hash of a header field or the client address: the same client, the same endpoint.
    Hash,
}

/// What is spoken to endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/2 where TLS negotiates it (ALPN), else HTTP/1.1.
    #[default]
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by prior knowledge in clear text.
    Http2,
}

/// How `https` endpoints are trusted, and how we show who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTlsConfig {
    /// A PEM file of authorities to trust instead of the system's.
    pub ca: Option<String>,
    /// The name to ask for and to expect in the certificate; the endpoint's host if not given.
    pub server_name: Option<String>,
    /// Our certificate chain, a PEM file.
    pub cert: Option<String>,
    /// Its private key, a PEM file.
    pub key: Option<String>,
}

/// How endpoints are probed: an endpoint that fails its probes gets no requests, unless all are out.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// What a probe asks for with GET, query included.
    pub path: String,
    /// The probe's `Host`; the upstream's `host` where that is a name, else the endpoint's own.
    pub host: Option<String>,
    /// The pause between two probes of an endpoint, give or take a tenth.
    pub interval: Time,
    /// How long a probe may take from connecting to the response head.
    pub timeout: Time,
    /// An unhealthy endpoint is healthy again after so many good probes in a row.
    pub healthy_after: u32,
    /// A healthy endpoint is unhealthy after so many bad probes in a row; after the first one where it was
    /// never probed before.
    pub unhealthy_after: u32,
    /// Statuses of a good probe: single ones and ranges.
    pub expect: Vec<String>,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            path: "/".to_owned(),
            host: None,
            interval: Time::secs(5),
            timeout: Time::secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
            expect: vec!["200-399".to_owned()],
        }
    }
}

/// When a failing endpoint is left out.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectionConfig {
    /// After so many failures in a row; 0 turns it off.
    pub consecutive_errors: u32,
    /// After this share of failures in the last ten seconds (of at least ten requests); 0 turns it off.
    pub error_rate: f64,
    /// When its mean latency of the last ten seconds is this many times the median of the others'; 0 turns it
    /// off. What answers within 5 ms is never too slow.
    pub latency_factor: f64,
    /// For how long, the first time; it doubles each time in a row. Then single requests try it, until three
    /// in a row were answered.
    pub base: Time,
    /// For how long at most.
    pub max: Time,
    /// At most this share of the endpoints is out at once.
    pub max_ejected: f64,
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            consecutive_errors: 5,
            error_rate: 0.5,
            latency_factor: 0.0,
            base: Time::secs(10),
            max: Time::secs(300),
            max_ejected: 0.5,
        }
    }
}
