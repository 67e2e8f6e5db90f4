//! What the user writes in `[upstream.NAME.concurrency]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Time;

/// Backpressure: how many requests an upstream is given at once, and how many may wait.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencyConfig {
    /// `adaptive` learns what the upstream can take, `fixed` keeps to `limit`, `off` lets everything through.
    pub mode: Mode,
    /// How many requests are at the upstream at once; if adaptive, where it begins.
    pub limit: u32,
    /// The least an adaptive limit may become.
    pub min: u32,
    /// The most an adaptive limit may become.
    pub max: u32,
    /// How many requests may wait for a permit; beyond it, 503.
    pub queue: u32,
    /// How long one may wait; beyond it, 503.
    pub queue_timeout: Time,
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self { mode: Mode::Adaptive, limit: 50, min: 4, max: 500, queue: 200, queue_timeout: Time::secs(2) }
    }
}

/// How the limit is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Learnt from latency and failures, a baseline a route, between `min` and `max`.
    #[default]
    Adaptive,
    /// Always `limit`.
    Fixed,
    /// No limit.
    Off,
}
