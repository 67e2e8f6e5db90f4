//! How long answers usually take: a histogram of bounded size that forgets.
//!
//! ```
//! use std::time::Duration;
//! use forebay::clock;
//! use forebay::layers::hedge::latency::Latencies;
//!
//! let now = clock::now().instant;
//! let mut latencies = Latencies::default();
//! for millis in 1..=100 {
//!     latencies.record(now, Duration::from_millis(millis));
//! }
//! let p95 = latencies.percentile(0.95).unwrap();
//! assert!((95..=104).contains(&p95.as_millis()), "{p95:?}"); // a bucket is 9 % wide
//! ```

use std::time::Duration;

use crate::clock::Instant;

/// The fewest answers that make a percentile.
pub const SAMPLES_MIN: u64 = 50;

/// Buckets for each doubling: one is 9 % wide.
const PER_DOUBLING: f64 = 8.0;
/// Where the first bucket ends, in seconds.
const FIRST: f64 = 100e-6;
/// Twenty doublings of 100 µs are 105 s; what takes longer is in the last one.
const BUCKETS: usize = 161;

/// What one answer counts when it is new, so that halving it a few times leaves something of it.
const WHOLE: u32 = 1 << 10;
/// All are halved when so many were counted since the last time, or after so long.
const HALVE_COUNT: u64 = 2_000;
const HALVE_AFTER: Duration = Duration::from_secs(30);
/// After so many halvings nothing is left of what was there.
const HALVINGS_MAX: u32 = 11;

/// How long answers took, the later ones counting more.
#[derive(Clone, Debug)]
pub struct Latencies {
    buckets: [u32; BUCKETS],
    /// The sum of all buckets.
    total: u64,
    /// Counted since they were halved.
    fresh: u64,
    halved: Option<Instant>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], total: 0, fresh: 0, halved: None }
    }
}

impl Latencies {
    /// Takes in an answer.
    pub fn record(&mut self, now: Instant, latency: Duration) {
        let passed = now.saturating_duration_since(*self.halved.get_or_insert(now));
        let by_time = (passed.as_secs() / HALVE_AFTER.as_secs()).min(u64::from(HALVINGS_MAX)) as u32;
        let halvings = by_time.max(u32::from(self.fresh >= HALVE_COUNT));
        if halvings > 0 {
            self.halve(halvings);
            (self.halved, self.fresh) = (Some(now), 0);
        }
        if let Some(bucket) = self.buckets.get_mut(bucket(latency)) {
            *bucket += WHOLE;
            self.total += u64::from(WHOLE);
            self.fresh += 1;
        }
    }

    /// What this share of the answers took at most; none where too few are known.
    pub fn percentile(&self, share: f64) -> Option<Duration> {
        if self.total < SAMPLES_MIN * u64::from(WHOLE) {
            return None;
        }
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut sum = 0;
        let reaches = |count: &u32| {
            sum += u64::from(*count);
            sum >= wanted
        };
        self.buckets.iter().position(reaches).map(end)
    }

    fn halve(&mut self, times: u32) {
        for bucket in &mut self.buckets {
            *bucket >>= times;
        }
        self.total = self.buckets.iter().map(|count| u64::from(*count)).sum();
    }
}

fn bucket(latency: Duration) -> usize {
    let doublings = (latency.as_secs_f64() / FIRST).max(1.0).log2();
    ((doublings * PER_DOUBLING).ceil() as usize).min(BUCKETS - 1)
}

/// Where a bucket ends.
fn end(bucket: usize) -> Duration {
    Duration::from_secs_f64(FIRST * (bucket as f64 / PER_DOUBLING).exp2())
}
