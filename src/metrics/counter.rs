//! Numbers that only grow.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shard::Sharded;

/// A number that only grows; each thread adds to a cache line of its own.
#[derive(Clone, Default)]
pub struct Counter(Sharded<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `by`.
    pub fn add(&self, by: u64) {
        if let Some(shard) = self.0.mine() {
            shard.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, shard| sum.wrapping_add(shard.load(Ordering::Relaxed)))
    }
}

/// Time that only adds up; each thread adds to a cache line of its own. It is kept in microseconds and shown
/// in seconds.
#[derive(Clone, Default)]
pub struct Seconds(Counter);

impl Seconds {
    /// Adds a duration; fractions of a microsecond are cut off.
    pub fn add(&self, by: Duration) {
        self.0.add(by.as_secs().wrapping_mul(1_000_000).wrapping_add(by.subsec_micros().into()));
    }

    /// The sum so far.
    pub fn get(&self) -> Duration {
        Duration::from_micros(self.0.get())
    }
}

impl fmt::Debug for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seconds").field(&self.get()).finish()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Counter").field(&self.get()).finish()
    }
}
