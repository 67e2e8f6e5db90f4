//! What the user writes in `[upstream.NAME]`: endpoints, and the concurrency that admission owns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::admission::config::ConcurrencyConfig;
use crate::upstream::config::EndpointsConfig;

/// A named set of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct UpstreamConfig {
    /// Endpoints and how they are used.
    #[serde(flatten)]
    pub endpoints: EndpointsConfig,
    /// Backpressure: what the origin can take.
    #[serde(default)]
    pub concurrency: ConcurrencyConfig,
}
