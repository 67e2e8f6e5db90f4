//! How many permits are out and how many requests wait, in one word that changes as a whole.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) in_flight: u32,
    pub(super) waiting: u32,
}

/// The word.
#[derive(Debug, Default)]
pub(super) struct Word(AtomicU64);

impl Count {
    const fn unpack(word: u64) -> Self {
        Self { in_flight: word as u32, waiting: (word >> 32) as u32 }
    }

    /// The same with one permit fewer out.
    pub(super) const fn less_one(self) -> Self {
        Self { in_flight: self.in_flight.saturating_sub(1), ..self }
    }

    const fn pack(self) -> u64 {
        (self.waiting as u64) << 32 | self.in_flight as u64
    }
}

impl Word {
    /// What it says now.
    pub(super) fn read(&self) -> Count {
        Count::unpack(self.0.load(Ordering::Acquire))
    }

    /// Changes it, unless `next` refuses: what it was, and what it is.
    pub(super) fn change(&self, next: impl Fn(Count) -> Option<Count>) -> Option<(Count, Count)> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let (before, after) = (Count::unpack(word), next(Count::unpack(word))?);
            match self.0.compare_exchange_weak(word, after.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some((before, after)),
                Err(current) => word = current,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_do_not_mix() {
        for (in_flight, waiting) in [(0, 0), (u32::MAX, 0), (0, u32::MAX), (7, 9)] {
            let count = Count { in_flight, waiting };
            assert_eq!(Count::unpack(count.pack()), count);
        }
    }
}
