//! When a name was last purged, for any number of names in a fixed amount of memory.
//!
//! A count-min sketch of generations: a name has one place in each of four rows, chosen by its hash. A purge
//! raises all four; what is read is the least of them. That is never less than what was written, so no purge
//! is missed; it is more only where every one of the four places is shared with a name that was purged later.
//!
//! ```
//! use forebay::layers::cache::purge::{Mode, sketch::Sketch};
//! let sketch = Sketch::new();
//! sketch.raise(0x1234_5678_9abc_def0, Mode::Soft, 7);
//! assert_eq!(sketch.last(0x1234_5678_9abc_def0, Mode::Soft), 7);
//! assert_eq!(sketch.last(0x1234_5678_9abc_def0, Mode::Hard), 0);
//! ```
//!
//! Nothing has to be forgotten. An entry only asks whether a name was purged *after* some generation, and
//! what was purged before disturbs nobody: with `n` names purged within the lifetime of an entry, the chance
//! that it is purged by accident is `(1 - e^(-n/16384))^4`, which is 1 in 10,000 for 1,700 names and 1 in 40
//! for 8,000.

use std::sync::atomic::{AtomicU64, Ordering};

use super::generation::Mode;

/// In how many places a name is kept.
const ROWS: usize = 4;

/// The bits of a hash that choose a place.
const BITS: usize = 14;

/// How many places a row has: 256 KiB a row, 1 MiB in all.
const PLACES: usize = 1 << BITS;

/// See the [module docs](self).
#[derive(Debug)]
pub struct Sketch {
    places: Box<[Place]>,
}

/// The newest purge of all names that share it, soft and hard.
#[derive(Debug, Default)]
struct Place([AtomicU64; 2]);

impl Place {
    const fn of(&self, mode: Mode) -> &AtomicU64 {
        let [soft, hard] = &self.0;
        match mode {
            Mode::Soft => soft,
            Mode::Hard => hard,
        }
    }
}

impl Sketch {
    /// A sketch in which nothing was ever purged.
    pub fn new() -> Self {
        Self { places: (0..ROWS * PLACES).map(|_| Place::default()).collect() }
    }

    /// Remembers that a name was purged in this generation.
    pub fn raise(&self, hash: u64, mode: Mode, generation: u64) {
        for place in self.places_of(hash) {
            place.of(mode).fetch_max(generation, Ordering::Release);
        }
    }

    /// The generation in which a name was last purged, or a later one; 0 if it never was.
    pub fn last(&self, hash: u64, mode: Mode) -> u64 {
        let mut least = u64::MAX;
        for place in self.places_of(hash) {
            least = least.min(place.of(mode).load(Ordering::Acquire));
            if least == 0 {
                break;
            }
        }
        least
    }

    fn places_of(&self, hash: u64) -> impl Iterator<Item = &Place> {
        (0..ROWS).filter_map(move |row| {
            let column = usize::try_from(hash >> (row * BITS)).unwrap_or(usize::MAX) % PLACES;
            self.places.get(row * PLACES + column)
        })
    }
}

impl Default for Sketch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_purged_later_counts_and_modes_do_not_mix() {
        let sketch = Sketch::new();
        for (hash, mode, generation) in
            [(1, Mode::Soft, 3), (1, Mode::Soft, 2), (1, Mode::Hard, 1), (u64::MAX, Mode::Hard, 9)]
        {
            sketch.raise(hash, mode, generation);
        }
        assert_eq!(sketch.last(1, Mode::Soft), 3);
        assert_eq!(sketch.last(1, Mode::Hard), 1);
        assert_eq!(sketch.last(u64::MAX, Mode::Hard), 9);
        assert_eq!(sketch.last(u64::MAX, Mode::Soft), 0);
        assert_eq!(sketch.last(2, Mode::Hard), 0);
    }

    /// A name shares some places with others and is found out by the ones it does not share.
    #[test]
    fn few_names_are_purged_by_accident() {
        let sketch = Sketch::new();
        let mut random = fastrand::Rng::with_seed(7);
        let purged: Vec<u64> = (0..1_700).map(|_| random.u64(..)).collect();
        purged.iter().for_each(|hash| sketch.raise(*hash, Mode::Hard, 1));
        assert!(purged.iter().all(|hash| sketch.last(*hash, Mode::Hard) == 1));
        let accidents = (0..100_000).filter(|_| sketch.last(random.u64(..), Mode::Hard) > 0).count();
        assert!(accidents < 40, "{accidents} of 100,000");
    }
}
