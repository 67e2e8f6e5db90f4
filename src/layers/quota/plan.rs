//! Validated quotas: what decides whether an upstream's [`Pace`](super::Pace) survives a reload.

use std::time::Duration;

use crate::report::{Path, Report};

use super::config::QuotaConfig;

/// The fastest pace, in requests a second.
pub const MAX_PER_SECOND: u32 = 1_000_000;
/// The most requests at once, and the longest queue.
pub const MAX_REQUESTS: u32 = 100_000;
/// The longest wait for a turn.
pub const MAX_QUEUE_TIMEOUT: Duration = Duration::from_secs(3600);

/// The rate limit of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaPlan {
    /// The time in which one request becomes possible, above 0.
    pub interval: Duration,
    /// How many at once; at least one.
    pub burst: u32,
    /// How many may wait.
    pub queue: u32,
    /// How long one may wait.
    pub queue_timeout: Duration,
}

/// Validates an upstream's quota; `at` is the path of its table.
pub fn plan(config: &QuotaConfig, at: &Path, report: &mut Report) -> QuotaPlan {
    let fastest = Duration::from_secs(1) / MAX_PER_SECOND;
    // Rounded up: the rate is never exceeded.
    let interval = config.rate.per() / config.rate.count().max(1) + Duration::from_nanos(1);
    if interval <= fastest {
        report.error(&at.key("rate"), format!("at most {MAX_PER_SECOND} requests a second are possible"));
    }
    if config.burst == 0 {
        report.error_with_hint(&at.key("burst"), "a burst of 0 allows nothing", "1 spreads requests evenly");
    }
    for (name, value) in [("burst", config.burst), ("queue", config.queue)] {
        if value > MAX_REQUESTS {
            report.error(&at.key(name), format!("{value} is out of range: at most {MAX_REQUESTS}"));
        }
    }
    let queue_timeout = config.queue_timeout.get();
    if queue_timeout > MAX_QUEUE_TIMEOUT {
        report.error(&at.key("queue_timeout"), "a request can wait for at most one hour");
    }
    QuotaPlan {
        interval: interval.max(fastest),
        burst: config.burst.clamp(1, MAX_REQUESTS),
        queue: config.queue.min(MAX_REQUESTS),
        queue_timeout: queue_timeout.min(MAX_QUEUE_TIMEOUT),
    }
}
