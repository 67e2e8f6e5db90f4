//! Numbers that go up and down.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::shard::Sharded;

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Adds `by`, which may be negative.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one until the returned value is dropped.
    pub fn hold(&self) -> GaugeHold {
        self.add(1);
        GaugeHold(self.clone())
    }
}

/// One unit of a gauge, given back at its drop.
#[derive(Debug)]
pub struct GaugeHold(Gauge);

impl Drop for GaugeHold {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// A gauge that every request moves: sharded, so it can be moved but not set.
#[derive(Clone, Default)]
pub struct Level(Sharded<AtomicI64>);

impl Level {
    /// Adds `by`, which may be negative.
    pub fn add(&self, by: i64) {
        if let Some(shard) = self.0.mine() {
            shard.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Its value. While others move it this may be off by as much as they move it.
    pub fn get(&self) -> i64 {
        self.0.iter().fold(0, |sum, shard| sum.wrapping_add(shard.load(Ordering::Relaxed)))
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Level").field(&self.get()).finish()
    }
}
