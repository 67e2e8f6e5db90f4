//! What the user writes in a route's `match`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which requests a route takes; what is not given matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// A host, `api.example.com`, or all below one, `*.example.com`. Ports and case do not count.
    pub host: Option<String>,
    /// A path: literals, `{name}` for one segment, and `{*name}` at the end for the rest, which may be empty.
    pub path: Option<String>,
    /// Methods; none means all.
    pub method: Vec<String>,
    /// Request fields that must have these values; `"*"` means any value.
    pub header: BTreeMap<String, String>,
    /// Query parameters that must have these values; `"*"` means any value.
    pub query: BTreeMap<String, String>,
}
