//! How many requests an upstream is given at once: the seam between the gate, which counts, and what finds
//! the limit.

use std::time::Duration;

use crate::clock::Instant;

use super::plan::LimitPlan;

/// Finds the limit.
#[derive(Debug)]
pub enum LimitPolicy {
    /// No limit.
    Off,
    /// Always the same.
    Fixed(u32),
}

/// How a request ended, as far as it tells about the upstream's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response head came.
    Answered,
    /// The upstream failed.
    Failed,
    /// It ended for reasons that tell nothing: the client left, or we refused it further in.
    Unknown,
}

impl LimitPolicy {
    /// The policy of a plan.
    pub const fn new(plan: LimitPlan) -> Self {
        match plan {
            LimitPlan::Off => Self::Off,
            LimitPlan::Fixed(limit) => Self::Fixed(limit),
        }
    }

    /// How many requests may be at the upstream now; `None` for as many as come.
    pub const fn current(&self) -> Option<u32> {
        match self {
            Self::Off => None,
            Self::Fixed(limit) => Some(*limit),
        }
    }

    /// Whether [`observe`](Self::observe) wants to be called: without it no clock is read.
    pub const fn learns(&self) -> bool {
        match self {
            Self::Off | Self::Fixed(_) => false,
        }
    }

    /// Learns of a request that was given a permit `latency` before `now`, and ended with `outcome`.
    pub const fn observe(&self, outcome: Outcome, latency: Duration, now: Instant) {
        let _ = (outcome, latency, now);
        match self {
            Self::Off | Self::Fixed(_) => {}
        }
    }
}
