//! What a gate tells the metrics.

use std::time::Duration;

use crate::metrics::{Counter, Gauge, Histogram, Level, Metrics};

use super::config::Priority;

/// Why admission refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full.
    QueueFull,
    /// The wait reached `queue_timeout`.
    QueueTimeout,
    /// The wait reached the request's deadline.
    Deadline,
    /// The wait would have gone beyond it.
    DeadlineTooNear,
}

impl Reason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::QueueFull, Self::QueueTimeout, Self::Deadline, Self::DeadlineTooNear];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Deadline => "deadline",
            Self::DeadlineTooNear => "deadline_too_near",
        }
    }
}

/// The metrics of one gate. Gates of the same upstream before and after a reload add to the same ones.
#[derive(Debug)]
pub struct Watch {
    in_flight: Level,
    queued: Gauge,
    limit: Gauge,
    made_way: Counter,
    /// By priority, as the refusals are.
    wait: [Histogram; Priority::ALL.len()],
    refused: [[Counter; Reason::ALL.len()]; Priority::ALL.len()],
}

impl Watch {
    /// The handles of `upstream`.
    pub fn new(upstream: &str, metrics: &Metrics) -> Self {
        let labels = [("upstream", upstream)];
        let refused = |priority: Priority, reason: Reason| {
            let labels =
                [("upstream", upstream), ("reason", reason.as_str()), ("priority", priority.as_str())];
            metrics.counter("forebay_admission_refused_total", "Requests that admission refused.", &labels)
        };
        let wait = |priority: Priority| {
            metrics.histogram(
                "forebay_admission_wait_seconds",
                "How long requests waited, of those that had to wait for a permit.",
                &[("upstream", upstream), ("priority", priority.as_str())],
            )
        };
        Self {
            in_flight: metrics.level(
                "forebay_admission_in_flight",
                "Requests that hold a permit: from their admission to the end of the response body.",
                &labels,
            ),
            queued: metrics.gauge("forebay_admission_queued", "Requests that wait for a permit.", &labels),
            limit: metrics.gauge(
                "forebay_admission_limit",
                "How many requests may hold a permit; 0 for as many as come.",
                &labels,
            ),
            made_way: metrics.counter(
                "forebay_admission_made_way_total",
                "Requests whose body kept us waiting until another one was given their permit.",
                &labels,
            ),
            wait: Priority::ALL.map(wait),
            refused: Priority::ALL.map(|priority| Reason::ALL.map(|reason| refused(priority, reason))),
        }
    }

    /// So many more permits are out.
    pub fn in_flight(&self, by: i64) {
        self.in_flight.add(by);
    }

    /// So many permits there are.
    pub fn limit(&self, limit: u32) {
        self.limit.set(i64::from(limit));
    }

    /// So many more requests wait.
    pub fn queued(&self, by: i64) {
        self.queued.add(by);
    }

    /// A request whose body did not come gave its permit to another one.
    pub fn made_way(&self) {
        self.made_way.increment();
    }

    /// A request has waited.
    pub fn waited(&self, time: Duration, priority: Priority) {
        if let Some(wait) = self.wait.get(priority as usize) {
            wait.observe(time);
        }
    }

    /// A request was refused.
    pub fn refused(&self, reason: Reason, priority: Priority) {
        let counter = self.refused.get(priority as usize).and_then(|of| of.get(reason as usize));
        if let Some(counter) = counter {
            counter.increment();
        }
    }
}
