//! How many retries all requests of an upstream may make together: a share of what succeeds, and a floor.
//!
//! ```
//! use std::time::Duration;
//! use forebay::clock;
//! use forebay::layers::retry::budget::{Budget, BudgetPlan};
//!
//! let now = clock::now().instant;
//! let budget = Budget::new(BudgetPlan { ratio: 0.5, min_per_second: 1 });
//! (0..4).for_each(|_| budget.deposit(now));
//! let granted = (0..10).filter(|_| budget.try_withdraw(now)).count();
//! assert_eq!(granted, 3); // 4 × 0.5, and the floor's one
//! ```
//!
//! A failing origin is not hit harder for failing: it earns nothing, so at 100 % failures only the floor is
//! left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::clock::Instant;

/// Successes and retries count for so many seconds, the current one included.
const WINDOW_SECS: u32 = 10;

/// A power of two above the window, so that a second's slot is taken over only when it has long left the
/// window.
const SLOTS: usize = 16;

/// A validated budget: `ratio` is within 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPlan {
    /// Retries per successful request.
    pub ratio: f64,
    /// Retries a second that are always allowed.
    pub min_per_second: u32,
}

/// The budget of one upstream, shared by its routes.
///
/// Depositing is one atomic addition, as every answer of the origin does it; withdrawing takes a short lock,
/// so that the bound is exact.
#[derive(Debug)]
pub struct Budget {
    plan: BudgetPlan,
    /// Second 0: the first reading it was given.
    start: OnceLock<Instant>,
    /// The second in the upper half, its successes in the lower.
    successes: [AtomicU64; SLOTS],
    spent: Mutex<Spent>,
}

/// The retries of each second, by where they came from.
#[derive(Debug, Default)]
struct Spent([Second; SLOTS]);

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    second: u32,
    earned: u32,
    floor: u32,
}

impl Budget {
    /// A budget that nobody has used.
    pub fn new(plan: BudgetPlan) -> Self {
        Self { plan, start: OnceLock::new(), successes: Default::default(), spent: Mutex::default() }
    }

    /// What it was made from.
    pub const fn plan(&self) -> BudgetPlan {
        self.plan
    }

    /// Counts a success.
    pub fn deposit(&self, now: Instant) {
        let second = self.second(now);
        let Some(slot) = self.successes.get(second as usize % SLOTS) else { return };
        let seen = slot.load(Ordering::Relaxed);
        if stamp(seen) == second {
            slot.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Whoever comes first in a new second takes the slot over; the others count into it.
        let fresh = (u64::from(second) << 32) | 1;
        if slot.compare_exchange(seen, fresh, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            slot.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes one retry, if there is one to take.
    pub fn try_withdraw(&self, now: Instant) -> bool {
        let second = self.second(now);
        let in_window = |stamp: u32| second.wrapping_sub(stamp) < WINDOW_SECS;
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let earned_spent: u64 =
            spent.0.iter().filter(|of| in_window(of.second)).map(|of| u64::from(of.earned)).sum();
        let Some(current) = spent.0.get_mut(second as usize % SLOTS) else { return false };
        if current.second != second {
            *current = Second { second, ..Second::default() };
        }
        if current.floor < self.plan.min_per_second {
            current.floor += 1;
            return true;
        }
        let successes: u64 = self
            .successes
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|seen| in_window(stamp(*seen)))
            .map(count)
            .sum();
        let earned = (self.plan.ratio * successes as f64).floor() as u64;
        if earned_spent < earned {
            current.earned += 1;
            return true;
        }
        false
    }

    /// Which second of this budget `now` is in; the first is 1, so that an untouched slot belongs to none.
    fn second(&self, now: Instant) -> u32 {
        let start = *self.start.get_or_init(|| now);
        let passed = now.saturating_duration_since(start).as_secs();
        u32::try_from(passed).unwrap_or(u32::MAX - 1).saturating_add(1)
    }
}

/// The second a slot counts.
const fn stamp(slot: u64) -> u32 {
    (slot >> 32) as u32
}

/// How many it has counted.
const fn count(slot: u64) -> u64 {
    slot & 0xffff_ffff
}
