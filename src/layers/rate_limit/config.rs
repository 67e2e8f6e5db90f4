//! What the user writes in `[[route.rate_limit]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Rate;

/// One limit of a route; a request passes only if every limit of its route lets it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateLimitConfig {
    /// Its name, in `RateLimit-Policy`, log and metrics.
    pub name: String,
    /// Whom it counts: `client_ip`, `global`, `header:NAME`, `query:NAME`, `cookie:NAME`, `consumer`, or
    /// `claim:NAME`, a claim of the token that `auth.jwt.headers` has a field for. Requests without it share
    /// one count.
    #[serde(default = "client_ip")]
    pub key: String,
    /// How many requests an interval, in the long run: `"100/s"`.
    pub rate: Rate,
    /// How many at once; the rate's count if not given.
    #[serde(default)]
    pub burst: Option<u32>,
    /// What happens to a request beyond it: refused with 429, or delayed in a bounded queue.
    #[serde(default)]
    pub mode: Mode,
    /// How many requests may wait at once in `delay` mode; none waits longer than five minutes.
    #[serde(default = "queue")]
    pub queue: u32,
    /// What it counts: every request, or only those that the cache does not answer.
    #[serde(default)]
    pub scope: Scope,
    /// How many keys are remembered; beyond it, the least used are forgotten.
    #[serde(default = "max_keys")]
    pub max_keys: u32,
}

fn client_ip() -> String {
    "client_ip".to_owned()
}

const fn queue() -> u32 {
    1000
}

const fn max_keys() -> u32 {
    100_000
}

/// What happens to a request beyond a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 429 at once.
    #[default]
    Reject,
    /// It waits for its turn.
    Delay,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Every request.
    #[default]
    All,
    /// Those that go to the origin: hits are free.
    Origin,
}
