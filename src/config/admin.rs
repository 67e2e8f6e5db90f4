//! What the user writes in `[admin]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Secret;

/// The admin listener: `/livez`, `/readyz`, `/metrics` and the API.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Where it listens; `"off"` turns it off.
    pub listen: String,
    /// What the API (`/api/...`) takes: `Authorization: Bearer TOKEN`. Where it listens on anything but a
    /// loopback address there must be one; without one, `/api` and `/metrics` answer only to addresses and
    /// `localhost` as the `Host`. Best as `"${FOREBAY_ADMIN_TOKEN}"`.
    #[schemars(with = "String")]
    pub token: Secret,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: "127.0.0.1:9901".to_owned(), token: Secret::default() }
    }
}
