//! What the user wrote: the structure of the config file, its defaults and its schema.

pub mod admin;
pub mod listener;
pub mod log;
pub mod route;
pub mod server;
pub mod upstream;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::cache::config::StoreConfig;

/// The whole config file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process.
    pub server: server::ServerConfig,
    /// The admin listener: health, metrics.
    pub admin: admin::AdminConfig,
    /// The access log.
    pub log: log::LogConfig,
    /// Where clients connect.
    pub listener: Vec<listener::ListenerConfig>,
    /// The store of responses, one for all routes.
    pub cache: StoreConfig,
    /// The APIs behind the gateway, by name.
    pub upstream: BTreeMap<String, upstream::UpstreamConfig>,
    /// What happens to which request.
    pub route: Vec<route::RouteConfig>,
}
