//! What the user writes in `[upstream.NAME.quota]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Rate, Time};

/// The origin's own rate limit: requests to it are paced, and queued where they come faster. What the origin
/// says of its limit (`RateLimit` fields, 429 with `Retry-After`) lowers the pace until the reset it names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaConfig {
    /// How many requests an interval: `"100/s"`; retries and hedges count too.
    pub rate: Rate,
    /// How many at once; 1 spreads them evenly.
    #[serde(default = "burst")]
    pub burst: u32,
    /// How many requests may wait for their turn; beyond it, 503.
    #[serde(default = "queue")]
    pub queue: u32,
    /// How long one may wait; what could not be sent by then is refused at once with 503.
    #[serde(default = "queue_timeout")]
    pub queue_timeout: Time,
}

const fn burst() -> u32 {
    1
}

const fn queue() -> u32 {
    200
}

const fn queue_timeout() -> Time {
    Time::secs(2)
}
