//! What the user writes in a route's `aggregate`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::units::{Size, Time};

/// One part of an answer that is put together.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartConfig {
    /// Its name in the answer's object: letters, digits, `_` and `-`.
    pub name: String,
    /// What is asked for: a path, and a query if there is one, in which `{name}` stands for what the route's
    /// path captured.
    pub path: String,
    /// Who is asked.
    pub upstream: String,
    /// Which parameters of the client's query are passed on; `["*"]`: all.
    #[serde(default)]
    pub query: Vec<String>,
    /// Whether the answer can do without it. A part that is not optional fails the whole.
    #[serde(default)]
    pub optional: bool,
    /// What stands in for an optional part that failed and of which nothing is stored; null if not given.
    #[serde(default)]
    pub default: Option<Value>,
    /// How long it may take, its body included; as long as the route if not given.
    #[serde(default)]
    pub timeout: Option<Time>,
    /// The largest body; what is larger has failed. All parts of a route together are at most 16 MiB.
    #[serde(default = "max_body")]
    pub max_body: Size,
}

const fn max_body() -> Size {
    Size::mib(1)
}

impl Default for PartConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            path: String::new(),
            upstream: String::new(),
            query: Vec::new(),
            optional: false,
            default: None,
            timeout: None,
            max_body: max_body(),
        }
    }
}
