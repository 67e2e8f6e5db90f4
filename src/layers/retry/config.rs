//! What the user writes in `[route.retry]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Time};

/// When a failed attempt is made again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// How many attempts, the first one included; 1 turns retries off.
    pub attempts: u32,
    /// What is retried: `connect`, `reset`, `timeout`, or a status like `503` or `5xx`.
    pub on: Vec<String>,
    /// Methods that may be sent twice. Others are retried only when nothing of them was sent.
    pub methods: Vec<String>,
    /// How long one attempt may take to its response head; the upstream's `read_timeout` if not given.
    pub per_try_timeout: Option<Time>,
    /// How long to wait before an attempt.
    pub backoff: BackoffConfig,
    /// How many requests more the upstream gets at most: retries, hedges and background refreshes together.
    pub budget: BudgetConfig,
    /// Wait as long as the origin says, by `Retry-After` or by a `RateLimit` of which nothing is left; its
    /// answer is passed on where that is longer than `backoff.max` or beyond the deadline.
    pub respect_retry_after: bool,
    /// Request bodies up to this size are kept for another attempt.
    pub max_body: Size,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: ["connect", "reset", "timeout", "502", "503", "504"].map(str::to_owned).to_vec(),
            methods: ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].map(str::to_owned).to_vec(),
            per_try_timeout: None,
            backoff: BackoffConfig::default(),
            budget: BudgetConfig::default(),
            respect_retry_after: true,
            max_body: Size::kib(64),
        }
    }
}

/// Exponential backoff.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackoffConfig {
    /// The longest wait before the second attempt.
    pub base: Time,
    /// By how much it grows an attempt.
    pub factor: f64,
    /// The longest wait before any attempt, one that the origin's `Retry-After` asks for included.
    pub max: Time,
    /// `full`: a random time up to the longest; `none`: the longest.
    pub jitter: Jitter,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: Time::millis(25), factor: 2.0, max: Time::secs(1), jitter: Jitter::Full }
    }
}

/// How a wait is spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Uniformly between zero and the longest wait.
    #[default]
    Full,
    /// Not at all.
    None,
}

/// How many requests more than its clients make an upstream gets at most: retries, hedges, and background
/// refreshes that fail, all counted together. Routes of one upstream share one account: what any of them
/// spent counts against the terms of the one that asks, so together they never exceed the largest terms.
/// An origin that answers nothing any more gets `ratio` of what it answered in the last ten seconds on top,
/// or `min_per_second` requests in all where that is more, and then nothing until it answers again.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BudgetConfig {
    /// So many per successful request of the last ten seconds.
    pub ratio: f64,
    /// So many a second are allowed however few succeed, so that the failures of a quiet route are retried
    /// too. Each has to be made good by a success of the upstream, its own or another: while so many are not,
    /// there is none.
    pub min_per_second: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10 }
    }
}
