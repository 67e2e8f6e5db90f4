//! What an adaptive limit has seen since its last decision.

use crate::clock::Instant;

/// The least share of overload, and the fewest such answers, that are a reason to cut.
const OVERLOAD: (f64, u32) = (0.02, 3);

/// What has come in since the last decision.
#[derive(Debug, Default)]
pub struct Window {
    /// When.
    pub began: Option<Instant>,
    /// Answers still to be passed over: they began before the limit was what it is.
    pub skip: u32,
    /// Answers, and clients that left when it had taken longer than without a wait.
    pub answers: u32,
    /// The seconds they took.
    pub work: f64,
    /// How many were in flight when they began, summed.
    pub in_flight: u64,
    /// How often the upstream said that it has too much to do.
    pub overloaded: u32,
    /// Clients that left before it could be said that they had to wait.
    pub in_vain: u32,
}

impl Window {
    /// All that have something to say.
    pub const fn all(&self) -> u32 {
        self.answers + self.overloaded
    }

    /// The share that tells of overload.
    pub fn overload(&self) -> f64 {
        f64::from(self.overloaded) / f64::from(self.all().max(1))
    }

    /// Whether the upstream says that it has too much to do, or as many left as there may be and nobody got
    /// an answer.
    pub fn tells_overload(&self, limit: f64) -> bool {
        let (share, fewest) = OVERLOAD;
        self.overloaded >= fewest && self.overload() > share
            || self.all() == 0 && f64::from(self.in_vain) >= limit
    }

    /// How many were in flight on average.
    pub fn mean_in_flight(&self) -> f64 {
        self.in_flight as f64 / f64::from((self.all() + self.in_vain).max(1))
    }
}
