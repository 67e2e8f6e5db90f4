//! What the user writes in `[admin]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The admin listener: `/livez`, `/readyz`, `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where it listens; `"off"` turns it off.
    pub listen: String,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9901".to_owned() }
    }
}
