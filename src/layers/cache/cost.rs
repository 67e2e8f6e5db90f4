//! What is worth more room: entries that the origin took long for, of those asked for equally often.
//!
//! When room is short, the store weighs how often a newcomer was asked for lately against how often those
//! were that would have to go for it. It knows no cost; but it lets itself be told that a key was asked for
//! several times. So an entry that took the origin five times as long as most counts, when it arrives, as if
//! it had been asked for five times: let in where a cheaper one would be turned away, and later the last to
//! go. Time is what GreedyDual-Size multiplies by as well; that it divides by size is the store's own doing,
//! which lets a large newcomer in only if it is worth more than all together that it takes the place of.
//!
//! What may surprise:
//!
//! - Only arrivals count for more, hits do not: counting those as well gained nothing on traces with costs of
//!   all kinds (`loadtest/eviction`), and a hit is to cost nothing more.
//! - Like all uses these are forgotten by and by: an entry that nobody asks for goes, whatever it cost.
//! - An entry that is confirmed counts as one that arrives.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::metrics::{Counter, Metrics};

/// As how many uses an arrival counts at most. The store counts up to fifteen, and what is asked for often
/// has to stay ahead of what is merely expensive.
const MAX_USES: u32 = 8;

/// Costs below this are taken for equal: what differs there is noise.
const NEGLIGIBLE_MS: f32 = 8.0;

/// Over how many entries the mean is taken: those before them fade.
const WINDOW: u32 = 1024;

/// What the entries of a store took their origins, lately.
#[derive(Debug)]
pub struct Costs {
    /// The [`Mean`], in one piece. Two entries that arrive at once may count as one: it is an estimate.
    mean: AtomicU64,
    costly: Counter,
}

/// A running mean: exact over the first [`WINDOW`] values, then one in which older ones fade.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    count: u32,
    millis: f32,
}

impl Mean {
    fn from_bits(bits: u64) -> Self {
        Self { count: (bits >> 32) as u32, millis: f32::from_bits(bits as u32) }
    }

    fn to_bits(self) -> u64 {
        u64::from(self.count) << 32 | u64::from(self.millis.to_bits())
    }

    fn and(self, millis: f32) -> Self {
        let count = (self.count + 1).min(WINDOW);
        Self { count, millis: self.millis + (millis - self.millis) / count as f32 }
    }
}

/// As how many uses the arrival of an entry counts, given its cost and the mean.
fn uses(millis: f32, mean: Mean) -> u32 {
    // A float that is no number, or too large for an integer, saturates.
    ((millis / mean.millis) as u32).clamp(1, MAX_USES)
}

impl Costs {
    /// No entries yet.
    pub fn new(metrics: &Metrics) -> Self {
        let costly = metrics.counter(
            "forebay_cache_costly_total",
            "Responses stored or confirmed that took twice as long as most, or more, and so stay longer.",
            &[],
        );
        Self { mean: AtomicU64::default(), costly }
    }

    /// An entry arrives that took so long: how many uses it counts for beyond the one that brought it.
    pub fn further_uses(&self, cost: Duration) -> u32 {
        let millis = (cost.as_secs_f32() * 1000.0).max(NEGLIGIBLE_MS);
        let mean = Mean::from_bits(self.mean.load(Ordering::Relaxed)).and(millis);
        self.mean.store(mean.to_bits(), Ordering::Relaxed);
        let uses = uses(millis, mean);
        if uses > 1 {
            self.costly.increment();
        }
        uses - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_counts_as_often_as_its_cost_exceeds_the_mean() {
        for (millis, mean, expected) in [
            (8.0, 8.0, 1),
            (50.0, 100.0, 1),
            (199.0, 100.0, 1),
            (200.0, 100.0, 2),
            (550.0, 100.0, 5),
            (800.0, 100.0, 8),
            (1e30, 100.0, 8),
            (8.0, 0.0, 8),
        ] {
            assert_eq!(uses(millis, Mean { count: 1, millis: mean }), expected, "{millis} {mean}");
        }
    }

    #[test]
    fn the_mean_follows_what_arrives() {
        let mut mean = Mean::default();
        for millis in [10.0, 20.0, 30.0] {
            mean = Mean::from_bits(mean.and(millis).to_bits());
        }
        assert_eq!(mean, Mean { count: 3, millis: 20.0 });
        for _ in 0..10 * WINDOW {
            mean = mean.and(500.0);
        }
        assert_eq!(mean.count, WINDOW);
        assert!((499.0..=500.0).contains(&mean.millis), "{mean:?}");
    }

    #[test]
    fn equal_costs_and_noise_count_once() {
        let costs = Costs::new(&Metrics::default());
        let mut rng = fastrand::Rng::with_seed(3);
        for micros in 0..8_000 {
            assert_eq!(costs.further_uses(Duration::from_micros(micros)), 0);
        }
        let costs = Costs::new(&Metrics::default());
        for _ in 0..10_000 {
            assert_eq!(costs.further_uses(Duration::from_millis(rng.u64(100..150))), 0);
        }
        assert_eq!(costs.further_uses(Duration::from_secs(3600)), MAX_USES - 1);
        assert_eq!(costs.costly.get(), 1);
    }
}
