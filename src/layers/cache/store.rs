//! The store: complete entries by primary key, bounded in bytes; one for the process, it outlives reloads.
//!
//! moka decides what is kept and what goes when room is short. It knows nothing of freshness: an entry that
//! has gone stale stays useful for revalidation, and goes when it is the least used.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use ahash::RandomState;
use http::HeaderMap;
use smallvec::SmallVec;

use crate::clock::{self, Wall};
use crate::memory::{Hold, Memory, Use};
use crate::metrics::{Gauge, Metrics};

use super::entry::Entry;
use super::eviction::{Eviction, Evictions};
use super::flight::{Flights, flight_key};
use super::partial::Partial;
use super::plan::StorePlan;
use super::purge::Purges;
use super::refresh::Rests;
use super::search::Variances;

/// By what share of its memory the store may be too full before moka is told to make room at once, and not
/// when it next would: a few large objects are much.
const SLACK_SHARE: u64 = 64;

/// The process's store of responses, and the flights that fill it.
#[derive(Debug)]
pub struct Store {
    cache: moka::future::Cache<Box<[u8]>, Arc<Slot>, RandomState>,
    flights: Flights,
    purges: Arc<Purges>,
    variances: Variances,
    rests: Rests,
    memory: Memory,
    capacity: u64,
    max_object: u64,
    gauges: Arc<Gauges>,
}

#[derive(Debug)]
struct Gauges {
    entries: Gauge,
    bytes: Gauge,
    evictions: Evictions,
    memory: Memory,
}

/// All that is stored under one key: never changed, only replaced.
#[derive(Debug)]
pub struct Slot {
    held: Contents,
    weight: u32,
    /// The same, in the process's budget. It was asked for room before.
    _memory: Hold,
    gauges: Arc<Gauges>,
    /// Whether it was replaced or removed, and not evicted.
    retired: AtomicBool,
}

/// What a slot holds.
#[derive(Clone, Debug, Default)]
struct Contents {
    /// Newest first, so that the first match is the one to use (RFC 9111 §4.1).
    variants: SmallVec<[Arc<Entry>; 1]>,
    /// Variants of which only parts are here, newest first.
    partials: Vec<Arc<Partial>>,
    /// Until then the key's answers are known not to be worth waiting for; the epoch where nothing is known.
    pass_until: Wall,
}

impl Contents {
    fn is_empty(&self) -> bool {
        self.variants.is_empty() && self.partials.is_empty() && self.pass_until == Wall::default()
    }

    fn count(&self) -> usize {
        self.variants.len() + self.partials.len()
    }

    fn weight(&self) -> usize {
        let entries = self.variants.iter().map(|entry| entry.weight()).sum::<usize>();
        entries + self.partials.iter().map(|partial| partial.weight()).sum::<usize>()
    }

    fn put(&mut self, entry: Arc<Entry>, max_variants: usize, evictions: &Evictions) -> usize {
        self.pass_until = Wall::default();
        self.partials.retain(|other| other.head().variant() != entry.variant());
        let before = self.variants.len();
        self.variants.retain(|other| other.variant() != entry.variant());
        evictions.add(Eviction::Replaced, before - self.variants.len());
        self.variants.insert(0, entry);
        let dropped = self.variants.len().saturating_sub(max_variants.max(1));
        self.variants.truncate(max_variants.max(1));
        evictions.add(Eviction::Variants, dropped);
        dropped
    }
}

/// What a synchronous look found.
#[derive(Debug)]
pub enum Peek {
    /// The slot of the key, if there is one.
    Now(Option<Arc<Slot>>),
    /// The store is busy with itself: ask with [`Store::get`].
    Later,
}

impl Slot {
    fn new(key: &[u8], held: Contents, gauges: &Arc<Gauges>) -> Arc<Self> {
        let weight = u32::try_from(held.weight() + key.len()).unwrap_or(u32::MAX);
        gauges.entries.add(i64::try_from(held.count()).unwrap_or(i64::MAX));
        gauges.bytes.add(i64::from(weight));
        let mut memory = gauges.memory.hold(Use::Stored);
        memory.set(weight.into());
        Arc::new(Self {
            held,
            weight,
            _memory: memory,
            gauges: Arc::clone(gauges),
            retired: AtomicBool::new(false),
        })
    }

