//! Validated backpressure: what [`Gate::new`](super::Gate::new) is built from, and what decides whether a
//! gate survives a reload.

use std::time::Duration;

use crate::report::{Path, Report};

use super::adaptive::Bounds;
use super::config::{ConcurrencyConfig, Mode};

/// The largest limit: far beyond what one upstream is given, and far below overflow.
pub const MAX_LIMIT: u32 = 1_000_000;
/// The longest queue.
pub const MAX_QUEUE: u32 = 100_000;
/// The longest wait in a queue.
pub const MAX_QUEUE_TIMEOUT: Duration = Duration::from_secs(3600);

/// How many requests an upstream is given at once, and how many may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionPlan {
    /// How many are at the upstream at once.
    pub limit: LimitPlan,
    /// How many may wait.
    pub queue: u32,
    /// How long one may wait.
    pub queue_timeout: Duration,
    /// How long a request body may keep us waiting while others wait for a permit; none for as long as it may
    /// at any time.
    pub upload_grace: Option<Duration>,
}

/// How many requests are at an upstream at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitPlan {
    /// As many as come.
    Off,
    /// So many, always; at least one.
    Fixed(u32),
    /// So many as it turns out to take.
    Adaptive(Bounds),
}

impl AdmissionPlan {
    /// Everything passes at once.
    pub const OFF: Self =
        Self { limit: LimitPlan::Off, queue: 0, queue_timeout: Duration::ZERO, upload_grace: None };
}

/// Validates an upstream's concurrency; `at` is the path of its table.
pub fn plan(config: &ConcurrencyConfig, at: &Path, report: &mut Report) -> AdmissionPlan {
    // A mode that is off has one plan, whatever else was written: it would change nothing at a reload.
    if config.mode == Mode::Off {
        return AdmissionPlan::OFF;
    }
    let queue_timeout = config.queue_timeout.get();
    if config.limit == 0 {
        report.error_with_hint(
            &at.key("limit"),
            "a limit of 0 lets nothing through",
            "write mode = \"off\" for no limit",
        );
    } else if config.limit > MAX_LIMIT {
        report.error_with_hint(
            &at.key("limit"),
            format!("{} is out of range: 1 to {MAX_LIMIT} are possible", config.limit),
            "write mode = \"off\" for no limit",
        );
    }
    if config.queue > MAX_QUEUE {
        report.error(
            &at.key("queue"),
            format!("{} is out of range: 0 to {MAX_QUEUE} are possible", config.queue),
        );
    }
    if queue_timeout > MAX_QUEUE_TIMEOUT {
        report.error(&at.key("queue_timeout"), "a request can wait for at most one hour");
    } else if queue_timeout.is_zero() && config.queue > 0 {
        report.error_with_hint(
            &at.key("queue_timeout"),
            "a wait of no time is no wait",
            "write queue = 0 to refuse at once",
        );
    }
    let upload_grace = config.upload_grace.get();
    if upload_grace > MAX_QUEUE_TIMEOUT {
        report.error(&at.key("upload_grace"), "a body can keep others waiting for at most one hour");
    }
    let limit = match config.mode {
        Mode::Adaptive => LimitPlan::Adaptive(bounds(config, at, report)),
        Mode::Fixed | Mode::Off => LimitPlan::Fixed(config.limit.clamp(1, MAX_LIMIT)),
    };
    AdmissionPlan {
        limit,
        queue: config.queue.min(MAX_QUEUE),
        queue_timeout: queue_timeout.min(MAX_QUEUE_TIMEOUT),
        upload_grace: Some(upload_grace).filter(|grace| !grace.is_zero()),
    }
}

fn bounds(config: &ConcurrencyConfig, at: &Path, report: &mut Report) -> Bounds {
    let (start, min, max) = (config.limit, config.min, config.max);
    if min == 0 {
        report.error(&at.key("min"), "a limit of 0 would let nothing through, ever");
    }
    if max > MAX_LIMIT {
        report.error(&at.key("max"), format!("{max} is out of range: 1 to {MAX_LIMIT} are possible"));
    } else if max < min {
        report.error(&at.key("max"), format!("{max} is less than `min`, which is {min}"));
    } else if start > 0 && !(min..=max).contains(&start) && start <= MAX_LIMIT {
        report.error_with_hint(
            &at.key("limit"),
            format!("an adaptive limit of {min} to {max} cannot begin at {start}"),
            "write mode = \"fixed\" for a limit that stays, or change `min` and `max`",
        );
    }
    let min = min.clamp(1, MAX_LIMIT);
    let max = max.clamp(min, MAX_LIMIT);
    Bounds { start: start.clamp(min, max), min, max }
}
