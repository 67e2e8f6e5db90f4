//! What the user writes in `[upstream.NAME.concurrency]` and `[route.admission]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Time;

/// Backpressure: how many requests an upstream is given at once, and how many may wait.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencyConfig {
    /// `adaptive` learns what the upstream can take, `fixed` keeps to `limit`, `off` lets everything through.
    pub mode: Mode,
    /// How many requests are at the upstream at once; if adaptive, where it begins.
    pub limit: u32,
    /// The least an adaptive limit may become.
    pub min: u32,
    /// The most an adaptive limit may become.
    pub max: u32,
    /// How many requests may wait for a permit; beyond it, 503.
    pub queue: u32,
    /// How long one may wait; beyond it, 503.
    pub queue_timeout: Time,
    /// How long a request body may keep us waiting while others wait for a permit; beyond it, 408, and one of
    /// them gets it. Such a body is silent for that long, or slower than 16 KiB a second after it; HTTP/2
    /// bodies of unknown length (gRPC streams) need only not be silent. It counts until the response head;
    /// `"0s"` for no such limit.
    pub upload_grace: Time,
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Adaptive,
            limit: 50,
            min: 4,
            max: 500,
            queue: 200,
            queue_timeout: Time::secs(2),
            upload_grace: Time::secs(1),
        }
    }
}

/// How the limit is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Learnt from latency and failures, a baseline a route, between `min` and `max`.
    #[default]
    Adaptive,
    /// Always `limit`.
    Fixed,
    /// No limit.
    Off,
}

/// How a route's requests stand in their upstream's queue, where they have to wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteAdmissionConfig {
    /// Their class: `high`, `normal` or `low`. As long as requests of all three wait, they get 16, 4 and 1 of
    /// every 21 turns; a full queue makes room for a higher class at the cost of the lowest.
    pub priority: Priority,
    /// A request field that names the class instead; what is no class there counts for nothing. Clients can
    /// write what they like: set or remove it (`request_headers`) where they are not to be trusted.
    pub priority_header: Option<String>,
    /// Among whom the turns of a class go round: the key of a rate limit, like `header:x-tenant` or
    /// `client_ip`. If not given, all requests are of one tenant.
    pub tenant: Option<String>,
}

/// How important a request is; the most important first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Before others.
    High,
    /// As most are.
    #[default]
    Normal,
    /// After others.
    Low,
}

impl Priority {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The word for config, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The one that a field names.
    pub fn named(name: &[u8]) -> Option<Self> {
        let name = name.trim_ascii();
        Self::ALL.into_iter().find(|priority| name.eq_ignore_ascii_case(priority.as_str().as_bytes()))
    }

    /// Its share of the permits, relative to the others'.
    pub const fn weight(self) -> u64 {
        match self {
            Self::High => 16,
            Self::Normal => 4,
            Self::Low => 1,
        }
    }

    /// How far a turn takes it, where the one that is least far is next.
    pub const fn stride(self) -> u64 {
        Self::High.weight() / self.weight()
    }
}
