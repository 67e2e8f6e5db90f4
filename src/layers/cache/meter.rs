//! What a route's cache counts, and the notes it leaves on a request.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use crate::http::{Response, Trail, fields};
use crate::metrics::{Counter, Gauge, GaugeHold, Metrics};

use super::collapse::Collapse;
use super::status::{Hit, HitKind, Outcome};

/// The metrics of one route's cache.
#[derive(Debug)]
pub struct Meter {
    metrics: Metrics,
    route: Box<str>,
    fresh: Counter,
    collapse: [Counter; Collapse::ALL.len()],
    collapsed: Counter,
    stored: Counter,
    stored_bytes: Counter,
    fills: Gauge,
    variants_dropped: Counter,
    /// Whether the operator was told that variants are dropped.
    told: AtomicBool,
    /// The counters of everything but fresh hits, by result and reason: resolved when first needed.
    others: Counters<(&'static str, &'static str)>,
    /// The responses that were not stored, by reason.
    not_stored: Counters<&'static str>,
}

/// Counters that are resolved when they are first needed.
#[derive(Debug)]
struct Counters<K>(RwLock<HashMap<K, Counter>>);

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Copy + Eq + Hash> Counters<K> {
    fn increment(&self, key: K, resolve: impl FnOnce() -> Counter) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let counter = known.unwrap_or_else(|| {
            let mut counters = self.0.write().unwrap_or_else(PoisonError::into_inner);
            counters.entry(key).or_insert_with(resolve).clone()
        });
        counter.increment();
    }
}

impl Meter {
    /// Resolves the metrics of a route.
    pub fn new(metrics: &Metrics, route: &str) -> Self {
        let fresh = Outcome::Hit(Hit { ttl: 0, kind: HitKind::Fresh });
        let labels = [("route", route)];
        let collapse = Collapse::ALL.map(|decision| {
            metrics.counter(
                "forebay_cache_collapse_decisions_total",
                "Requests for the origin by whether they may follow another one, and why not.",
                &[("route", route), ("decision", decision.as_str())],
            )
        });
        Self {
            collapse,
            fresh: requests(metrics, route, fresh.as_str(), fresh.reason()),
            collapsed: metrics.counter(
                "forebay_cache_collapsed_total",
                "Requests answered by what another one was fetching.",
                &labels,
            ),
            stored: metrics.counter("forebay_cache_stored_total", "Responses stored.", &labels),
            stored_bytes: metrics.counter(
                "forebay_cache_stored_bytes_total",
                "Body bytes of the responses stored.",
                &labels,
            ),
            variants_dropped: metrics.counter(
                "forebay_cache_variants_dropped_total",
                "Responses that left the store because their key had more than max_variants of them.",
                &labels,
            ),
            told: AtomicBool::new(false),
            fills: metrics.gauge("forebay_cache_fills", "Requests under way to fill an entry.", &labels),
            metrics: metrics.clone(),
            route: route.into(),
            others: Counters::default(),
            not_stored: Counters::default(),
        }
    }

    /// The route's name.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Counts and notes a fresh hit; its `Cache-Status` is there already.
    pub fn fresh_hit(&self, trail: &Trail) {
        self.fresh.increment();
        trail.note(|notes| (notes.cache, notes.cache_reason) = (Some("hit"), Some("fresh")));
    }

    /// Counts and notes an outcome.
    pub fn count(&self, trail: &Trail, outcome: &Outcome) {
        if matches!(outcome, Outcome::Forwarded(forwarded) if forwarded.collapsed) {
            self.collapsed.increment();
        }
        self.add(trail, outcome.as_str(), outcome.reason());
    }

    fn add(&self, trail: &Trail, result: &'static str, reason: &'static str) {
        trail.note(|notes| (notes.cache, notes.cache_reason) = (Some(result), Some(reason)));
        self.others.increment((result, reason), || requests(&self.metrics, &self.route, result, reason));
    }

    /// Counts and notes an outcome, and tells it to the client in `Cache-Status` (RFC 9211).
    pub fn mark(&self, trail: &Trail, outcome: &Outcome, response: &mut Response) {
        self.count(trail, outcome);
        response.headers.append(&fields::CACHE_STATUS, outcome.to_value());
    }

    /// Counts and notes a request that wants an answer from the store or none, and gets none.
    pub fn refused(&self, trail: &Trail) {
        self.add(trail, "refused", "only-if-cached");
    }

    /// Counts whether a request may follow another one.
    pub fn collapse(&self, decision: Collapse) {
        if let Some(counter) = self.collapse.get(decision as usize) {
            counter.increment();
        }
    }

    /// Counts a response that was not stored, and returns why.
    pub fn not_stored(&self, reason: &'static str) -> &'static str {
        self.not_stored.increment(reason, || {
            self.metrics.counter(
                "forebay_cache_not_stored_total",
                "Responses that came for the store and did not go into it.",
                &[("route", &self.route), ("reason", reason)],
            )
        });
        reason
    }

    /// Counts a stored response.
    pub fn stored(&self, bytes: u64) {
        self.stored.increment();
        self.stored_bytes.add(bytes);
    }

    /// Counts variants dropped for others of their key, and warns the operator of the first: once a route,
    /// until the next start or change of the route.
    pub fn variants_dropped(&self, dropped: usize, max_variants: usize) {
        if dropped == 0 {
            return;
        }
        self.variants_dropped.add(dropped as u64);
        if !self.told.swap(true, Ordering::Relaxed) {
            let route = &*self.route;
            tracing::warn!(route, max_variants, "a key has more variants than max_variants: the oldest go");
        }
    }

    /// Counts a fill until the returned value is dropped.
    pub fn fill(&self) -> GaugeHold {
        self.fills.hold()
    }
}

fn requests(metrics: &Metrics, route: &str, result: &str, reason: &str) -> Counter {
    metrics.counter(
        "forebay_cache_requests_total",
        "Requests that came to the cache.",
        &[("route", route), ("result", result), ("reason", reason)],
    )
}
