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

    /// As RFC 3339 writes it, in UTC: `2026-03-01T12:00:00.123Z`. What lies beyond the year 9999 is its last
    /// moment.
    pub fn rfc3339(self) -> [u8; 24] {
        const LAST: u64 = 253_402_300_799_999;
        let millis = self.0.min(LAST);
        let (days, in_day) = (millis / 86_400_000, millis % 86_400_000);
        let (year, month, day) = civil(days);
        let seconds = in_day / 1000;
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |range: std::ops::Range<usize>, mut number: u64| {
            for digit in text.get_mut(range).unwrap_or_default().iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, year);
        put(5..7, month);
        put(8..10, day);
        put(11..13, seconds / 3600);
        put(14..16, seconds / 60 % 60);
        put(17..19, seconds % 60);
        put(20..23, in_day % 1000);
        text
    }
}

/// Year, month and day of the Gregorian calendar, so many days after 1970-01-01.
///
/// Counted in eras of 400 years that begin on a first of March, so that a leap day is the last day of its
/// year.
const fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let day = day - (153 * shifted + 2) / 5 + 1;
    (era * 400 + year + (month <= 2) as u64, month, day)
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

/// Reads the monotonic clock alone, for waits and for how long something took: half of what [`now`] costs.
pub fn instant() -> Instant {
    Instant::now()
}

/// Reads the clocks.
pub fn now() -> Now {
    let instant = Instant::now();
    ANCHOR.with(|anchor| {
        if let Some(base) = anchor.get() {
            let passed = instant.saturating_duration_since(base.instant);
            if (passed < ANCHOR_LIFE || is_simulated()) && instant >= base.instant {
                return Now { instant, wall: base.wall.plus(passed) };
            }
        }
        let fresh = Now { instant, wall: SystemTime::now().into() };
        anchor.set(Some(fresh));
        fresh
    })
}

/// For tests with paused time: on this thread the wall clock shows `wall` now, and goes with the monotonic
/// clock from here on.
#[cfg(test)]
pub(crate) fn simulate(wall: Wall) {
    ANCHOR.set(Some(Now { instant: Instant::now(), wall }));
    SIMULATED.set(true);
}

#[cfg(test)]
thread_local! {
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
fn is_simulated() -> bool {
    SIMULATED.get()
}

#[cfg(not(test))]
const fn is_simulated() -> bool {
    false
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
    fn rfc3339_writes_what_another_calendar_reads() {
        let text = |wall: Wall| String::from_utf8(wall.rfc3339().to_vec()).unwrap();
        assert_eq!(text(Wall::from_millis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(Wall::from_millis(951_827_696_007)), "2000-02-29T12:34:56.007Z");
        assert_eq!(text(Wall::from_millis(u64::MAX)), "9999-12-31T23:59:59.999Z");
        // Every day until 2170, against the calendar of `httpdate`: `Sun, 06 Nov 1994 08:49:37 GMT`.
        for day in 0..200 * 366 {
            let wall = Wall::from_secs(day * 86_400 + day % 86_400);
            let date = httpdate::fmt_http_date(wall.into());
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(&date[8..11]).unwrap() / 3 + 1;
            let expected = format!("{}-{month:02}-{}T{}.000Z", &date[12..16], &date[5..7], &date[17..25]);
            assert_eq!(text(wall), expected);
        }
    }

    #[test]
    fn readings_advance_together() {
        let first = now();
        let second = now();
        assert!(second.instant >= first.instant);
        assert!(second.wall >= first.wall);
    }
}
