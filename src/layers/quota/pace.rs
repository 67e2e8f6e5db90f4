//! Whose turn is when: one every interval, some at once, and none before the origin's reset.
//!
//! A request reserves its turn when it comes (the generic cell rate algorithm: ATM Forum, "Traffic Management
//! Specification 4.0", 1996), so turns are taken in the order of arrival. Where the origin says meanwhile that
//! nothing is left of its limit, those whose turn was before the reset reserve another.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::clock::{Instant, Now};
use crate::http::pause;
use crate::metrics::{Counter, Gauge, Metrics};

use super::plan::QuotaPlan;

/// The longest that an origin's word is believed without asking it again.
pub const MAX_RESET: Duration = Duration::from_secs(3600);

/// A 429 that does not say how long.
const PAUSE: Duration = Duration::from_secs(1);

/// Resets this close are of one window: they are told in whole seconds.
const SAME_RESET: Duration = Duration::from_millis(1500);

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was sent at once.
    Passed,
    /// It had to wait for its turn.
    Delayed,
    /// Too many waited.
    QueueFull,
    /// Its turn would have come too late.
    TooLate,
}

impl Verdict {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Passed, Self::Delayed, Self::QueueFull, Self::TooLate];

    /// The word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Delayed => "delayed",
            Self::QueueFull => "queue_full",
            Self::TooLate => "too_late",
        }
    }
}

/// The pace of one upstream, shared by its routes.
#[derive(Debug)]
pub struct Pace {
    plan: QuotaPlan,
    state: Mutex<State>,
    waiting: AtomicU32,
    verdicts: [Counter; Verdict::ALL.len()],
    queued: Gauge,
}

#[derive(Debug, Default)]
struct State {
    /// When all that was reserved is paid for.
    paid: Option<Instant>,
    /// The last turn that was given away.
    last: Option<Instant>,
    /// What the origin says is left, and until when.
    told: Option<Told>,
    /// How often it said that nothing is.
    blocks: u64,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    remaining: u64,
    reset: Instant,
}

/// A reserved turn; dropped unused, it is given back: if it is the last one, as if it had never been, else as
/// far as those after it leave room for another.
#[derive(Debug)]
pub struct Turn<'a> {
    pace: &'a Pace,
    due: Instant,
    paid: Instant,
    /// The last turn before it.
    before: Option<Instant>,
    blocks: u64,
    used: bool,
}

impl Turn<'_> {
    /// When it is.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Whether it still is one: not if the origin said meanwhile that there is nothing before a later reset.
    pub fn is_good(&self, now: Instant) -> bool {
        let state = self.pace.lock();
        state.blocks == self.blocks || state.told.is_none_or(|told| told.reset <= now)
    }

    /// The request was sent to the origin: the turn is used up.
    pub const fn pass(&mut self) {
        self.used = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        let interval = self.pace.plan.interval;
        let mut state = self.pace.lock();
        if state.blocks != self.blocks {
            return;
        }
        let earlier = state.paid.and_then(|paid| paid.checked_sub(interval));
        if (state.paid, state.last) == (Some(self.paid), Some(self.due)) {
            (state.paid, state.last) = (earlier, self.before);
        } else if let (Some(earlier), Some(last)) = (earlier, state.last) {
            // The turns that were given away after it stay where they are, and the next comes after them.
            state.paid = state.paid.map(|paid| earlier.max(last + interval).min(paid));
        }
        if let Some(told) = &mut state.told {
            told.remaining = told.remaining.saturating_add(1);
        }
    }
}

/// A place among those who wait; its drop leaves it.
#[derive(Debug)]
pub struct Place<'a>(&'a Pace);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
        self.0.queued.add(-1);
    }
}

