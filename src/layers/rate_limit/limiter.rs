//! The buckets of one limit: governor's GCRA over a bounded table, fed with the request's own reading of the
//! clock.
//!
//! A bucket is one number, the theoretical arrival time: when the bucket would be full again. A request
//! moves it one interval further, and conforms if it then lies at most `burst` intervals ahead.
//!
//! - **Time is an argument.** governor asks a clock; ours shows what the caller put on this thread's
//!   `READING` just before. A reading that is older than the last one takes nothing back, it is only judged
//!   more strictly.
//! - **A later reading is a reservation.** To take a token at a time to come is to queue for it: whoever
//!   comes next finds the bucket emptier. That is how [`delay`](super::delay) works.
//! - **The table is bounded.** A key that was evicted starts over with a full bucket. Eviction spares the
//!   keys that are seen again (S3-FIFO), so a flood of new keys evicts other new keys, not the busy ones.
//! - **One bucket a key.** A bucket is read and written under the lock of its shard of the table, for some
//!   nanoseconds, and a first request fills a place that the others of its key wait for: none can act on an
//!   evicted bucket or on a second one.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{NotUntil, RateLimiter};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle, EntryAction, EntryResult};

use crate::clock::{self, Instant};
use crate::http::Request;

use super::key::{Key, Keyer};
use super::plan::{KeyPlan, LimitPlan};

thread_local! {
    /// What governor's clock shows on this thread: nanoseconds since the limiter's epoch.
    static READING: Cell<u64> = const { Cell::new(0) };
    /// The theoretical arrival time that was stored last on this thread: governor keeps it to itself.
    static STORED: Cell<u64> = const { Cell::new(0) };
}

/// A limit at work: its plan and its buckets.
///
/// It lives behind an `Arc` and survives a reload as long as its plan is equal.
pub struct Limiter {
    plan: LimitPlan,
    keyer: Keyer,
    buckets: Buckets,
    /// The instant that all readings count from.
    epoch: Instant,
    /// Nanoseconds in which one request becomes possible.
    interval: u64,
    /// Nanoseconds that the theoretical arrival time may lie ahead after a request.
    depth: u64,
    /// How many requests wait for their turn.
    waiting: AtomicU32,
}

/// How a key stands after a request of it was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many more requests are possible right away.
    pub remaining: u32,
    /// When one more becomes possible, counted from the request.
    pub next: Duration,
    /// The theoretical arrival time that the request left behind.
    stored: u64,
}

impl Standing {
    /// The standing of a key that has used up its quota; one request becomes possible after `next`.
    pub const fn exhausted(next: Duration) -> Self {
        Self { remaining: 0, next, stored: 0 }
    }
}

type Gcra<S> = RateLimiter<<S as StateStore>::Key, S, Fed, NoOpMiddleware<Nanos>>;

enum Buckets {
    One(Gcra<Single>, Single),
    Each(Gcra<Table>, Table),
}

impl Limiter {
    /// A limiter with all buckets full.
    pub fn new(plan: LimitPlan) -> Self {
        let interval = plan.quota.interval();
        let quota = governor::Quota::with_period(interval)
            .unwrap_or(governor::Quota::per_second(plan.quota.burst()))
            .allow_burst(plan.quota.burst());
        // governor reads the clock once here, to count from: from our epoch.
        READING.set(0);
        let buckets = match plan.key {
            KeyPlan::Global => {
                let single = Single::default();
                Buckets::One(RateLimiter::new(quota, single.clone(), Fed), single)
            }
            KeyPlan::ClientIp | KeyPlan::Header(_) | KeyPlan::Query(_) | KeyPlan::Cookie(_) => {
                let table = Table::new(plan.max_keys);
                Buckets::Each(RateLimiter::new(quota, table.clone(), Fed), table)
            }
        };
        let interval = nanos(interval);
        Self {
            keyer: Keyer::new(plan.key.clone()),
            buckets,
            epoch: clock::now().instant,
            interval,
            depth: interval.saturating_mul(u64::from(plan.quota.burst().get())),
            waiting: AtomicU32::new(0),
            plan,
        }
    }

    /// What it was built from.
    pub const fn plan(&self) -> &LimitPlan {
        &self.plan
    }

    /// Whom `request` counts for.
    pub fn key(&self, request: &Request) -> Key {
        self.keyer.key(request)
    }

    /// How many keys are remembered: at most `max_keys`, rounded up to whole shards of the table.
    pub fn remembered(&self) -> usize {
        match &self.buckets {
            Buckets::One(..) => 1,
            Buckets::Each(_, table) => table.0.len(),
        }
    }

