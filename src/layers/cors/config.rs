//! What the user writes in `[route.cors]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Time;

/// Which pages of other origins may use a route from a browser. The gateway answers preflights itself, and
/// what the upstream says about this is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CorsConfig {
    /// Their origins: `"https://app.example.com"`; `"https://*.example.com"` for all below a name, whatever
    /// the depth; `"*"` for all.
    pub origins: Vec<String>,
    /// The methods they may use; `"*"` for all.
    pub methods: Vec<String>,
    /// The request fields they may send beside the safelisted ones; `"*"` for all but `Authorization`, which
    /// must be named.
    pub headers: Vec<String>,
    /// The response fields they may read beside the safelisted ones; `"*"` for all.
    pub expose: Vec<String>,
    /// Whether cookies and HTTP credentials come along; never with a `"*"`.
    pub credentials: bool,
    /// How long a browser may remember a preflight's answer.
    pub max_age: Time,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age: Time::secs(600),
        }
    }
}
