//! What the user writes in `rewrite`, `request_headers` and `response_headers` of a route.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the upstream is asked for instead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewriteConfig {
    /// A path, in which `{name}` stands for what the route's pattern captured.
    pub path: Option<String>,
    /// Take this off the front of the path.
    pub strip_prefix: Option<String>,
}

/// Changes to header fields: `remove` first, then `set`, then `add`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderRulesConfig {
    /// Fields that get this one value.
    pub set: BTreeMap<String, String>,
    /// Fields that get one more value.
    pub add: BTreeMap<String, String>,
    /// Fields that go.
    pub remove: Vec<String>,
}
