//! How fast a queue drains, for `Retry-After`.

use std::time::Duration;

use crate::clock::Instant;

/// The least and the most a refused client is told to wait.
pub const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long a measurement lasts: after it the next one starts, so that old news is forgotten.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts the permits that come back while requests wait.
///
/// Only then does the rate tell what the upstream can do: without a queue it tells what was asked of it.
#[derive(Debug, Default)]
pub struct Drain {
    since: Option<Instant>,
    released: u32,
    /// The time a permit took to come back in the last whole window.
    last: Option<Duration>,
}

impl Drain {
    /// A queue has formed.
    pub const fn begin(&mut self, now: Instant) {
        (self.since, self.released, self.last) = (Some(now), 0, None);
    }

    /// A permit came back while requests waited.
    pub const fn released(&mut self) {
        self.released = self.released.saturating_add(1);
    }

    /// When a request that is refused now would find a permit, if it came back behind `waiting` others.
    pub fn retry_after(&mut self, waiting: u32, now: Instant) -> Duration {
        let (least, most) = RETRY_AFTER;
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        // Nothing came back yet: then it takes at least as long as we have been watching.
        let each = passed / self.released.max(1);
        let each = match self.last {
            // A window that has just begun tells little.
            Some(last) if passed < WINDOW / 10 => last,
            Some(_) | None => each,
        };
        if passed >= WINDOW {
            (self.since, self.released, self.last) = (Some(now), 0, Some(each));
        }
        each.checked_mul(waiting.saturating_add(1)).unwrap_or(most).clamp(least, most)
    }
}
