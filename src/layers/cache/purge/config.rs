//! What the user writes in `[cache.purge]` and `[route.cache.purge]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Secret;

/// Who may purge with the method `PURGE` where clients connect. Nobody, unless at least one of both is given;
/// with both, both must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PurgeConfig {
    /// Addresses and networks of clients that may, like `"127.0.0.1"` or `"10.0.0.0/8"`.
    pub from: Vec<String>,
    /// What they must send as `Authorization: Bearer TOKEN`. Best as `"${NAME}"`. On a route with `auth` it
    /// stands for the credentials.
    #[schemars(with = "String")]
    pub token: Secret,
}
