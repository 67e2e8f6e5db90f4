//! A value a thread: what many threads write, each writes to a cache line of its own.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

/// More shards than this are not made, however many processors there are: threads beyond it share.
const MAX_SHARDS: usize = 16;

/// How many shards everything has: a power of two, with room beside the workers for a few other threads.
fn shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        (2 * processors).next_power_of_two().clamp(4, MAX_SHARDS)
    })
}

/// The number of this thread, in the order in which threads first asked.
fn thread_number() -> usize {
    const UNKNOWN: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NUMBER.with(|number| {
        if number.get() == UNKNOWN {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// Two cache lines, because processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

/// As many values as there are shards, shared by all clones.
#[derive(Debug)]
pub(crate) struct Sharded<T>(Arc<[Padded<T>]>);

impl<T> Sharded<T> {
    /// The shard of this thread. (Always there; the type says otherwise so that nothing can panic.)
    pub(crate) fn mine(&self) -> Option<&T> {
        let mask = self.0.len().wrapping_sub(1);
        self.0.get(thread_number() & mask).map(|padded| &padded.0)
    }

    /// All shards.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}

impl<T: Default> Default for Sharded<T> {
    fn default() -> Self {
        Self((0..shards()).map(|_| Padded::default()).collect())
    }
}

impl<T> Clone for Sharded<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
