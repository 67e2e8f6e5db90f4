//! Freshness.

use std::time::Duration;

use crate::clock::Wall;

use super::directives::RequestDirectives;

/// What is kept of a stored response to judge it later: `Copy`, compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    received: Wall,
}

impl Lifetime {
    /// The current age (RFC 9111 §4.2.3): what `Age` says, rounded down to seconds.
    pub fn age(&self, now: Wall) -> Duration {
        now.since(self.received)
    }

    /// Seconds of freshness left, negative once stale: `ttl` of `Cache-Status`.
    pub fn ttl(&self, now: Wall) -> i64 {
        let _ = now;
        0
    }

    /// From here on the entry is of no use whatever, not even as a fallback, unless it can be revalidated.
    pub fn useful_until(&self) -> Wall {
        self.received
    }

    /// May it answer this request now.
    pub fn judge(&self, request: &RequestDirectives, now: Wall) -> Freshness {
        let _ = (request, now);
        Freshness::Fresh
    }
}

/// What may be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Serve it.
    Fresh,
    /// Serve it: it is stale and the client accepts that (`max-stale`).
    MaxStale,
    /// Serve it and revalidate it in the background (RFC 5861 §3).
    StaleWhileRevalidate,
    /// Ask the origin first.
    Revalidate(Revalidate),
}

/// Why the origin is asked, and what an entry is good for when that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revalidate {
    /// The client's directives ask for it and the entry itself is fresh: `fwd=request`, else `fwd=stale`.
    pub requested: bool,
    /// It may be served when the origin fails: no answer, or 500, 502, 503, 504 (RFC 5861 §4).
    pub on_error: bool,
    /// It may be served when admission refuses.
    pub on_overload: bool,
}
