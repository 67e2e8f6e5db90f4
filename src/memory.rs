//! One budget for the memory that bodies take in the whole process: stored, arriving, kept for retries.
//!
//! ```
//! use forebay::memory::{Memory, Use};
//!
//! let memory = Memory::new(1000);
//! let mut filling = memory.hold(Use::Filling);
//! assert!(filling.try_grow(800));
//! assert!(!memory.hold(Use::Replay).try_grow(300), "beyond the limit");
//! drop(filling);
//! assert_eq!(memory.used(), 0);
//! ```
//!
//! Who cannot have what it asks for does without: a response passes through unstored, a request body cannot
//! be sent twice, the readers of one body must keep closer together. What is held already is never taken
//! away.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What memory is held for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Responses in the store, bookkeeping included.
    Stored,
    /// Bodies of responses on their way into the store, or to several clients.
    Filling,
    /// Bodies of requests, kept for another attempt.
    Replay,
    /// Encoders at work.
    Encoding,
    /// Encoded forms of what is in the store.
    Encoded,
    /// Answers that are kept for idempotency keys.
    Answers,
}

impl Use {
    /// All, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Stored, Self::Filling, Self::Replay, Self::Encoding, Self::Encoded, Self::Answers];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Filling => "filling",
            Self::Replay => "replay",
            Self::Encoding => "encoding",
            Self::Encoded => "encoded",
            Self::Answers => "answers",
        }
    }
}

/// The budget: a handle, cheap to clone.
#[derive(Clone)]
pub struct Memory(Arc<Ledger>);

struct Ledger {
    limit: u64,
    used: AtomicU64,
    by_use: [AtomicU64; Use::ALL.len()],
}

impl Memory {
    /// A budget of so many bytes.
    pub fn new(limit: u64) -> Self {
        Self(Arc::new(Ledger { limit, used: AtomicU64::new(0), by_use: Default::default() }))
    }

    /// A budget that is never spent.
    pub fn unlimited() -> Self {
        Self::new(u64::MAX)
    }

    /// A hold of nothing yet.
    pub fn hold(&self, what: Use) -> Hold {
        Hold { memory: self.clone(), what, bytes: 0 }
    }

    /// Counts what is there already and is bounded by other means, whether the budget has it or not: as
    /// [`Hold::set`] does, for one who remembers how much it is, and [gives it back](Self::give_back).
    pub fn take(&self, what: Use, bytes: u64) {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        self.0.of(what).fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what was [taken](Self::take).
    pub fn give_back(&self, what: Use, bytes: u64) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        self.0.of(what).fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many bytes there are in all.
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// How many are held. While others move it, this may be off by as much as they move it.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// How many are held for one use.
    pub fn used_for(&self, what: Use) -> u64 {
        self.0.of(what).load(Ordering::Relaxed)
    }

    /// Whether less than a sixteenth is left: time for everybody to be modest.
    pub fn is_tight(&self) -> bool {
        self.used() > self.limit() - self.limit() / 16
    }
}

impl Ledger {
    const fn of(&self, what: Use) -> &AtomicU64 {
        let [stored, filling, replay, encoding, encoded, answers] = &self.by_use;
        match what {
            Use::Stored => stored,
            Use::Filling => filling,
            Use::Replay => replay,
            Use::Encoding => encoding,
            Use::Encoded => encoded,
            Use::Answers => answers,
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("limit", &self.limit()).field("used", &self.used()).finish()
    }
}

/// Some bytes of the budget, given back at its drop.
#[derive(Debug)]
pub struct Hold {
    memory: Memory,
    what: Use,
    bytes: u64,
}

impl Hold {
    /// How many bytes it holds.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The budget it is part of.
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Holds so many bytes more, if the budget has them.
    pub fn try_grow(&mut self, bytes: u64) -> bool {
        let ledger = &*self.memory.0;
        let before = ledger.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > ledger.limit {
            ledger.used.fetch_sub(bytes, Ordering::Relaxed);
            return false;
        }
        ledger.of(self.what).fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        true
    }

    /// Holds exactly so many bytes, whether the budget has them or not: for what is there already, and is
    /// bounded by other means.
    pub fn set(&mut self, bytes: u64) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.memory.take(self.what, more),
            None => self.memory.give_back(self.what, self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_once_and_given_back() {
        let memory = Memory::new(100);
        let (mut a, mut b) = (memory.hold(Use::Stored), memory.hold(Use::Filling));
        assert!(a.try_grow(60) && b.try_grow(40));
        assert!(!b.try_grow(1) && !a.try_grow(u64::MAX / 2));
        assert!(memory.is_tight());
        assert_eq!(
            (memory.used(), memory.used_for(Use::Stored), memory.used_for(Use::Filling)),
            (100, 60, 40)
        );
        b.set(10);
        assert!(!memory.is_tight());
        b.set(70);
        assert_eq!((memory.used(), b.bytes()), (130, 70), "what is there already is counted");
        memory.take(Use::Stored, 5);
        assert_eq!((memory.used(), memory.used_for(Use::Stored)), (135, 65));
        memory.give_back(Use::Stored, 5);
        drop(a);
        drop(b);
        assert_eq!((memory.used(), memory.used_for(Use::Stored), memory.used_for(Use::Filling)), (0, 0, 0));
    }

    #[test]
    fn many_threads_never_hold_more_than_there_is() {
        let memory = Memory::new(1000);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for bytes in 0..2000 {
                        let mut hold = memory.hold(Use::ALL[bytes % Use::ALL.len()]);
                        if hold.try_grow(bytes as u64) {
                            assert!(hold.bytes() <= 1000);
                        }
                    }
                });
            }
        });
        assert_eq!(memory.used(), 0);
        assert!(Use::ALL.into_iter().all(|what| memory.used_for(what) == 0));
    }
}
