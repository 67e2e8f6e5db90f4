//! Distributions of durations.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::shard::Sharded;

/// How many buckets have an upper bound; one more has none.
const BOUNDS: usize = 14;

/// The upper bounds, in microseconds: 32 bits, signed, so that the search is a few vector comparisons.
const BOUNDS_US: [i32; BOUNDS] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000, 60_000_000,
];

/// A distribution of durations, in seconds: fixed buckets from 0.5 ms to 60 s, a set of them a thread.
#[derive(Clone, Default)]
pub struct Histogram(Sharded<Shard>);

/// Exactly two cache lines.
#[derive(Default)]
struct Shard {
    buckets: [AtomicU64; BOUNDS + 1],
    sum_us: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    buckets: [u64; BOUNDS + 1],
    /// The sum of all durations.
    pub sum: Duration,
}

impl Histogram {
    /// Counts one duration. Fractions of a microsecond are cut off.
    pub fn observe(&self, duration: Duration) {
        let micros = micros(duration);
        let short = i32::try_from(micros).unwrap_or(i32::MAX);
        let bucket = BOUNDS_US.iter().filter(|bound| short > **bound).count();
        if let Some(shard) = self.0.mine()
            && let Some(bucket) = shard.buckets.get(bucket)
        {
            bucket.fetch_add(1, Ordering::Relaxed);
            shard.sum_us.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// What it has counted so far.
    pub fn read(&self) -> Reading {
        let mut reading = Reading::default();
        let mut sum_us = 0u64;
        for shard in self.0.iter() {
            for (sum, bucket) in reading.buckets.iter_mut().zip(&shard.buckets) {
                *sum += bucket.load(Ordering::Relaxed);
            }
            sum_us = sum_us.wrapping_add(shard.sum_us.load(Ordering::Relaxed));
        }
        reading.sum = Duration::from_micros(sum_us);
        reading
    }
}

impl Reading {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The upper bound of each bucket and how many durations are at most as long, shortest first; the last
    /// has no bound and counts all.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| Some(Duration::from_micros(bound.unsigned_abs().into())));
        let mut so_far = 0;
        bounds.chain([None]).zip(self.buckets).map(move |(bound, count)| {
            so_far += count;
            (bound, so_far)
        })
    }
}

fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros().into())
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Histogram").field(&self.read()).finish()
    }
}
