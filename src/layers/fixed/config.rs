//! What the user writes in a route's `redirect` and `respond`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectConfig {
    /// Where to: a path or a URL, in which `{name}` stands for what the pattern captured, and `{scheme}`,
    /// `{host}`, `{authority}` (host and port), `{path}`, `{query}` for parts of the request.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent")]
    pub status: u16,
}

const fn permanent() -> u16 {
    308
}

/// A fixed response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FixedConfig {
    /// 200 to 599.
    #[serde(default = "ok")]
    pub status: u16,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Its media type.
    #[serde(default = "plain")]
    pub content_type: String,
}

const fn ok() -> u16 {
    200
}

fn plain() -> String {
    "text/plain; charset=utf-8".to_owned()
}
