//! What the user writes in `[[route]]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::layers::admission::config::RouteAdmissionConfig;
use crate::layers::aggregate::config::PartConfig;
use crate::layers::auth::config::AuthConfig;
use crate::layers::cache::config::CacheConfig;
use crate::layers::compress::config::CompressConfig;
use crate::layers::cors::config::CorsConfig;
use crate::layers::deadline::config::DeadlineConfig;
use crate::layers::fallback::config::FallbackConfig;
pub use crate::layers::fixed::config::{FixedConfig, RedirectConfig};
use crate::layers::hedge::config::HedgeConfig;
use crate::layers::idempotency::config::IdempotencyConfig;
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
    /// Instead of an upstream: several requests at once, whose JSON is merged into one object. Cache, retries
    /// and hedging of the route are each part's.
    #[serde(default)]
    pub aggregate: Vec<PartConfig>,
    /// Instead of an upstream: a redirect.
    #[serde(default)]
    pub redirect: Option<RedirectConfig>,
    /// Instead of an upstream: a fixed response.
    #[serde(default)]
    pub respond: Option<FixedConfig>,
    /// The whole request, queueing, retries and body included; event streams and tunnels have idle timeouts
    /// instead.
    #[serde(default = "timeout")]
    pub timeout: Time,
    /// What clients say about their patience, and what the upstream is told; nothing where this is not given.
    #[serde(default)]
    pub deadline: Option<DeadlineConfig>,
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
    /// Which pages of other origins may use it from a browser; none where this is not given.
    #[serde(default)]
    pub cors: Option<CorsConfig>,
    /// Who may use it; everybody where this is not given.
    #[serde(default)]
    pub auth: Option<AuthConfig>,
    /// Rate limits; a request must pass all.
    #[serde(default)]
    pub rate_limit: Vec<RateLimitConfig>,
    /// Compression of responses; none where this is not given.
    #[serde(default)]
    pub compress: Option<CompressConfig>,
    /// Caching.
    #[serde(default)]
    pub cache: CacheConfig,
    /// How its requests stand in the upstream's queue.
    #[serde(default)]
    pub admission: RouteAdmissionConfig,
    /// Retries.
    #[serde(default)]
    pub retry: RetryConfig,
    /// Second attempts at requests that take long; none where this is not given.
    #[serde(default)]
    pub hedge: Option<HedgeConfig>,
    /// Requests that take effect once however often they are sent; none where this is not given.
    #[serde(default)]
    pub idempotency: Option<IdempotencyConfig>,
    /// What is answered where the upstream fails, in the order given.
    #[serde(default)]
    pub fallback: Vec<FallbackConfig>,
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
            aggregate: Vec::new(),
            redirect: None,
            respond: None,
            timeout: timeout(),
            deadline: None,
            max_body: None,
            rewrite: RewriteConfig::default(),
            request_headers: HeaderRulesConfig::default(),
            response_headers: HeaderRulesConfig::default(),
            cors: None,
            auth: None,
            rate_limit: Vec::new(),
            compress: None,
            cache: CacheConfig::default(),
            admission: RouteAdmissionConfig::default(),
            retry: RetryConfig::default(),
            hedge: None,
            idempotency: None,
            fallback: Vec::new(),
        }
    }
}
