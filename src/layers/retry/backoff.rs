//! How long to wait before another attempt: exponentially longer, and spread so that clients do not come in
//! step.

use std::time::Duration;

use super::config::Jitter;

/// A validated backoff: `factor` is finite and at least 1, `base` at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffPlan {
    /// The longest wait before the second attempt.
    pub base: Duration,
    /// By how much it grows an attempt.
    pub factor: f64,
    /// The longest wait before any attempt.
    pub max: Duration,
    /// How a wait is spread.
    pub jitter: Jitter,
}

impl BackoffPlan {
    /// The longest wait after `made` attempts (at least one).
    pub fn longest(&self, made: u32) -> Duration {
        let exponent = i32::try_from(made.saturating_sub(1)).unwrap_or(i32::MAX);
        let secs = self.base.as_secs_f64() * self.factor.powi(exponent);
        if self.base.is_zero() {
            return Duration::ZERO;
        }
        // An infinite or overlong product is no duration, and above the cap.
        Duration::try_from_secs_f64(secs).map_or(self.max, |wait| wait.min(self.max))
    }

    /// The wait after `made` attempts; `random` is uniform in 0..1.
    pub fn wait(&self, made: u32, random: f64) -> Duration {
        match self.jitter {
            Jitter::Full => self.longest(made).mul_f64(random.clamp(0.0, 1.0)),
            Jitter::None => self.longest(made),
        }
    }
}
