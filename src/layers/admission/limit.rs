//! How many requests an upstream is given at once: the seam between the gate, which counts, and what finds
//! the limit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::clock::Instant;

use super::adaptive::{Adaptive, MAX_BASELINES, Sample};
use super::plan::LimitPlan;

/// Finds the limit.
#[derive(Debug)]
pub enum LimitPolicy {
    /// No limit.
    Off,
    /// Always the same.
    Fixed(u32),
    /// Learnt.
    Adaptive(Box<Learning>),
}

/// A limit that is learnt: read by every request, written some times a second.
#[derive(Debug)]
pub struct Learning {
    current: AtomicU32,
    learner: Mutex<Learner>,
}

#[derive(Debug)]
struct Learner {
    limit: Adaptive,
    /// The routes, each at the index of its baseline.
    routes: Vec<Box<str>>,
}

impl Learning {
    fn lock(&self) -> MutexGuard<'_, Learner> {
        self.learner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LimitPolicy {
    /// The policy of a plan.
    pub fn new(plan: LimitPlan) -> Self {
        match plan {
            LimitPlan::Off => Self::Off,
            LimitPlan::Fixed(limit) => Self::Fixed(limit),
            LimitPlan::Adaptive(bounds) => {
                let limit = Adaptive::new(bounds);
                let current = AtomicU32::new(limit.limit());
                let learner = Mutex::new(Learner { limit, routes: Vec::new() });
                Self::Adaptive(Box::new(Learning { current, learner }))
            }
        }
    }

    /// How many requests may be at the upstream now; `None` for as many as come.
    pub fn current(&self) -> Option<u32> {
        match self {
            Self::Off => None,
            Self::Fixed(limit) => Some(*limit),
            Self::Adaptive(learning) => Some(learning.current.load(Ordering::Relaxed)),
        }
    }

    /// Whether [`observe`](Self::observe) wants to be called: without it no clock is read.
    pub const fn learns(&self) -> bool {
        match self {
            Self::Off | Self::Fixed(_) => false,
            Self::Adaptive(_) => true,
        }
    }

    /// The number of the baseline that the requests of `route` are compared with; the same one after a
    /// reload.
    pub fn baseline(&self, route: &str) -> usize {
        let Self::Adaptive(learning) = self else { return 0 };
        let mut learner = learning.lock();
        let known = learner.routes.iter().position(|known| **known == *route);
        known.unwrap_or_else(|| {
            if learner.routes.len() < MAX_BASELINES {
                learner.routes.push(route.into());
            }
            let baselines = learner.routes.len();
            learner.limit.reserve(baselines);
            baselines.saturating_sub(1)
        })
    }

    /// Learns of a request that ended at `now`: the limit, if it has changed.
    pub fn observe(&self, now: Instant, sample: Sample) -> Option<u32> {
        let Self::Adaptive(learning) = self else { return None };
        let mut learner = learning.lock();
        learner.limit.observe(now, sample);
        let limit = learner.limit.limit();
        (learning.current.swap(limit, Ordering::Relaxed) != limit).then_some(limit)
    }
}
