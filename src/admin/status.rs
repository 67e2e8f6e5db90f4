//! What `/api/v1/status` shows; the field names are an interface that users' scripts read.

use serde::Serialize;

/// What is running, from the table of routes and the endpoint sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// How many configs were put in force, the first one included.
    pub config_generation: u64,
    /// The routes, in the order in which they are tried.
    pub routes: Vec<RouteStatus>,
    /// The upstreams, by name.
    pub upstreams: Vec<UpstreamStatus>,
}

/// One route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteStatus {
    /// Its name.
    pub name: String,
    /// Where it leads; nothing where it answers itself.
    pub upstream: Option<String>,
}

/// One upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointStatus {
    /// Scheme, host and port.
    pub endpoint: String,
    /// Whether it is given requests.
    pub state: EndpointState,
    /// Requests it is working on.
    pub in_flight: u64,
}

/// Whether an endpoint is given requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointState {
    /// It is.
    Healthy,
    /// It failed active probes.
    Unhealthy,
    /// It failed requests, and is left out for a while.
    Ejected,
}

/// The whole answer.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) phase: &'static str,
    pub(super) started: String,
    pub(super) uptime_seconds: u64,
    #[serde(flatten)]
    pub(super) snapshot: Snapshot,
}