    /// The entry that answers a request with these fields.
    pub fn select(&self, headers: &HeaderMap) -> Option<&Arc<Entry>> {
        self.held.variants.iter().find(|entry| entry.variant().is_empty() || entry.variant().matches(headers))
    }

    /// All entries, the newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.held.variants.iter()
    }

    /// The newest entry, whichever requests it answers.
    pub fn newest(&self) -> Option<&Arc<Entry>> {
        self.held.variants.first()
    }

    /// The parts of what answers a request with these fields, where not all of it is here.
    pub fn partial(&self, headers: &HeaderMap) -> Option<&Arc<Partial>> {
        self.held.partials.iter().find(|partial| partial.head().variant().matches(headers))
    }

    /// Whether it was learnt not long ago that the key's answers cannot be shared.
    pub fn passes(&self, now: Wall) -> bool {
        now < self.held.pass_until
    }

    /// It was taken out: what it holds is stored no more, or in another slot. moka may let go of it later, so
    /// its bytes count until it does.
    fn retire(&self) {
        if !self.retired.swap(true, Ordering::Relaxed) {
            self.gauges.entries.add(-self.count());
        }
    }

    fn count(&self) -> i64 {
        i64::try_from(self.held.count()).unwrap_or(i64::MAX)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.gauges.bytes.add(-i64::from(self.weight));
        if !self.retired.load(Ordering::Relaxed) {
            self.gauges.entries.add(-self.count());
            let now = clock::now().wall;
            for entry in &self.held.variants {
                self.gauges.evictions.add(Eviction::for_room(entry, now), 1);
            }
            self.gauges.evictions.add(Eviction::Size, self.held.partials.len());
        }
    }
}

impl Store {
    /// An empty store; what it holds and what is on its way into it is part of `memory`.
    pub fn new(plan: &StorePlan, memory: Memory, metrics: &Metrics) -> Self {
        let cache = moka::future::Cache::builder()
            .max_capacity(plan.memory)
            .weigher(|_, slot: &Arc<Slot>| slot.weight)
            .build_with_hasher(RandomState::new());
        let gauges = Arc::new(Gauges {
            entries: metrics.gauge("forebay_cache_entries", "Responses in the store.", &[]),
            bytes: metrics.gauge("forebay_cache_bytes", "Bytes that they take, bookkeeping included.", &[]),
            evictions: Evictions::new(metrics),
            memory: memory.clone(),
        });
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
            flights: Flights::new(Arc::clone(&purges)),
            purges,
            variances: Variances::default(),
            rests: Rests::default(),
            memory,
            capacity: plan.memory,
            max_object: plan.max_object.min(plan.memory),
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
        let (mut dropped, evictions) = (0, &self.gauges.evictions);
        self.update(key, |held| {
            let before = held.variants.len();
            held.variants.retain(|other| !purged(other));
            evictions.add(Eviction::Purged, before - held.variants.len());
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
            let older = held.partials.iter().position(of_variant).map(|at| held.partials.remove(at));
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
            held.variants.retain(|other| other.id() != id);
            held.partials.retain(|other| other.head().id() != id);
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
        if let Some(slot) = self.cache.remove(key).await {
            slot.retire();
            self.gauges.evictions.add(Eviction::Purged, slot.held.count());
        }
    }

    /// Brings moka's bookkeeping up to date: for tests, and for whoever reads the gauges.
    pub async fn settle(&self) {
        self.cache.run_pending_tasks().await;
    }

    async fn update(&self, key: &[u8], change: impl FnOnce(&mut Contents) + Send) {
        let gauges = &self.gauges;
        // In a box: moka's future is large, and fills hold it while what is to stay is allocated. A hole of
        // its size beside every entry would be the allocator's to keep.
        let change = Box::pin(self.cache.entry(key.into()).and_compute_with(async |old| {
            let old = old.map(moka::Entry::into_value);
            let mut held = old.as_ref().map(|slot| slot.held.clone()).unwrap_or_default();
            change(&mut held);
            if let Some(slot) = &old {
                slot.retire();
            }
            if held.is_empty() {
                return moka::ops::compute::Op::Remove;
            }
            moka::ops::compute::Op::Put(Slot::new(key, held, gauges))
        }));
        let _ = change.await;
    }
}
