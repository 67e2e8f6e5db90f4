//! Refreshing what nobody waits for: entries that were served stale, and, where `refresh_ahead` is on, busy
//! ones that soon will be stale.
//!
//! Such a request is a gift, so it is the first to go without: a route makes at most [`MAX_AT_ONCE`] of them
//! at the same time, a key only one, and a key whose origin is in trouble rests after each failure, twice as
//! long each time. And each borrows from the upstream's [`budget`](crate::layers::budget), which retries and
//! hedges share: it gives back what goes well, so only an origin in trouble is refreshed less for it.
//!
//! What is busy is found without a word to other threads: only in the last tenth of its lifetime an entry's
//! hits are counted at all, one in [`SAMPLE`] of them. It is refreshed when its clients would have waited a
//! second in all, had each met it stale: hits times what the origin took.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;

use crate::clock::{self, Instant, Wall};
use crate::http::{Request, Trail};
use crate::layers::Inner;
use crate::layers::budget::{Budget, Loan};

use super::core::Core;
use super::entry::Entry;
use super::fetch::Fetch;
use super::fill;
use super::flight::Join;
use super::layer::Cache;

/// How many refreshes a route makes at once.
pub const MAX_AT_ONCE: usize = 64;

/// One in so many hits is counted.
pub const SAMPLE: u32 = 16;

/// How long an entry's clients would have to wait in all for it to be refreshed ahead.
const WORTH_IT: Duration = Duration::from_secs(1);

/// How long a key rests after its first failure, and at most. Half of it is jitter.
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(60);

/// How many keys rest at most; beyond them, those whose rest is over are forgotten, and then no key rests.
const RESTS_MAX: usize = 4096;

thread_local! {
    static HITS: Cell<u32> = const { Cell::new(0) };
}

/// Whether a fresh entry that was just asked for should be refreshed before it is stale.
pub(super) fn is_due(entry: &Entry, now: Wall) -> bool {
    if !entry.lifetime().is_nearly_over(now) {
        return false;
    }
    let hits = HITS.get().wrapping_add(1);
    HITS.set(hits);
    hits.is_multiple_of(SAMPLE) && entry.cost().saturating_mul(entry.ask(SAMPLE)) >= WORTH_IT
}

/// How many refreshes a route may make at once.
#[derive(Clone, Debug, Default)]
pub struct Permits(Arc<AtomicUsize>);

/// One of them, given back at its drop.
#[derive(Debug)]
pub struct Permit {
    all: Permits,
    loan: Option<Loan>,
}

impl Permits {
    /// Takes one, if there is one.
    pub fn take(&self) -> Option<Permit> {
        let permit = Permit { all: self.clone(), loan: None };
        // Beyond the bound the new permit's drop gives it back.
        (self.0.fetch_add(1, Ordering::Relaxed) < MAX_AT_ONCE).then_some(permit)
    }
}

#[cfg(test)]
impl Permits {
    pub(super) fn taken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// For tests: the next hit counted on this thread is the first.
#[cfg(test)]
pub(super) fn begin_sampling() {
    HITS.set(0);
}

impl Permit {
    /// With leave for an attempt that nobody waits for; none if there is no such leave.
    #[must_use]
    fn paid(mut self, budget: &Budget, now: Instant) -> Option<Self> {
        self.loan = Some(budget.try_borrow(now)?);
        Some(self)
    }

