//! What becomes of a request: let through, told to wait its turn, or refused.
//!
//! A request that waits has reserved its token when it came, so requests of one key pass in the order they
//! came, one interval apart, and nobody overtakes. The queue is bounded over all keys of the limit, the wait
//! by the request's deadline and by [`MAX_DELAY`]: whoever could not pass in time is refused at once and
//! takes nothing.
//!
//! A request that leaves the queue gives its token back if it was the last of its key. Otherwise its turn
//! passes unused: those behind it keep theirs.

use std::time::Duration;

use crate::clock::Instant;

use super::key::Key;
use super::limiter::{Limiter, Standing};
use super::plan::Excess;

/// The longest that a request is delayed.
pub const MAX_DELAY: Duration = Duration::from_secs(300);

/// How often a reservation is tried again when requests of the same key keep coming in between.
const TRIES: u32 = 64;

/// What becomes of a request at one limit.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// It conforms.
    Allowed(Standing),
    /// It has to wait for its turn.
    Delayed(Turn<'a>),
    /// It is refused; trying again is worth it after `retry_after`.
    Limited {
        /// When a token is free again.
        retry_after: Duration,
    },
    /// It would have to wait, and too many do.
    QueueFull {
        /// When a token is free again.
        retry_after: Duration,
    },
}

impl Verdict<'_> {
    /// The word for it, in metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Allowed(_) => "allowed",
            Self::Delayed(_) => "delayed",
            Self::Limited { .. } => "limited",
            Self::QueueFull { .. } => "queue_full",
        }
    }
}

/// A reserved token; dropped unused, it is given back if that is still possible.
#[derive(Debug)]
pub struct Turn<'a> {
    place: Place<'a>,
    key: Key,
    standing: Standing,
    due: Instant,
    used: bool,
}

impl Turn<'_> {
    /// When the request may pass.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// How its key stands when it passes.
    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The request passes: the token is spent.
    pub fn pass(mut self) {
        self.used = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.place.0.give_back(&self.key, &self.standing);
        }
    }
}

impl Limiter {
    /// Decides about a request of `key` that came at `now` and cannot wait beyond `deadline`.
    pub fn decide(&self, key: &Key, now: Instant, deadline: Option<Instant>) -> Verdict<'_> {
        match self.take(key, now) {
            Ok(standing) => Verdict::Allowed(standing),
            Err(due) => self.decide_excess(key, now, deadline, due),
        }
    }

    /// The same for one that found no token before `due`.
    #[cold]
    fn decide_excess(&self, key: &Key, now: Instant, deadline: Option<Instant>, due: Instant) -> Verdict<'_> {
        let limited = |due: Instant| Verdict::Limited { retry_after: due.saturating_duration_since(now) };
        let queue_full =
            |due: Instant| Verdict::QueueFull { retry_after: due.saturating_duration_since(now) };
        let Excess::Delay { queue } = self.plan().excess else { return limited(due) };
        let latest = deadline.unwrap_or(now + MAX_DELAY).min(now + MAX_DELAY);
        if due > latest {
            return limited(due);
        }
        let Some(place) = Place::enter(self, queue) else { return queue_full(due) };
        let mut due = due;
        for _ in 0..TRIES {
            match self.take(key, due) {
                Ok(standing) => {
                    return Verdict::Delayed(Turn { place, key: *key, standing, due, used: false });
                }
                Err(later) if later > latest => return limited(later),
                Err(later) => due = later,
            }
        }
        queue_full(due)
    }
}

/// A place in a limiter's queue, left at its drop.
#[derive(Debug)]
struct Place<'a>(&'a Limiter);

impl<'a> Place<'a> {
    fn enter(limiter: &'a Limiter, queue: u32) -> Option<Self> {
        limiter.enter(queue).then(|| Self(limiter))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}
