//! The only reader of clocks: decisions elsewhere take a [`Now`] as an argument.
//!
//! One request reads the clocks once, at ingress. The wall clock is derived from the monotonic one through an
//! anchor a thread keeps for a second, so that a reading costs one clock call, not two.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use tokio::time::Instant;

/// A point on the wall clock, in milliseconds since the Unix epoch; arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(u64);

impl Wall {
    /// The given number of milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The given number of seconds after the epoch.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// How much later this is than `earlier`; zero when it is not later.
    pub const fn since(self, earlier: Wall) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This point moved into the future.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This point moved into the past.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl From<SystemTime> for Wall {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Wall> for SystemTime {
    fn from(wall: Wall) -> Self {
        UNIX_EPOCH + Duration::from_millis(wall.0)
    }
}

/// One reading of both clocks: `instant` for waits and ages, `wall` for dates on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time.
    pub instant: Instant,
    /// Calendar time.
    pub wall: Wall,
}

impl Now {
    /// This reading moved into the future, on both clocks: for tests and for planning ahead.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self { instant: self.instant + by, wall: self.wall.plus(by) }
    }
}

thread_local! {
    static ANCHOR: Cell<Option<Now>> = const { Cell::new(None) };
}

/// How long an anchor is trusted: a step of the wall clock is seen within this time.
const ANCHOR_LIFE: Duration = Duration::from_secs(1);

/// Reads the clocks.
pub fn now() -> Now {
    let instant = Instant::now();
    ANCHOR.with(|anchor| {
        if let Some(base) = anchor.get() {
            let passed = instant.saturating_duration_since(base.instant);
            if passed < ANCHOR_LIFE && instant >= base.instant {
                return Now { instant, wall: base.wall.plus(passed) };
            }
        }
        let fresh = Now { instant, wall: SystemTime::now().into() };
        anchor.set(Some(fresh));
        fresh
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_saturates_at_both_ends() {
        assert_eq!(Wall::from_secs(1).minus(Duration::from_secs(5)), Wall::from_secs(0));
        assert_eq!(Wall::from_millis(u64::MAX).plus(Duration::MAX).millis(), u64::MAX);
        assert_eq!(Wall::from_secs(1).since(Wall::from_secs(2)), Duration::ZERO);
    }

    #[test]
    fn readings_advance_together() {
        let first = now();
        let second = now();
        assert!(second.instant >= first.instant);
        assert!(second.wall >= first.wall);
    }
}
