//! What a route's cache counts, and the notes it leaves on a request.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use crate::http::{Response, Trail, fields};
use crate::metrics::{Counter, Gauge, GaugeHold, Histogram, Metrics, Seconds};

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
    saved: Seconds,
    origin: Histogram,
    filled: Histogram,
    fills: Gauge,
    variants_dropped: Counter,
    /// Whether the operator was told that variants are dropped.
    told: AtomicBool,
    /// The counters of everything but fresh hits, by result and reason: resolved when first needed.
    others: Counters<(&'static str, &'static str)>,
    /// The responses that were not stored, by reason.
    not_stored: Counters<&'static str>,
    /// Refreshes by reason and decision.
    refreshes: Counters<(&'static str, &'static str)>,
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
            saved: metrics.seconds(
                "forebay_cache_origin_seconds_saved_total",
                "Time that origins would have taken for what the store answered.",
                &labels,
            ),
            origin: metrics.histogram(
                "forebay_cache_origin_seconds",
                "Time from a fill's request to the response head, queueing and retries included.",
                &labels,
            ),
            filled: metrics.histogram(
                "forebay_cache_fill_seconds",
                "Time from a fill's request to the end of a response that is stored.",
                &labels,
            ),
            fills: metrics.gauge("forebay_cache_fills", "Requests under way to fill an entry.", &labels),
            metrics: metrics.clone(),
            route: route.into(),
            others: Counters::default(),
            not_stored: Counters::default(),
            refreshes: Counters::default(),
        }
    }

    /// The route's name.
    pub fn route(&self) -> &str {
        &self.route
    }

    /// Counts and notes a fresh hit on what took the origin so long; its `Cache-Status` is there already.
    pub fn fresh_hit(&self, trail: &Trail, cost: Duration) {
        self.fresh.increment();
        self.saved.add(cost);
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

    /// Counts what the origin took for an answer that it was spared.
    pub fn saved(&self, cost: Duration) {
        self.saved.add(cost);
    }

    /// Counts how long a fill waited for a head.
    pub fn origin_time(&self, time: Duration) {
        self.origin.observe(time);
    }

    /// Counts how long a fill took in all.
    pub fn fill_time(&self, time: Duration) {
        self.filled.observe(time);
    }

    /// Counts a wish to refresh an entry that nobody waits for, and what became of it.
    pub fn refresh(&self, reason: &'static str, decision: &'static str) {
        self.refreshes.increment((reason, decision), || {
            self.metrics.counter(
                "forebay_cache_refreshes_total",
                "Entries to be refreshed in the background, by why, and by whether they were.",
                &[("route", &self.route), ("reason", reason), ("decision", decision)],
            )
        });
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
