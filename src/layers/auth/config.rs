//! What the user writes in `[consumer.NAME]` and `[route.auth]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Secret;

/// Someone who uses the APIs: what it proves itself by. Its name goes to limits, log and upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// The SHA-256 of each of its API keys, in hex: `printf %s "$KEY" | sha256sum`. With several, keys can be
    /// changed one by one. Best as `"${file:...}"`.
    #[schemars(with = "Vec<String>")]
    pub keys: Vec<Secret>,
    /// Whether it is turned away as if it were not known.
    pub disabled: bool,
}

/// Who may use a route. Without it everybody may; with any of `keys`, only those may who prove who they are
/// by one that is configured.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Networks whose clients are let in; all if empty.
    pub allow: Vec<String>,
    /// Networks whose clients are turned away, also where `allow` names them.
    pub deny: Vec<String>,
    /// API keys of consumers.
    pub keys: Option<KeysConfig>,
    /// The consumers that may use the route; every known one if empty.
    pub consumers: Vec<String>,
    /// The field in which the upstream is told the consumer's name. What clients send in it never gets there,
    /// on no route.
    pub header: String,
    /// What the challenges of a 401 call the route.
    pub realm: String,
    /// Whether answers are the same for all consumers, so that they share what is stored. Else each has
    /// entries of its own.
    pub public_cache: bool,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            deny: Vec::new(),
            keys: None,
            consumers: Vec::new(),
            header: "x-consumer".to_owned(),
            realm: "forebay".to_owned(),
            public_cache: false,
        }
    }
}

/// Where requests carry an API key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The field; of `authorization`, what follows `Bearer`. None if empty.
    pub header: String,
    /// The parameter of the query, which is removed from the request, cache keys and log. None if empty.
    pub query: String,
    /// Whether the upstream gets the field too.
    pub forward: bool,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self { header: "x-api-key".to_owned(), query: String::new(), forward: false }
    }
}
