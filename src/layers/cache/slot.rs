//! What the store holds under one key: its variants, parts of them, and what is known of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use smallvec::SmallVec;

use crate::clock::{self, Wall};
use crate::memory::{Hold, Memory, Use};
use crate::metrics::{Gauge, Metrics};

use super::entry::Entry;
use super::eviction::{Eviction, Evictions};
use super::partial::Partial;

/// What counts the slots of a store.
#[derive(Debug)]
pub(super) struct Gauges {
    pub(super) entries: Gauge,
    pub(super) bytes: Gauge,
    pub(super) evictions: Evictions,
    memory: Memory,
}

impl Gauges {
    /// Resolves the metrics; what slots hold is part of `memory`.
    pub(super) fn new(metrics: &Metrics, memory: Memory) -> Self {
        Self {
            entries: metrics.gauge("forebay_cache_entries", "Responses in the store.", &[]),
            bytes: metrics.gauge("forebay_cache_bytes", "Bytes that they take, bookkeeping included.", &[]),
            evictions: Evictions::new(metrics),
            memory,
        }
    }
}

/// All that is stored under one key: never changed, only replaced.
#[derive(Debug)]
pub struct Slot {
    pub(super) held: Contents,
    pub(super) weight: u32,
    /// The same, in the process's budget. It was asked for room before.
    _memory: Hold,
    gauges: Arc<Gauges>,
    /// Whether it was replaced or removed, and not evicted.
    retired: AtomicBool,
}

/// What a slot holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// Newest first, so that the first match is the one to use (RFC 9111 §4.1).
    pub(super) variants: SmallVec<[Arc<Entry>; 1]>,
    /// Variants of which only parts are here, newest first. Few keys have any, and all have room for them.
    pub(super) partials: Box<[Arc<Partial>]>,
    /// Until then the key's answers are known not to be worth waiting for; the epoch where nothing is known.
    pub(super) pass_until: Wall,
}

impl Contents {
    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.variants.is_empty() && self.partials.is_empty() && self.pass_until == Wall::default()
    }

    /// How many responses, complete or not.
    pub(super) fn count(&self) -> usize {
        self.variants.len() + self.partials.len()
    }

    fn weight(&self) -> usize {
        let entries = self.variants.iter().map(|entry| entry.weight()).sum::<usize>();
        entries + self.partials.iter().map(|partial| partial.weight()).sum::<usize>()
    }

    /// Keeps the parts that are like this.
    pub(super) fn retain_partials(&mut self, like: impl Fn(&Partial) -> bool) {
        if !self.partials.iter().all(|partial| like(partial)) {
            self.change_partials(|partials| partials.retain(|partial| like(partial)));
        }
    }

    /// Changes what parts there are.
    pub(super) fn change_partials<T>(&mut self, change: impl FnOnce(&mut Vec<Arc<Partial>>) -> T) -> T {
        let mut partials = std::mem::take(&mut self.partials).into_vec();
        let changed = change(&mut partials);
        self.partials = partials.into_boxed_slice();
        changed
    }

    /// Puts an entry in the place of the one of its variant; returns how many others went for it.
    pub(super) fn put(&mut self, entry: Arc<Entry>, max_variants: usize, evictions: &Evictions) -> usize {
        self.pass_until = Wall::default();
        self.retain_partials(|other| other.head().variant() != entry.variant());
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

impl Slot {
    /// A slot under this key.
    pub(super) fn new(key: &[u8], held: Contents, gauges: &Arc<Gauges>) -> Arc<Self> {
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

    /// How many of its responses, complete or not, are like this.
    pub(super) fn count_of(&self, like: impl Fn(&Entry) -> bool) -> u64 {
        let partials = self.held.partials.iter().map(|partial| partial.head());
        let entries = self.held.variants.iter().map(AsRef::as_ref);
        entries.chain(partials).filter(|entry| like(entry)).count() as u64
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
    pub(super) fn retire(&self) {
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
