//! What of `ejection` can be used.

use std::time::Duration;

use crate::report::{Path, Report};

use super::super::config::EjectionConfig;

/// When a failing endpoint is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct EjectionPlan {
    /// After so many failures in a row; 0 is never.
    pub consecutive_errors: u32,
    /// After this share of failures, 0 to 1; 0 is never.
    pub error_rate: f64,
    /// Slower than the median of the others by this factor; 0 is never.
    pub latency_factor: f64,
    /// For how long, the first time.
    pub base: Duration,
    /// For how long at most; not less than `base`.
    pub max: Duration,
    /// The share of endpoints that may be out at once, 0 to 1.
    pub max_ejected: f64,
}

pub(super) fn plan(config: &EjectionConfig, at: &Path, report: &mut Report) -> EjectionPlan {
    let mut share = |value: f64, key: &str| {
        if !(0.0..=1.0).contains(&value) {
            report.error_with_hint(&at.key(key), format!("{value} is no share"), "a share is 0.0 to 1.0");
        }
        if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) }
    };
    let error_rate = share(config.error_rate, "error_rate");
    let max_ejected = share(config.max_ejected, "max_ejected");
    let mut latency_factor = config.latency_factor;
    if latency_factor != 0.0 && !(latency_factor.is_finite() && latency_factor > 1.0) {
        report.error_with_hint(
            &at.key("latency_factor"),
            format!("{latency_factor} makes no outlier"),
            "write how many times slower than the others is too slow, like 5.0, or 0 for never",
        );
        latency_factor = 0.0;
    }
    let (base, max) = (config.base.get(), config.max.get());
    if base.is_zero() {
        report.error(&at.key("base"), "an endpoint cannot be left out for no time");
    }
    if max < base {
        report.error(&at.key("max"), "less than `base`");
    }
    let base = base.max(Duration::from_millis(1));
    EjectionPlan {
        consecutive_errors: config.consecutive_errors,
        error_rate,
        latency_factor,
        base,
        max: max.max(base),
        max_ejected,
    }
}
