//! What writer and readers of a shared body see under its lock.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;

use crate::error::Error;
use crate::memory::Hold;

use super::Shared;

/// What a chunk takes beside its bytes, in bytes.
const CHUNK_OVERHEAD: u64 = 64;

/// Chunks, readers and the end.
pub(super) struct State {
    /// The chunks from number `base` on.
    pub(super) chunks: VecDeque<Bytes>,
    pub(super) base: u64,
    /// Bytes in `chunks`.
    pub(super) held: u64,
    /// Bytes ever pushed.
    pub(super) total: u64,
    /// Whether every chunk stays.
    pub(super) kept: bool,
    /// What it may take while it is kept, and what it takes once it is streamed.
    memory: Hold,
    /// What it takes of that while it is kept.
    charged: u64,
    window: u64,
    pub(super) seats: Vec<Option<Seat>>,
    pub(super) end: Option<Ending>,
}

/// One reader's place.
pub(super) struct Seat {
    /// The number of the chunk it reads next.
    pub(super) next: u64,
    pub(super) waker: Option<Waker>,
    pub(super) cut: bool,
}

/// How a body ended.
pub(super) enum Ending {
    Complete(Option<HeaderMap>),
    Failed(Error),
}

/// Those to wake once the lock is free.
pub(super) type Wakers = SmallVec<[Waker; 8]>;

impl State {
    pub(super) fn new(window: u64, memory: Hold) -> Self {
        Self {
            chunks: VecDeque::new(),
            base: 0,
            held: 0,
            total: 0,
            kept: true,
            memory,
            charged: 0,
            window: window.max(1),
            seats: Vec::new(),
            end: None,
        }
    }

    pub(super) fn wakers(&mut self) -> Wakers {
        self.seats.iter_mut().flatten().filter_map(|seat| seat.waker.take()).collect()
    }

    pub(super) fn end_number(&self) -> u64 {
        self.base + self.chunks.len() as u64
    }

    /// Asks for room for one chunk more to keep, beyond what was set aside.
    pub(super) fn charge(&mut self, bytes: u64) -> bool {
        let charged = self.charged + bytes + CHUNK_OVERHEAD;
        let more = charged.saturating_sub(self.memory.bytes());
        let granted = more == 0 || self.memory.try_grow(more);
        if granted {
            self.charged = charged;
        }
        granted
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        self.held += chunk.len() as u64;
        self.total += chunk.len() as u64;
        self.chunks.push_back(chunk);
    }

    /// Frees what all readers have passed and does not fit the window; says whether there is room for more.
    pub(super) fn free(&mut self) -> bool {
        if self.kept {
            return true;
        }
        let window = if self.memory.memory().is_tight() { 1 } else { self.window };
        let slowest = self.seats.iter().flatten().filter(|seat| !seat.cut).map(|seat| seat.next).min();
        let slowest = slowest.unwrap_or_else(|| self.end_number());
        while self.held >= window && self.base < slowest {
            let Some(chunk) = self.chunks.pop_front() else { break };
            self.held -= chunk.len() as u64;
            self.base += 1;
        }
        self.memory.set(self.held + self.chunks.len() as u64 * CHUNK_OVERHEAD);
        self.held < window
    }

    /// Whether some reader has everything there is, and waits.
    pub(super) fn starving(&self) -> bool {
        let end = self.end_number();
        self.seats.iter().flatten().any(|seat| seat.next == end && !seat.cut)
    }

    /// Cuts off the readers that stand at the oldest chunk.
    pub(super) fn cut(&mut self) -> Wakers {
        let base = self.base;
        let mut wakers = Wakers::new();
        for seat in self.seats.iter_mut().flatten().filter(|seat| seat.next <= base) {
            seat.cut = true;
            wakers.extend(seat.waker.take());
        }
        wakers
    }
}

/// Wakes them.
pub(super) fn wake(wakers: Wakers) {
    for waker in wakers {
        waker.wake();
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Shared")
            .field("total", &state.total)
            .field("held", &state.held)
            .field("kept", &state.kept)
            .field("readers", &state.seats.iter().flatten().count())
            .finish()
    }
}
