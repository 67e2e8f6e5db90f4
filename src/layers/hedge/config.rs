//! What the user writes in `[route.hedge]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When a request that takes long is sent to another endpoint too: the answer that comes first is taken. Only
/// idempotent requests without a body are.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HedgeConfig {
    /// After how long: a percentile of the route's own latencies, like `"p95"`, or a duration, like `"50ms"`.
    pub after: String,
    /// How many requests more the upstream gets for it at most, as a share of those that could be hedged.
    pub max_extra: f64,
}

impl Default for HedgeConfig {
    fn default() -> Self {
        Self { after: "p95".to_owned(), max_extra: 0.02 }
    }
}
