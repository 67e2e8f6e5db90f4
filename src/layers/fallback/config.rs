//! What the user writes in `[[route.fallback]]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Time;

/// What is answered where the route's upstream fails: by another upstream, or by a fixed response. The first
/// rule that lists the failure is taken; where that fails too, those after it are. A stale answer that the
/// cache may use comes first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FallbackConfig {
    /// Which failures: `connect` (not reached), `timeout`, `reset`, `bad_response` (what came is no HTTP),
    /// `overload` (refused or given up in the upstream's queue), or a status like `503` or `5xx`.
    #[serde(default = "on")]
    pub on: Vec<String>,
    /// For `timeout`: how long whoever is asked before may take to a response head. If not given, four fifths
    /// of the time that the request has left.
    #[serde(default)]
    pub after: Option<Time>,
    /// The upstream that answers instead. Requests that may have had an effect are sent there only if their
    /// method is idempotent, bodies only as far as `retry.max_body` keeps them.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Or what is answered.
    #[serde(default)]
    pub respond: Option<FallbackResponseConfig>,
}

fn on() -> Vec<String> {
    ["connect", "timeout", "reset", "bad_response", "overload", "502", "503", "504"]
        .map(str::to_owned)
        .to_vec()
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self { on: on(), after: None, upstream: None, respond: None }
    }
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FallbackResponseConfig {
    /// 200 to 599.
    pub status: u16,
    /// Fields; `cache-control: no-store` is among them unless another one is given.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
    /// Its media type.
    pub content_type: String,
}

impl Default for FallbackResponseConfig {
    fn default() -> Self {
        Self {
            status: 503,
            headers: BTreeMap::new(),
            body: String::new(),
            content_type: "text/plain; charset=utf-8".to_owned(),
        }
    }
}
