//! What the user writes in `[upstream.NAME.concurrency]`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Time;

/// Backpressure: how many requests an upstream is given at once, and how many may wait.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConcurrencyConfig {
    /// `fixed` keeps to `limit`, `off` lets everything through.
    pub mode: Mode,
    /// How many requests are at the upstream at once.
    pub limit: u32,
    /// How many requests may wait for a permit; beyond it, 503.
    pub queue: u32,
    /// How long one may wait; beyond it, 503.
    pub queue_timeout: Time,
}

impl Default for ConcurrencyConfig {
    fn default() -> Self {
        Self { mode: Mode::Fixed, limit: 50, queue: 200, queue_timeout: Time::secs(2) }
    }
}

/// How the limit is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Always `limit`.
    #[default]
    Fixed,
    /// No limit.
    Off,
}
