//! What the user writes in `[[route]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::cache::config::CacheConfig;
use crate::layers::rate_limit::config::RateLimitConfig;
use crate::layers::retry::config::RetryConfig;
use crate::layers::transform::config::{HeaderRulesConfig, RewriteConfig};
use crate::route::config::MatchConfig;
use crate::units::{Size, Time};

/// A match and its policy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Its name, in log and metrics; unique.
    pub name: String,
    /// Which requests it takes.
    #[serde(default, rename = "match")]
    pub match_: MatchConfig,
    /// Higher ones are tried first; among equals, the more specific match wins.
    #[serde(default)]
    pub priority: i32,
    /// The upstream that answers.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Instead of an upstream: a redirect.
    #[serde(default)]
    pub redirect: Option<RedirectConfig>,
    /// Instead of an upstream: a fixed response.
    #[serde(default)]
    pub respond: Option<FixedConfig>,
    /// The whole request, queueing, retries and body included; event streams and tunnels have idle timeouts instead.
    #[serde(default = "timeout")]
    pub timeout: Time,
    /// The largest request body; `server.max_body` if not given.
    #[serde(default)]
    pub max_body: Option<Size>,
    /// What the upstream is asked for instead.
    #[serde(default)]
    pub rewrite: RewriteConfig,
    /// Changes to the request's fields on the way to the upstream.
    #[serde(default)]
    pub request_headers: HeaderRulesConfig,
    /// Changes to the response's fields on the way to the client.
    #[serde(default)]
    pub response_headers: HeaderRulesConfig,
    /// Rate limits; a request must pass all.
    #[serde(default)]
    pub rate_limit: Vec<RateLimitConfig>,
    /// Caching.
    #[serde(default)]
    pub cache: CacheConfig,
    /// Retries.
    #[serde(default)]
    pub retry: RetryConfig,
}

const fn timeout() -> Time {
    Time::secs(300)
}

impl Default for RouteConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            match_: MatchConfig::default(),
            priority: 0,
            upstream: None,
            redirect: None,
            respond: None,
            timeout: timeout(),
            max_body: None,
            rewrite: RewriteConfig::default(),
            request_headers: HeaderRulesConfig::default(),
            response_headers: HeaderRulesConfig::default(),
            rate_limit: Vec::new(),
            cache: CacheConfig::default(),
            retry: RetryConfig::default(),
        }
    }
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectConfig {
    /// Where to: a path or a URL, in which `{name}` stands for what the pattern captured, and `{scheme}`, `{host}`,
    /// `{path}`, `{query}` for parts of the request.
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
