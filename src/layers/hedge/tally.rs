//! When a route's requests are hedged, and how many may be.
//!
//! Each request that could be hedged earns `max_extra` of a hedge, up to [`SAVED_MAX`] hedges, so what is
//! sent on top is bounded whatever happens to the upstream. Where more requests are late than may be hedged,
//! it matters which: just past a percentile are mostly those that would have been answered in a moment. So
//! the first half of what is saved is for requests that have waited twice as long.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;

use super::latency::Latencies;
use super::plan::{After, HedgePlan};

/// How many hedges can be saved up: what a sudden stall of an endpoint costs at most at once.
pub const SAVED_MAX: f64 = 10.0;

/// The percentile is computed anew after so many answers.
const REFRESH: u32 = 16;

/// How long a request has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// As long as the plan says.
    Long,
    /// Twice as long.
    Longer,
}

/// What one route knows of its requests: shared by those that are under way, kept over reloads.
#[derive(Debug)]
pub struct Tally {
    plan: HedgePlan,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    latencies: Latencies,
    /// The percentile, as it was computed last.
    after: Option<Duration>,
    /// Answers since then.
    answers: u32,
    saved: f64,
}

impl Tally {
    /// Of a route that has seen nothing.
    pub fn new(plan: HedgePlan) -> Self {
        Self { plan, state: Mutex::default() }
    }

    /// What it was made from.
    pub const fn plan(&self) -> HedgePlan {
        self.plan
    }

    /// A request begins that could be hedged. Returns after how long, if that is known.
    pub fn begins(&self) -> Option<Duration> {
        let mut state = self.lock();
        state.saved = (state.saved + self.plan.max_extra).min(SAVED_MAX);
        match self.plan.after {
            After::Time(time) => Some(time),
            After::Percentile(_) => state.after,
        }
    }

    /// Takes one hedge for a request that has waited so long, if there is one for it.
    pub fn try_take(&self, waited: Waited) -> bool {
        let reserved = match waited {
            Waited::Long => SAVED_MAX / 2.0,
            Waited::Longer => 0.0,
        };
        let mut state = self.lock();
        let granted = state.saved - reserved >= 1.0;
        if granted {
            state.saved -= 1.0;
        }
        granted
    }

    /// Gives back one that was not used.
    pub fn give_back(&self) {
        let mut state = self.lock();
        state.saved = (state.saved + 1.0).min(SAVED_MAX);
    }

    /// The first attempt of such a request was answered after so long, or was given up then.
    pub fn took(&self, now: Instant, latency: Duration) {
        let After::Percentile(share) = self.plan.after else { return };
        let mut state = self.lock();
        state.latencies.record(now, latency);
        state.answers += 1;
        if state.answers >= REFRESH {
            state.answers = 0;
            state.after = state.latencies.percentile(share);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
