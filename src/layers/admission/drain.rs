//! How fast a queue drains, for `Retry-After` and for whom there is no hope.

use std::time::Duration;

use crate::clock::Instant;

/// The least and the most a refused client is told to wait.
pub const RETRY_AFTER: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How long a measurement lasts: after it the next one starts, so that old news is forgotten.
const WINDOW: Duration = Duration::from_secs(10);

/// So many permits have to come back before a rate is one to refuse anybody by.
const EVIDENCE: u32 = 4;

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
    pub fn released(&mut self, now: Instant) {
        self.roll(now);
        self.released = self.released.saturating_add(1);
    }

    /// The time a permit takes to come back; `None` where too few have, so far.
    pub fn each(&self, now: Instant) -> Option<Duration> {
        if self.released < EVIDENCE { self.last } else { Some(self.passed(now) / self.released) }
    }

    /// The time a permit takes to come back, as far as can be told.
    pub fn pace(&self, now: Instant) -> Duration {
        let passed = self.passed(now);
        match self.last {
            // A window that has just begun tells little.
            Some(last) if passed < WINDOW / 10 => last,
            // Nothing came back yet: then it takes at least as long as we have been watching.
            Some(_) | None => passed / self.released.max(1),
        }
    }

    /// When a request that is refused now would find a permit, if it came back behind `waiting` others.
    pub fn retry_after(&mut self, waiting: u32, now: Instant) -> Duration {
        let (least, most) = RETRY_AFTER;
        let each = self.pace(now);
        self.roll(now);
        each.checked_mul(waiting.saturating_add(1)).unwrap_or(most).clamp(least, most)
    }

    /// Begins a new window where the last one is over.
    fn roll(&mut self, now: Instant) {
        let passed = self.passed(now);
        if passed >= WINDOW {
            (self.since, self.last) = (Some(now), Some(passed / self.released.max(1)));
            self.released = 0;
        }
    }

    fn passed(&self, now: Instant) -> Duration {
        self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}
