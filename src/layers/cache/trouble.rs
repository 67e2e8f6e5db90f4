//! Which statuses say that an origin is in trouble (RFC 5861 §4, `stale_on_status`).

use http::StatusCode;

use crate::report::{Path, Report};

/// The statuses, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble(Box<[u16]>);

impl Trouble {
    /// Validates them at `at`.
    pub fn plan(statuses: &[u16], at: &Path, report: &mut Report) -> Self {
        for (index, status) in statuses.iter().enumerate() {
            if !(400..=599).contains(status) {
                report.error_with_hint(
                    &at.index(index),
                    format!("{status} is no status of an error"),
                    "from 400 to 599; mostly 500, 502, 503 and 504",
                );
            }
        }
        let mut sorted = statuses.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        Self(sorted.into())
    }

    /// Whether this status is one of them.
    pub fn has(&self, status: StatusCode) -> bool {
        self.0.binary_search(&status.as_u16()).is_ok()
    }
}
