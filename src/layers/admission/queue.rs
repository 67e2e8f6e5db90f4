//! Who waits at a gate, and who is next: in turn, until there is no hope to serve everybody.
//!
//! A queue that has not been empty for [`CONGESTED`] does not smooth a burst any more, it only makes every
//! request late. Then the newest is served first, and when the queue is full the oldest makes room: who has
//! waited longest is the likeliest to have given up, and serving him would take from one who has not
//! (adaptive LIFO and controlled delay: B. Maurer, "Fail at Scale", ACM Queue 13 (8), 2015).

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::Instant;

use super::drain::Drain;
use super::gate::Permit;

/// After how long without being empty a queue counts as congested.
pub const CONGESTED: Duration = Duration::from_millis(100);

/// How a waiter gets its permit; its drop tells that there will be none.
pub type Turn = oneshot::Sender<Permit>;

/// Those who wait, in the order of arrival: numbers only grow.
#[derive(Debug, Default)]
pub struct Queue {
    waiters: BTreeMap<u64, Turn>,
    next: u64,
    /// When it was empty last.
    formed: Option<Instant>,
    /// How fast it drains.
    pub drain: Drain,
}

impl Queue {
    /// Takes somebody in; the number is for [`leave`](Self::leave).
    pub fn join(&mut self, turn: Turn, now: Instant) -> u64 {
        if self.waiters.is_empty() {
            self.formed = Some(now);
            self.drain.begin(now);
        }
        let number = self.next;
        self.next += 1;
        self.waiters.insert(number, turn);
        number
    }

    /// Takes out the one whose turn it is.
    pub fn next(&mut self, now: Instant) -> Option<Turn> {
        let next = if self.is_congested(now) { self.waiters.pop_last() } else { self.waiters.pop_first() };
        next.map(|(_, turn)| turn)
    }

    /// Takes out the one that makes room for a newcomer, if one has to.
    pub fn displace(&mut self, now: Instant) -> Option<Turn> {
        if !self.is_congested(now) {
            return None;
        }
        self.waiters.pop_first().map(|(_, turn)| turn)
    }

    /// Takes out one that leaves; false where its turn has come.
    pub fn leave(&mut self, number: u64) -> bool {
        self.waiters.remove(&number).is_some()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    fn is_congested(&self, now: Instant) -> bool {
        !self.waiters.is_empty()
            && self.formed.is_some_and(|formed| now.saturating_duration_since(formed) >= CONGESTED)
    }
}
