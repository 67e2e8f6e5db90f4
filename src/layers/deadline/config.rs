//! What the user writes in `[route.deadline]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How clients say how long they wait, and how the upstream is told what is left of it. What a client says
/// only ever shortens the route's `timeout`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeadlineConfig {
    /// Honour gRPC's `grpc-timeout`, and pass on what is left of it.
    pub grpc_timeout: bool,
    /// A request field that says how long the client waits: a duration like `250ms`, or a number of
    /// milliseconds. Anything else is ignored.
    pub request_header: Option<String>,
    /// A request field that tells the upstream how many milliseconds are left, anew for each attempt.
    pub upstream_header: Option<String>,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        Self { grpc_timeout: true, request_header: None, upstream_header: None }
    }
}