    /// How many requests wait for their turn.
    pub fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Takes one token at `at`.
    ///
    /// `at` may lie in the future: then the token is reserved.
    ///
    /// # Errors
    ///
    /// When no token is left: the instant at which the next one is due. Nothing was taken.
    pub fn take(&self, key: &Key, at: Instant) -> Result<Standing, Instant> {
        let reading = nanos(at.saturating_duration_since(self.epoch));
        READING.set(reading);
        let verdict = match &self.buckets {
            Buckets::One(gcra, _) => gcra.check(),
            Buckets::Each(gcra, _) => gcra.check_key(key),
        };
        verdict.map_err(|until| self.instant(&until))?;
        let stored = STORED.get();
        let left = reading.saturating_add(self.depth).saturating_sub(stored);
        let interval = self.interval.max(1);
        Ok(Standing {
            remaining: u32::try_from(left / interval).unwrap_or(u32::MAX),
            next: Duration::from_nanos(interval - left % interval),
            stored,
        })
    }

    /// Gives back the token that left `standing` behind, and says whether that was possible.
    ///
    /// It is not once another token of this key was taken: to move those who queue behind forward, they would
    /// have to be told, and to hand the gap to a newcomer would let two pass at one time.
    pub fn give_back(&self, key: &Key, standing: &Standing) -> bool {
        let last = |stored: Option<Nanos>| match stored.map(u64::from) {
            Some(stored) if stored == standing.stored => {
                Ok(((), Nanos::from(stored.saturating_sub(self.interval))))
            }
            _ => Err(()),
        };
        match &self.buckets {
            Buckets::One(_, single) => single.measure_and_replace(&NotKeyed::NonKey, last).is_ok(),
            Buckets::Each(_, table) => table.measure_and_replace(key, last).is_ok(),
        }
    }

    /// A place among at most `queue` requests that wait; it is left by [`leave`](Self::leave).
    pub(super) fn enter(&self, queue: u32) -> bool {
        let next = |waiting| (waiting < queue).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }

    /// Leaves the place that [`enter`](Self::enter) gave.
    pub(super) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    fn instant(&self, until: &NotUntil<Nanos>) -> Instant {
        self.epoch + Duration::from_nanos(until.earliest_possible().as_u64())
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("plan", &self.plan)
            .field("remembered", &self.remembered())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

/// As a number of nanoseconds; saturates after 584 years.
fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

/// The clock that shows this thread's [`READING`].
struct Fed;

impl Clock for Fed {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        READING.get().into()
    }
}

/// The one bucket of a global limit.
#[derive(Clone, Default)]
struct Single(Arc<InMemoryState>);

impl StateStore for Single {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, |stored| {
            let (outcome, next) = decide(stored)?;
            // Called again where another thread was faster: the last call is the one that counts.
            STORED.set(next.into());
            Ok((outcome, next))
        })
    }
}

/// The buckets of a keyed limit, at most so many.
#[derive(Clone)]
struct Table(Arc<Bounded>);

/// The theoretical arrival times in nanoseconds since the epoch.
type Bounded = Cache<Key, u64, UnitWeighter, ahash::RandomState, DefaultLifecycle<Key, u64>>;

impl Table {
    fn new(max_keys: u32) -> Self {
        let items = usize::try_from(max_keys).unwrap_or(usize::MAX);
        let hasher = ahash::RandomState::new();
        Self(Arc::new(Cache::with(
            items,
            u64::from(max_keys),
            UnitWeighter,
            hasher,
            DefaultLifecycle::default(),
        )))
    }
}

impl StateStore for Table {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let entry = self.0.entry(key, None, |_, stored| {
            EntryAction::Retain(decide(Some((*stored).into())).map(|(outcome, next)| {
                *stored = next.into();
                STORED.set(*stored);
                outcome
            }))
        });
        match entry {
            EntryResult::Retained(outcome) => outcome,
            EntryResult::Vacant(place) => {
                let (outcome, next) = decide(None)?;
                STORED.set(next.into());
                // It fails only where somebody removed the place, and nobody removes keys.
                let _ = place.insert(next.into());
                Ok(outcome)
            }
            // We neither remove nor replace nor set a timeout; as if the key were new.
            EntryResult::Removed(..) | EntryResult::Replaced(..) | EntryResult::Timeout => {
                decide(None).map(|(outcome, next)| {
                    STORED.set(next.into());
                    outcome
                })
            }
        }
    }
}
