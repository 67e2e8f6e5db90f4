//! How much more an upstream is asked than its clients ask: one budget for retries, hedges and background
//! refreshes.
//!
//! ```
//! use std::sync::Arc;
//! use forebay::clock;
//! use forebay::layers::budget::{Budget, BudgetPlan, Ledger};
//!
//! let now = clock::now().instant;
//! let ledger = Arc::new(Ledger::default());
//! let budget = Budget::new(BudgetPlan { ratio: 0.5, min_per_second: 1 }, ledger.clone());
//! (0..4).for_each(|_| budget.deposit(now));
//! let granted = (0..10).filter(|_| budget.try_withdraw(now)).count();
//! assert_eq!(granted, 2); // 4 × 0.5; the floor's one is part of it
//!
//! let strict = Budget::new(BudgetPlan { ratio: 0.25, min_per_second: 1 }, ledger);
//! assert!(!strict.try_withdraw(now)); // what others spent counts
//! ```
//!
//! What may surprise:
//!
//! - It counts successes, not requests. A failing origin is not hit harder for failing: it earns nothing.
//! - The floor is a minimum and no addition, and it is given on trust: each attempt of it has to be made good
//!   by a success of the upstream, its own or another, and no more than the floor of one second may be
//!   wanting. Trust has no term: the first failure of a quiet route gets its retries, however long ago its
//!   last success was, and so does one before any success. But an origin that answers nothing is asked
//!   `min_per_second` times on top in all, be it asked once a minute or a thousand times a second. What it
//!   answers again is trust again, one for one.
//! - So from the moment that everything fails there is on top: `ratio` of the last ten seconds' successes, or
//!   `min_per_second` requests where that is more, and then nothing.
//! - Routes of one upstream share one [`Ledger`], each with terms of its own: whatever any of them spent
//!   counts against the terms of the one that asks. So together they never exceed the largest ratio or the
//!   largest floor among them, and a route with small terms goes without first.
//! - A retry and a hedge are spent for good. A background refresh is asked in place of a client's request,
//!   so it only borrows: what succeeds is given back, and an origin that is well can be refreshed as often as
//!   its entries need it. It needs no trust: it adds nothing to what clients ask, and where they are all
//!   answered from the cache, nothing else would find out that the origin is well again.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::clock::Instant;

/// Successes and attempts count for so many seconds, the current one included.
const WINDOW_SECS: u32 = 10;

/// A power of two above the window, so that a second's slot is taken over only when it has long left the
/// window.
const SLOTS: usize = 16;

/// The validated terms of a route: `ratio` is within 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetPlan {
    /// Attempts per successful request.
    pub ratio: f64,
    /// Attempts a second that are allowed however few successes there are, and how many of them may be
    /// without a success to make them good.
    pub min_per_second: u32,
}

/// What the attempts at one upstream earned and spent, of all its routes.
///
/// Depositing is one atomic addition while nothing went wrong, as every answer of the origin does it;
/// withdrawing takes a short lock, so that the bound is exact. It has no plan, so it outlives every reload.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Second 0: the first reading it was given.
    start: OnceLock<Instant>,
    /// The second in the upper half, its successes in the lower.
    successes: [AtomicU64; SLOTS],
    /// How many attempts of the floor no success has made good. Raised under the lock of `spent` only.
    on_trust: AtomicU32,
    spent: Mutex<Spent>,
}

/// What was spent in each second.
#[derive(Debug, Default)]
struct Spent([Second; SLOTS]);

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    second: u32,
    spent: u32,
}

/// What an attempt is to the upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    /// One more than clients ask for.
    Added,
    /// In place of a client's request.
    Instead,
}

/// A route's share in its upstream's ledger.
#[derive(Clone, Debug)]
pub struct Budget {
    plan: BudgetPlan,
    ledger: Arc<Ledger>,
}

impl Budget {
    /// On these terms.
    pub const fn new(plan: BudgetPlan, ledger: Arc<Ledger>) -> Self {
        Self { plan, ledger }
    }

    /// Counts a success.
    pub fn deposit(&self, now: Instant) {
        self.ledger.deposit(now);
    }

    /// Takes one attempt, if there is one to take.
    pub fn try_withdraw(&self, now: Instant) -> bool {
        let second = self.ledger.second(now);
        self.ledger.withdraw(self.plan, second, Load::Added)
    }

    /// Borrows one, if there is one.
    pub fn try_borrow(&self, now: Instant) -> Option<Loan> {
        let second = self.ledger.second(now);
        let granted = self.ledger.withdraw(self.plan, second, Load::Instead);
        granted.then(|| Loan { ledger: self.ledger.clone(), second, repaid: AtomicBool::new(false) })
    }
}

#[cfg(test)]
impl Budget {
    /// One that is never spent.
    pub(crate) fn unlimited() -> Self {
        Self::new(BudgetPlan { ratio: 1.0, min_per_second: u32::MAX }, Arc::default())
    }
}

