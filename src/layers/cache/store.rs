//! The store: complete entries by primary key, bounded in bytes; one for the process, it outlives reloads.
//!
//! moka decides what is kept and what goes when room is short. It knows nothing of freshness: an entry that
//! has gone stale stays useful for revalidation, and goes when it is the least used. What it counts for more
//! than its uses is [`cost`](super::cost)'s to say.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ahash::RandomState;
use tokio::sync::{Mutex, MutexGuard};

use crate::clock::Wall;
use crate::memory::{Memory, Use};
use crate::metrics::Metrics;

use super::config::EvictionPolicy;
use super::cost::Costs;
use super::entry::Entry;
use super::eviction::Eviction;
use super::flight::{Flights, flight_key};
use super::partial::Partial;
use super::plan::StorePlan;
use super::purge::Purges;
use super::refresh::Rests;
use super::search::Variances;
pub use super::slot::Slot;
use super::slot::{Contents, Gauges, Repeat};

/// By what share of its memory the store may be too full before moka is told to make room at once, and not
/// when it next would: a few large objects are much.
const SLACK_SHARE: u64 = 64;

/// How many changes of different keys there may be at once.
const TURNS: usize = 256;

/// The process's store of responses, and the flights that fill it.
#[derive(Debug)]
pub struct Store {
    cache: moka::future::Cache<Box<[u8]>, Arc<Slot>, RandomState>,
    /// Who changes a key takes its turn, so that none of two changes is lost.
    turns: Box<[Mutex<()>]>,
    hasher: RandomState,
    flights: Flights,
    purges: Arc<Purges>,
    variances: Variances,
    rests: Rests,
    memory: Memory,
    capacity: u64,
    max_object: u64,
    /// Where what was expensive stays longer.
    costs: Option<Costs>,
    gauges: Arc<Gauges>,
}

/// What a synchronous look found.
#[derive(Debug)]
pub enum Peek {
    /// The slot of the key, if there is one.
    Now(Option<Arc<Slot>>),
    /// The store is busy with itself: ask with [`Store::get`].
    Later,
}

impl Store {
    /// An empty store; what it holds and what is on its way into it is part of `memory`.
    pub fn new(plan: &StorePlan, memory: Memory, metrics: &Metrics) -> Self {
        let cache = moka::future::Cache::builder()
            .max_capacity(plan.memory)
            .weigher(|_, slot: &Arc<Slot>| slot.weight)
            .build_with_hasher(RandomState::new());
        let gauges = Arc::new(Gauges::new(metrics, memory.clone()));
        let filling = memory.clone();
        metrics.observe_with(
            "forebay_cache_fill_bytes",
            "Bytes on their way into the store, or to several clients.",
            &[],
            move || filling.used_for(Use::Filling) as f64,
        );
        let purges = Arc::new(Purges::default());
        Self {
            cache,
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            flights: Flights::new(Arc::clone(&purges)),
            purges,
            variances: Variances::default(),
            rests: Rests::default(),
            memory,
            capacity: plan.memory,
            max_object: plan.max_object.min(plan.memory),
            costs: (plan.eviction == EvictionPolicy::Cost).then(|| Costs::new(metrics)),
            gauges,
        }
    }

    /// The largest body stored, in bytes.
    pub const fn max_object(&self) -> u64 {
        self.max_object
    }

    /// The keys that are left alone for a while.
    pub const fn rests(&self) -> &Rests {
        &self.rests
    }

    /// The flights on their way.
    pub const fn flights(&self) -> &Flights {
        &self.flights
    }

    /// What was purged.
    pub const fn purges(&self) -> &Arc<Purges> {
        &self.purges
    }

    /// What responses last said of the queries of their paths.
    pub const fn variances(&self) -> &Variances {
        &self.variances
    }

