//! What the store holds under one key: its variants, parts of them, and what is known of its answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use smallvec::SmallVec;

use crate::clock::{self, Wall};
use crate::memory::{Memory, Use};
use crate::metrics::{Gauge, Metrics};

use super::entry::Entry;
use super::eviction::{Eviction, Evictions};
use super::partial::Partial;

/// How many answers for one range each are kept under a key.
const REPEATS_MAX: usize = 16;

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

/// All that is stored under one key: never changed, only replaced. There is one for every response: what most
/// have none of is out of the way.
#[derive(Debug)]
pub struct Slot {
    newest: Option<Arc<Entry>>,
    more: Option<Box<More>>,
    gauges: Arc<Gauges>,
    pub(super) weight: u32,
    /// Whether it was replaced or removed, and not evicted.
    retired: AtomicBool,
}

/// What few slots hold.
#[derive(Debug)]
struct More {
    /// The variants but for the newest.
    older: Box<[Arc<Entry>]>,
    partials: Box<[Arc<Partial>]>,
    repeats: Box<[Repeat]>,
    pass_until: Wall,
}

/// A partial answer that answers only those who ask for exactly what it answered: see
/// [`ranged`](super::ranged).
#[derive(Clone, Debug)]
pub(super) struct Repeat {
    /// What was asked for: [`Ranged::scope`](super::ranged::Ranged::scope).
    pub(super) scope: Box<[u8]>,
    pub(super) entry: Arc<Entry>,
}

/// What a slot holds, to be changed.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Newest first, so that the first match is the one to use (RFC 9111 §4.1).
    pub(super) variants: SmallVec<[Arc<Entry>; 4]>,
    /// Variants of which only parts are here, newest first.
    pub(super) partials: Vec<Arc<Partial>>,
    /// Partial answers that are good for one range, newest first.
    pub(super) repeats: Vec<Repeat>,
    /// Until then the key's answers are known not to be worth waiting for; the epoch where nothing is known.
    pub(super) pass_until: Wall,
}

