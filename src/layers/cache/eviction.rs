//! Why responses leave the store, counted.

use crate::clock::Wall;
use crate::metrics::{Counter, Metrics};

use super::entry::Entry;

/// Why a response left the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// For want of room, while it could still answer on its own; or it was not let in.
    Size,
    /// For want of room, after the end of its lifetime and of all windows in which it may be served stale.
    Expired,
    /// A newer response of its variant took its place, or it was confirmed.
    Replaced,
    /// It was purged, or a request changed what it was a response to (RFC 9111 §4.4).
    Purged,
    /// Its key had more than `max_variants`.
    Variants,
    /// The origin's newer answer could not be stored.
    Outdated,
}

impl Eviction {
    /// All, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Size, Self::Expired, Self::Replaced, Self::Purged, Self::Variants, Self::Outdated];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Purged => "purged",
            Self::Variants => "variants",
            Self::Outdated => "outdated",
        }
    }

    /// Why an entry goes for which there is no room.
    pub fn for_room(entry: &Entry, now: Wall) -> Self {
        if entry.lifetime().useful_until() <= now { Self::Expired } else { Self::Size }
    }
}

/// The responses that left, by reason.
#[derive(Debug)]
pub struct Evictions([Counter; Eviction::ALL.len()]);

impl Evictions {
    /// Resolves the metrics.
    pub fn new(metrics: &Metrics) -> Self {
        Self(Eviction::ALL.map(|reason| {
            metrics.counter(
                "forebay_cache_evictions_total",
                "Responses that left the store, or were not let in, by why.",
                &[("reason", reason.as_str())],
            )
        }))
    }

    /// Counts so many.
    pub fn add(&self, reason: Eviction, count: usize) {
        if let Some(counter) = self.0.get(reason as usize) {
            counter.add(count as u64);
        }
    }
}