    /// The origin is well: the attempt cost nothing.
    pub fn repay(&self) {
        if let Some(loan) = &self.loan {
            loan.repay();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The keys that are left alone for a while.
#[derive(Debug, Default)]
pub struct Rests {
    keys: Mutex<HashMap<Box<[u8]>, Rest, RandomState>>,
    /// How many there are: mostly none, and then nobody takes the lock.
    count: AtomicUsize,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    failures: u32,
}

impl Rests {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, Rest, RandomState>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Whether this key is to be left alone.
    pub fn rests(&self, key: &[u8], now: Instant) -> bool {
        !self.is_empty() && self.lock().get(key).is_some_and(|rest| now < rest.until)
    }

    /// The origin is in trouble with this key; `random` is uniform in 0..1.
    pub fn failed(&self, key: &[u8], now: Instant, random: f64) {
        let mut keys = self.lock();
        if keys.len() >= RESTS_MAX && !keys.contains_key(key) {
            keys.retain(|_, rest| now < rest.until);
        }
        if keys.len() < RESTS_MAX || keys.contains_key(key) {
            let failures = keys.get(key).map_or(0, |rest| rest.failures).saturating_add(1);
            let longest = REST.saturating_mul(1 << (failures - 1).min(16)).min(REST_MAX);
            let until = now + longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
            keys.insert(key.into(), Rest { until, failures });
        }
        self.count.store(keys.len(), Ordering::Relaxed);
    }

    /// It is well again.
    pub fn recovered(&self, key: &[u8]) {
        if !self.is_empty() {
            let mut keys = self.lock();
            keys.remove(key);
            self.count.store(keys.len(), Ordering::Relaxed);
        }
    }
}

impl<S: Inner> Cache<S> {
    /// Refreshes an entry in the background, unless that is under way or better left alone.
    pub(super) fn refresh(&self, core: &Arc<Core>, request: &Request, fetch: &Fetch) {
        let ahead = fetch.stale_entry().is_some_and(|entry| entry.lifetime().is_fresh(request.received.wall));
        let reason = if ahead { "ahead" } else { "stale" };
        core.meter.refresh(reason, self.try_refresh(core, request, fetch));
    }

    /// The same; returns what became of it.
    fn try_refresh(&self, core: &Arc<Core>, request: &Request, fetch: &Fetch) -> &'static str {
        let now = clock::now().instant;
        if core.store.rests().rests(fetch.key(), now) {
            return "resting";
        }
        let Some(permit) = core.permits.take() else { return "too-many" };
        let Some(permit) = permit.paid(&core.budget, now) else { return "budget" };
        let listed_key = core.flight_key(request, fetch.key(), core.is_restricted(&request.headers));
        let selector = fetch.selector().cloned();
        match core.store.flights().join(&listed_key, &request.headers, selector, None, now) {
            Join::Lead(interest) => {
                interest.flight().go_on();
                let mut copy = fill::plain_copy(request, Trail::off());
                copy.deadline = None;
                self.launch(core, copy, fetch, listed_key, &interest, Err(permit));
                "started"
            }
            Join::Follow(_) => {
                permit.repay();
                "under-way"
            }
            Join::Full => {
                permit.repay();
                "too-many"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_trouble_rests_longer_each_time() {
        let (rests, start) = (Rests::default(), clock::now().instant);
        let after = |millis| start + Duration::from_millis(millis);
        assert!(!rests.rests(b"a", start));
        for (failures, longest) in [(1, 1000), (2, 2000), (3, 4000), (7, 60_000), (40, 60_000)] {
            for (random, rest) in [(0.0, longest / 2), (1.0, longest)] {
                rests.recovered(b"a");
                (0..failures).for_each(|_| rests.failed(b"a", start, random));
                assert!(rests.rests(b"a", after(rest - 1)), "{failures} {random}");
                assert!(!rests.rests(b"a", after(rest)), "{failures} {random}");
            }
        }
        assert!(!rests.rests(b"b", start), "each key for itself");
        rests.recovered(b"a");
        assert!(!rests.rests(b"a", start) && rests.is_empty());
    }

    #[test]
    fn the_number_of_resting_keys_is_bounded() {
        let (rests, start) = (Rests::default(), clock::now().instant);
        for key in 0..10_000_u32 {
            rests.failed(&key.to_le_bytes(), start, 0.5);
        }
        assert_eq!(rests.lock().len(), RESTS_MAX);
        rests.failed(b"late", start + REST_MAX, 0.5);
        assert!(rests.rests(b"late", start + REST_MAX), "those whose rest is over made room");
        assert_eq!(rests.lock().len(), 1);
    }

    #[test]
    fn permits_are_given_back() {
        let permits = Permits::default();
        let taken: Vec<_> = (0..MAX_AT_ONCE + 5).filter_map(|_| permits.take()).collect();
        assert_eq!(taken.len(), MAX_AT_ONCE);
        drop(taken);
        assert!(permits.take().is_some());
    }
}