impl Contents {
    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0 && self.pass_until == Wall::default()
    }

    /// How many responses, complete or not.
    pub(super) fn count(&self) -> usize {
        self.variants.len() + self.partials.len() + self.repeats.len()
    }

    fn weight(&self) -> usize {
        let entries = self.variants.iter().map(|entry| entry.weight()).sum::<usize>();
        let repeats = self.repeats.iter().map(|repeat| repeat.scope.len() + repeat.entry.weight());
        entries + self.partials.iter().map(|partial| partial.weight()).sum::<usize>() + repeats.sum::<usize>()
    }

    /// Keeps the complete and partial answers that are like this.
    pub(super) fn retain(&mut self, like: impl Fn(&Entry) -> bool) {
        self.variants.retain(|entry| like(entry));
        self.partials.retain(|partial| like(partial.head()));
        self.repeats.retain(|repeat| like(&repeat.entry));
    }

    /// Puts an answer for one range in the place of the one of its variant, if the variant is not here whole.
    pub(super) fn put_repeat(&mut self, repeat: Repeat, evictions: &Evictions) {
        if self.variants.iter().any(|entry| entry.variant() == repeat.entry.variant()) {
            return;
        }
        self.pass_until = Wall::default();
        let before = self.repeats.len();
        let same =
            |other: &Repeat| other.scope == repeat.scope && other.entry.variant() == repeat.entry.variant();
        self.repeats.retain(|other| !same(other));
        evictions.add(Eviction::Replaced, before - self.repeats.len());
        self.repeats.insert(0, repeat);
        evictions.add(Eviction::Size, self.repeats.len().saturating_sub(REPEATS_MAX));
        self.repeats.truncate(REPEATS_MAX);
    }

    /// Puts an entry in the place of the one of its variant; returns how many others went for it.
    pub(super) fn put(&mut self, entry: Arc<Entry>, max_variants: usize, evictions: &Evictions) -> usize {
        self.pass_until = Wall::default();
        self.partials.retain(|other| other.head().variant() != entry.variant());
        self.repeats.retain(|other| other.entry.variant() != entry.variant());
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
        gauges.entries.add(signed(held.count()));
        gauges.bytes.add(i64::from(weight));
        // It was asked for room before.
        gauges.memory.take(Use::Stored, weight.into());
        let only_newest = held.count() == held.variants.len().min(1) && held.pass_until == Wall::default();
        let Contents { variants, partials, repeats, pass_until } = held;
        let mut variants = variants.into_iter();
        let newest = variants.next();
        let more = (!only_newest).then(|| {
            let (older, partials, repeats) = (variants.collect(), partials.into(), repeats.into());
            Box::new(More { older, partials, repeats, pass_until })
        });
        Arc::new(Self { newest, more, gauges: Arc::clone(gauges), weight, retired: AtomicBool::new(false) })
    }

    /// What it holds, to make another slot of.
    pub(super) fn contents(&self) -> Contents {
        Contents {
            variants: self.entries().cloned().collect(),
            partials: self.partials().to_vec(),
            repeats: self.repeats().to_vec(),
            pass_until: self.more.as_ref().map_or_else(Wall::default, |more| more.pass_until),
        }
    }

    fn partials(&self) -> &[Arc<Partial>] {
        self.more.as_ref().map_or(&[], |more| &more.partials)
    }

    fn repeats(&self) -> &[Repeat] {
        self.more.as_ref().map_or(&[], |more| &more.repeats)
    }

    /// How many responses, complete or not.
    pub(super) fn count(&self) -> usize {
        self.entries().count() + self.partials().len() + self.repeats().len()
    }

    /// The entry that answers a request with these fields.
    pub fn select(&self, headers: &HeaderMap) -> Option<&Arc<Entry>> {
        self.entries().find(|entry| entry.variant().is_empty() || entry.variant().matches(headers))
    }

    /// All entries, the newest first.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let older = self.more.as_ref().map_or(&[][..], |more| &more.older);
        self.newest.iter().chain(older)
    }

    /// How many of its responses, complete or not, are like this.
    pub(super) fn count_of(&self, like: impl Fn(&Entry) -> bool) -> u64 {
        let partials = self.partials().iter().map(|partial| partial.head());
        let repeats = self.repeats().iter().map(|repeat| repeat.entry.as_ref());
        let entries = self.entries().map(AsRef::as_ref);
        entries.chain(partials).chain(repeats).filter(|entry| like(entry)).count() as u64
    }

    /// The newest entry, whichever requests it answers.
    pub const fn newest(&self) -> Option<&Arc<Entry>> {
        self.newest.as_ref()
    }

    /// The parts of what answers a request with these fields, where not all of it is here.
    pub fn partial(&self, headers: &HeaderMap) -> Option<&Arc<Partial>> {
        self.partials().iter().find(|partial| partial.head().variant().matches(headers))
    }

    /// What was answered to a request for just this range, with these fields.
    pub(super) fn repeat(&self, scope: &[u8], headers: &HeaderMap) -> Option<&Arc<Entry>> {
        let same = |repeat: &&Repeat| *repeat.scope == *scope && repeat.entry.variant().matches(headers);
        self.repeats().iter().find(same).map(|repeat| &repeat.entry)
    }

    /// Whether it was learnt not long ago that the key's answers cannot be shared.
    pub fn passes(&self, now: Wall) -> bool {
        self.more.as_ref().is_some_and(|more| now < more.pass_until)
    }

    /// It was taken out: what it holds is stored no more, or in another slot. moka may let go of it later, so
    /// its bytes count until it does.
    pub(super) fn retire(&self) {
        if !self.retired.swap(true, Ordering::Relaxed) {
            self.gauges.entries.add(-signed(self.count()));
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.gauges.bytes.add(-i64::from(self.weight));
        self.gauges.memory.give_back(Use::Stored, self.weight.into());
        if !self.retired.load(Ordering::Relaxed) {
            self.gauges.entries.add(-signed(self.count()));
            let now = clock::now().wall;
            for entry in self.entries().chain(self.repeats().iter().map(|repeat| &repeat.entry)) {
                self.gauges.evictions.add(Eviction::for_room(entry, now), 1);
            }
            self.gauges.evictions.add(Eviction::Size, self.partials().len());
        }
    }
}

/// A count as a gauge takes it.
fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one of each for every stored response: see `loadtest/entry-memory`.
    #[test]
    fn a_stored_response_takes_little() {
        let sizes = [size_of::<Slot>(), size_of::<Entry>()];
        assert!(sizes[0] <= 32 && sizes[1] <= 184, "{sizes:?} bytes for the slot and the entry");
    }
}