    /// The budget that stored bodies and those on their way are part of.
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Looks a key up without waiting.
    pub fn peek(&self, key: &[u8]) -> Peek {
        // moka's `get` waits only where the caller happens to do its housekeeping and meets another thread.
        // It keeps a housekeeping that was dropped half-way and takes it up again at the next call.
        let lookup = pin!(self.cache.get(key));
        match lookup.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(slot) => Peek::Now(slot),
            Poll::Pending => Peek::Later,
        }
    }

    /// Looks a key up.
    pub async fn get(&self, key: &[u8]) -> Option<Arc<Slot>> {
        self.cache.get(key).await
    }

    /// Stores an entry, in place of the one of the same variant. Those that were `purged` go; then the
    /// variants that were stored or confirmed the longest ago, where there are more than `max_variants`; says
    /// how many of those did.
    pub async fn put(
        &self,
        key: &[u8],
        entry: Arc<Entry>,
        purged: impl Fn(&Entry) -> bool + Send + Sync,
        max_variants: usize,
    ) -> usize {
        let further_uses = self.costs.as_ref().map_or(0, |costs| costs.further_uses(entry.cost()));
        for _ in 0..further_uses {
            // moka counts lookups of what is not there as well: they are what lets a newcomer in.
            let _ = self.cache.get(key).await;
        }
        let (mut dropped, evictions) = (0, &self.gauges.evictions);
        self.update(key, |held| {
            let before = held.count();
            held.retain(|other| !purged(other));
            evictions.add(Eviction::Purged, before - held.count());
            dropped = held.put(entry, max_variants, evictions);
        })
        .await;
        self.make_room().await;
        dropped
    }

    /// Stores a part of a representation, with those that are here of the same bytes and in place of those of
    /// others, or of those that are not `alive`. With the last one it becomes an entry like any other.
    pub async fn put_part(
        &self,
        key: &[u8],
        part: Partial,
        alive: impl FnOnce(&Partial) -> bool + Send,
        max_variants: usize,
    ) {
        self.update(key, |held| {
            let of_variant = |other: &Arc<Partial>| other.head().variant() == part.head().variant();
            let at = held.partials.iter().position(of_variant);
            let older = at.map(|at| held.partials.remove(at));
            if held.variants.iter().any(|entry| entry.variant() == part.head().variant()) {
                return;
            }
            let joined = match older.filter(|older| alive(older)) {
                Some(older) => part.join(&older, self.max_object),
                None => part,
            };
            match joined.complete() {
                Ok(entry) => drop(held.put(Arc::new(entry), max_variants, &self.gauges.evictions)),
                Err(joined) => {
                    held.partials.insert(0, Arc::from(joined));
                    held.partials.truncate(max_variants.max(1));
                }
            }
        })
        .await;
        self.make_room().await;
    }

    /// Stores an answer that is good for one range only.
    pub(super) async fn put_repeat(&self, key: &[u8], repeat: Repeat) {
        self.update(key, |held| held.put_repeat(repeat, &self.gauges.evictions)).await;
        self.make_room().await;
    }

    async fn make_room(&self) {
        let stored = u64::try_from(self.gauges.bytes.get()).unwrap_or(0);
        if stored > self.capacity + self.capacity / SLACK_SHARE {
            self.cache.run_pending_tasks().await;
        }
    }

    /// Puts an entry in the place of another of the same variant, if that one is still there.
    pub async fn replace(&self, key: &[u8], id: u64, entry: Arc<Entry>) {
        self.update(key, |held| {
            if let Some(place) = held.variants.iter_mut().find(|other| other.id() == id) {
                *place = entry;
                self.gauges.evictions.add(Eviction::Replaced, 1);
            }
        })
        .await;
    }

    /// Removes one entry, complete or not, if it is still there.
    pub async fn remove_entry(&self, key: &[u8], id: u64) {
        self.update(key, |held| {
            let before = held.count();
            held.retain(|other| other.id() != id);
            self.gauges.evictions.add(Eviction::Outdated, before - held.count());
        })
        .await;
    }

    /// Remembers that the key's answers are not worth waiting for.
    pub async fn mark_pass(&self, key: &[u8], until: Wall) {
        self.update(key, |held| held.pass_until = until).await;
    }

    /// Removes all entries of a key, and keeps flights on their way from storing what they bring.
    pub async fn invalidate(&self, key: &[u8]) {
        self.flights.void(key);
        self.flights.void(&flight_key(key, true));
        let _turn = self.turn(key).await;
        if let Some(slot) = self.cache.remove(key).await {
            slot.retire();
            self.gauges.evictions.add(Eviction::Purged, slot.count());
        }
    }

    /// How many responses are stored.
    pub fn entries(&self) -> u64 {
        u64::try_from(self.gauges.entries.get()).unwrap_or(0)
    }

    /// Brings moka's bookkeeping up to date: for tests, and for whoever reads the gauges.
    pub async fn settle(&self) {
        self.cache.run_pending_tasks().await;
    }

    /// The turn of who changes this key.
    async fn turn(&self, key: &[u8]) -> Option<MutexGuard<'_, ()>> {
        let number = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % TURNS;
        match self.turns.get(number) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    async fn update(&self, key: &[u8], change: impl FnOnce(&mut Contents) + Send) {
        let _turn = self.turn(key).await;
        // Not moka's own `and_compute_with`: it looks the key up once more, and a miss looked up twice is two
        // uses. Newcomers would push out what was asked for more often than they.
        let old = if self.cache.contains_key(key) { self.cache.get(key).await } else { None };
        let mut held = old.as_ref().map(|slot| slot.contents()).unwrap_or_default();
        change(&mut held);
        if let Some(slot) = &old {
            slot.retire();
        }
        // In a box: moka's futures are large, and fills hold them while what is to stay is allocated. A hole
        // of their size beside every entry would be the allocator's to keep.
        if held.is_empty() {
            if old.is_some() {
                Box::pin(self.cache.invalidate(key)).await;
            }
        } else {
            let slot = Slot::new(key, held, &self.gauges);
            Box::pin(self.cache.insert(key.into(), slot)).await;
        }
    }
}