/// An attempt that is given back if it goes well; dropped without that, it is spent.
#[derive(Debug)]
pub struct Loan {
    ledger: Arc<Ledger>,
    second: u32,
    repaid: AtomicBool,
}

impl Loan {
    /// Gives it back; once.
    pub fn repay(&self) {
        if !self.repaid.swap(true, Ordering::Relaxed) {
            self.ledger.repay(self.second);
        }
    }
}

impl Ledger {
    fn deposit(&self, now: Instant) {
        self.make_good();
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

    /// A success restores trust in one attempt. Mostly there is none to restore, and then nobody writes here.
    fn make_good(&self) {
        if self.on_trust.load(Ordering::Relaxed) > 0 {
            let one_less = |on_trust: u32| on_trust.checked_sub(1);
            let _ = self.on_trust.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        }
    }

    fn withdraw(&self, plan: BudgetPlan, second: u32, load: Load) -> bool {
        let in_window = |stamp: u32| second.wrapping_sub(stamp) < WINDOW_SECS;
        let mut spent = self.lock();
        let total: u64 = spent.0.iter().filter(|of| in_window(of.second)).map(|of| u64::from(of.spent)).sum();
        let Some(current) = spent.0.get_mut(second as usize % SLOTS) else { return false };
        if current.second != second {
            *current = Second { second, spent: 0 };
        }
        let trusted = load == Load::Instead || self.on_trust.load(Ordering::Relaxed) < plan.min_per_second;
        let granted = if trusted && current.spent < plan.min_per_second {
            if load == Load::Added {
                self.on_trust.fetch_add(1, Ordering::Relaxed);
            }
            true
        } else {
            total < self.earned(plan.ratio, in_window)
        };
        current.spent += u32::from(granted);
        granted
    }

    /// How many attempts the successes of the window have earned.
    fn earned(&self, ratio: f64, in_window: impl Fn(u32) -> bool) -> u64 {
        let slots = self.successes.iter().map(|slot| slot.load(Ordering::Relaxed));
        let successes: u64 = slots.filter(|seen| in_window(stamp(*seen))).map(count).sum();
        (ratio * successes as f64).floor() as u64
    }

    /// Takes back what was borrowed in `second`; nothing to do where that has left the window.
    fn repay(&self, second: u32) {
        let mut spent = self.lock();
        let slot = spent.0.get_mut(second as usize % SLOTS).filter(|slot| slot.second == second);
        if let Some(slot) = slot {
            slot.spent = slot.spent.saturating_sub(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Spent> {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which second of this ledger `now` is in; the first is 1, so that an untouched slot belongs to none.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    fn start() -> Instant {
        clock::now().instant
    }

    fn budget(ratio: f64, min_per_second: u32) -> Budget {
        Budget::new(BudgetPlan { ratio, min_per_second }, Arc::default())
    }

    fn withdraw(budget: &Budget, now: Instant, times: usize) -> usize {
        (0..times).filter(|_| budget.try_withdraw(now)).count()
    }

    /// How many attempts on top there are where so many requests a second fail for so long, each asking for
    /// one.
    fn storm(budget: &Budget, from: Instant, rate: u32, seconds: u32) -> usize {
        let request = |number| from + Duration::from_secs(1) * number / rate;
        (0..rate * seconds).map(|number| withdraw(budget, request(number), 1)).sum()
    }

    #[test]
    fn at_total_failure_the_load_rises_by_a_number_and_not_by_a_rate() {
        for rate in [1, 2, 5, 20, 40, 100, 1000] {
            let (budget, start) = (budget(0.2, 10), start());
            assert_eq!(storm(&budget, start, rate, 60), 10, "{rate} a second, from the start");
        }
        assert_eq!(withdraw(&budget(1.0, 0), start(), 100), 0);
    }

    #[test]
    fn an_origin_that_dies_is_asked_by_the_ratio_of_what_it_answered() {
        for rate in [1, 5, 10, 20, 100, 1000] {
            let (budget, start) = (budget(0.2, 10), start());
            (0..30 * rate).for_each(|number| budget.deposit(start + Duration::from_secs(1) * number / rate));
            let dies = start + Duration::from_secs(30);
            let (on_top, most) = (storm(&budget, dies, rate, 10), (2 * rate as usize).max(10));
            assert!((10..=most).contains(&on_top), "{rate} a second: {on_top}");
            assert_eq!(storm(&budget, dies + Duration::from_secs(10), rate, 60), 0, "{rate} a second");
        }
    }

    #[test]
    fn the_first_failure_of_a_quiet_route_gets_its_retries_however_long_it_was_quiet() {
        let (budget, start) = (budget(0.2, 10), start());
        for day in 0..5 {
            let now = start + Duration::from_secs(day * 86_400);
            assert_eq!(withdraw(&budget, now, 2), 2, "day {day}");
            // The third attempt was answered, and so was a request before it.
            (0..2).for_each(|_| budget.deposit(now));
        }
    }

    #[test]
    fn trust_comes_back_one_for_one() {
        let (budget, start) = (budget(0.0, 4), start());
        let at = |second| start + Duration::from_secs(second);
        assert_eq!((withdraw(&budget, at(0), 9), withdraw(&budget, at(5), 9)), (4, 0));
        for (second, successes, granted) in
            [(6, 1, 1), (7, 0, 0), (8, 3, 3), (9, 100, 4), (10, 4, 4), (11, 0, 0)]
        {
            (0..successes).for_each(|_| budget.deposit(at(second)));
            assert_eq!(withdraw(&budget, at(second), 9), granted, "in second {second}");
        }
    }

    /// Where clients are answered from the cache, only refreshes find out that the origin is well again.
    #[test]
    fn a_refresh_needs_no_trust_and_takes_none() {
        let (budget, start) = (budget(0.2, 3), start());
        let at = |second| start + Duration::from_secs(second);
        let borrowed = |second| (0..9).filter(|_| budget.try_borrow(at(second)).is_some()).count();
        assert_eq!((borrowed(0), withdraw(&budget, at(0), 9)), (3, 0), "they share the second's floor");
        assert_eq!(withdraw(&budget, at(1), 9), 3);
        for second in 2..20 {
            assert_eq!((withdraw(&budget, at(second), 9), borrowed(second)), (0, 3), "second {second}");
        }
    }

    #[test]
    fn successes_earn_their_share_once() {
        let (budget, start) = (budget(0.2, 0), start());
        (0..99).for_each(|_| budget.deposit(start));
        assert_eq!(withdraw(&budget, start, 100), 19);
        assert_eq!(withdraw(&budget, start + Duration::from_secs(5), 100), 0);
        budget.deposit(start + Duration::from_secs(5));
        assert_eq!(withdraw(&budget, start + Duration::from_secs(5), 100), 1);
    }

    #[test]
    fn what_leaves_the_window_earns_nothing() {
        let (budget, start) = (budget(0.5, 0), start());
        (0..20).for_each(|_| budget.deposit(start));
        let last = start + Duration::from_millis(9_999);
        assert_eq!(withdraw(&budget, last, 4), 4);
        assert_eq!(withdraw(&budget, start + Duration::from_secs(10), 100), 0);
        // Slots are used again: the 17th second shares one with the first.
        let later = start + Duration::from_secs(16);
        (0..2).for_each(|_| budget.deposit(later));
        assert_eq!(withdraw(&budget, start + Duration::from_secs(20), 100), 1);
    }

    #[test]
    fn the_share_follows_a_steady_rate() {
        let (budget, start) = (budget(0.1, 1), start());
        let mut granted = 0;
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            for _ in 0..100 {
                budget.deposit(now);
                granted += withdraw(&budget, now, 1);
            }
        }
        assert_eq!(granted, 100 * 100 / 10, "the ratio, of which the floor is part");
    }

    #[test]
    fn routes_together_take_no_more_than_the_largest_terms_allow() {
        let start = start();
        for (first, second, expected) in
            [((0.2, 5), (0.5, 10), 50), ((0.5, 10), (0.2, 5), 50), ((0.2, 5), (0.0, 30), 30)]
        {
            let ledger = Arc::new(Ledger::default());
            let of =
                |(ratio, min_per_second)| Budget::new(BudgetPlan { ratio, min_per_second }, ledger.clone());
            let (first, second) = (of(first), of(second));
            (0..50).for_each(|_| {
                first.deposit(start);
                second.deposit(start);
            });
            let granted: usize =
                (0..100).map(|_| withdraw(&first, start, 1) + withdraw(&second, start, 1)).sum();
            assert_eq!(granted, expected, "half of a hundred, or the floor of thirty");
            assert_eq!(withdraw(&first, start, 1) + withdraw(&second, start, 1), 0);
        }
    }

    #[test]
    fn what_is_borrowed_and_goes_well_costs_nothing() {
        let (budget, start) = (budget(0.5, 2), start());
        (0..8).for_each(|_| budget.deposit(start));
        // From the floor and from what was earned alike, in any order, and only once each.
        for _ in 0..10 {
            let loans: Vec<_> = (0..9).filter_map(|_| budget.try_borrow(start)).collect();
            assert_eq!(loans.len(), 4);
            loans.iter().chain(&loans).for_each(Loan::repay);
        }
        drop(budget.try_borrow(start));
        assert_eq!(withdraw(&budget, start, 9), 3, "what went wrong is spent");
        // One of a second that is long gone gives nothing to the one in its slot.
        let late = start + Duration::from_secs(16);
        let old = budget.try_borrow(start + Duration::from_secs(1)).unwrap();
        budget.deposit(late);
        assert_eq!(withdraw(&budget, late + Duration::from_secs(1), 9), 2);
        old.repay();
        assert_eq!(withdraw(&budget, late + Duration::from_secs(1), 9), 0);
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let (budget, start) = (budget(0.5, 3), start());
        let granted: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..100).for_each(|_| budget.deposit(start));
                        withdraw(&budget, start, 100)
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        });
        let granted = granted + withdraw(&budget, start, 400);
        assert_eq!(granted, 200);
    }
}
