//! Validated hedging: what decides whether a route's [`Tally`](super::Tally) survives a reload.

use std::time::Duration;

use crate::report::{Path, Report};
use crate::units::Time;

use super::config::HedgeConfig;

/// When requests are hedged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgePlan {
    /// After how long.
    pub after: After,
    /// Hedges per request that could be hedged; above 0, at most 1.
    pub max_extra: f64,
}

/// After how long a request is hedged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum After {
    /// When it takes longer than this share of the route's requests, 0.5 to 0.999.
    Percentile(f64),
    /// When it takes longer than this.
    Time(Duration),
}

/// Checks what the user wrote; every problem is reported at the path of the wrong value.
pub fn plan(config: &HedgeConfig, at: &Path, report: &mut Report) -> HedgePlan {
    let default = HedgeConfig::default();
    let mut max_extra = config.max_extra;
    if !(max_extra > 0.0 && max_extra <= 1.0) {
        let message = format!("{max_extra} is no share of the requests to hedge");
        let hint = "write a number up to 1.0: 0.02 allows one more in fifty; leave `hedge` out for none";
        report.error_with_hint(&at.key("max_extra"), message, hint);
        max_extra = default.max_extra;
    }
    let after = after(&config.after).unwrap_or_else(|| {
        let message = format!("`{}` is no percentile and no duration", config.after);
        let hint = "write a percentile from \"p50\" to \"p99.9\", or a duration like \"50ms\"";
        report.error_with_hint(&at.key("after"), message, hint);
        After::Percentile(0.95)
    });
    HedgePlan { after, max_extra }
}

fn after(text: &str) -> Option<After> {
    if let Some(number) = text.strip_prefix('p') {
        let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let percent = number.parse::<f64>().ok().filter(|_| plain)?;
        return (50.0..=99.9).contains(&percent).then_some(After::Percentile(percent / 100.0));
    }
    let time: Time = text.parse().ok()?;
    (!time.get().is_zero()).then_some(After::Time(time.get()))
}