impl Pace {
    /// Of an upstream that was not asked yet.
    pub fn new(upstream: &str, plan: &QuotaPlan, metrics: &Metrics) -> Self {
        let verdicts = Verdict::ALL.map(|verdict| {
            let labels = [("upstream", upstream), ("result", verdict.as_str())];
            metrics.counter("forebay_quota_requests_total", "Requests that asked for a turn.", &labels)
        });
        let labels = [("upstream", upstream)];
        let queued = metrics.gauge("forebay_quota_queued", "Requests that wait for their turn.", &labels);
        Self { plan: *plan, state: Mutex::default(), waiting: AtomicU32::new(0), verdicts, queued }
    }

    /// What it was made from.
    pub const fn plan(&self) -> &QuotaPlan {
        &self.plan
    }

    /// Reserves a turn.
    ///
    /// # Errors
    ///
    /// When it would be, if that is after `latest`; then nothing is reserved.
    pub fn reserve(&self, now: Instant, latest: Instant) -> Result<Turn<'_>, Instant> {
        let mut state = self.lock();
        let burst = self.burst();
        state.told = state.told.filter(|told| told.reset > now);
        let mut paid = state.paid.map_or(now, |paid| paid.max(now));
        let mut due = paid.checked_sub(burst).map_or(now, |due| due.max(now));
        if let Some(told) = state.told
            && told.remaining == 0
            && due < told.reset
        {
            // From the reset on at an even pace: all who wait for it would be a burst.
            due = told.reset;
            paid = paid.max(told.reset + burst);
        }
        if due > latest {
            return Err(due);
        }
        let paid = paid + self.plan.interval;
        state.paid = Some(paid);
        let before = state.last.replace(due);
        if let Some(told) = &mut state.told {
            told.remaining = told.remaining.saturating_sub(1);
        }
        Ok(Turn { pace: self, due, paid, before, blocks: state.blocks, used: false })
    }

    /// A sending that waits for no turn: it is paid for by those who come after it.
    pub fn charge(&self, now: Instant) {
        let mut state = self.lock();
        state.paid = Some(state.paid.map_or(now, |paid| paid.max(now)) + self.plan.interval);
        state.last = state.last.max(Some(now));
        if let Some(told) = &mut state.told {
            told.remaining = told.remaining.saturating_sub(1);
        }
    }

    /// Takes in what an answer says of the origin's limit.
    pub fn observe(&self, status: StatusCode, headers: &HeaderMap, now: Now) {
        let refused = status == StatusCode::TOO_MANY_REQUESTS;
        let standing = match refused {
            true => Some((0, pause::asked_for(headers, now.wall).unwrap_or(PAUSE))),
            false => pause::standing(headers, now.wall).map(|told| (told.remaining, told.reset)),
        };
        let Some((remaining, reset)) = standing.filter(|(_, reset)| !reset.is_zero()) else { return };
        let told = Told { remaining, reset: now.instant + reset.min(MAX_RESET) };
        let mut state = self.lock();
        let known = state.told.filter(|known| known.reset > now.instant);
        let of_known = |known: Told| {
            let apart = told.reset.max(known.reset) - told.reset.min(known.reset);
            let one_window = apart <= SAME_RESET;
            match one_window || known.remaining == 0 {
                // What is under way is not counted there yet, but here.
                true => Told {
                    remaining: told.remaining.min(known.remaining),
                    reset: told.reset.max(known.reset),
                },
                false => told,
            }
        };
        state.told = Some(known.map_or(told, of_known));
        if remaining == 0 {
            state.blocks += 1;
        }
    }

    /// A place among those who wait, if there is one.
    pub fn enter(&self) -> Option<Place<'_>> {
        let place = |waiting: u32| (waiting < self.plan.queue).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).ok()?;
        self.queued.add(1);
        Some(Place(self))
    }

    /// Counts what became of a request.
    pub fn count(&self, verdict: Verdict) {
        if let Some(counter) = self.verdicts.get(verdict as usize) {
            counter.increment();
        }
    }

    /// How far ahead of an even pace a request may be.
    fn burst(&self) -> Duration {
        self.plan.interval.saturating_mul(self.plan.burst - 1)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
