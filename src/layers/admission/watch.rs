//! What a gate tells the metrics.

use std::time::Duration;

use crate::metrics::{Counter, Gauge, Histogram, Level, Metrics};

/// Why admission refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full.
    QueueFull,
    /// The wait reached `queue_timeout`.
    QueueTimeout,
    /// The wait reached the request's deadline.
    Deadline,
}

impl Reason {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::Deadline => "deadline",
        }
    }
}

/// The metrics of one gate. Gates of the same upstream before and after a reload add to the same ones.
#[derive(Debug)]
pub struct Watch {
    in_flight: Level,
    queued: Gauge,
    limit: Gauge,
    wait: Histogram,
    queue_full: Counter,
    queue_timeout: Counter,
    deadline: Counter,
}

impl Watch {
    /// The handles of `upstream`.
    pub fn new(upstream: &str, metrics: &Metrics) -> Self {
        let labels = [("upstream", upstream)];
        let refused = |reason: Reason| {
            metrics.counter(
                "forebay_admission_refused_total",
                "Requests that admission refused.",
                &[("upstream", upstream), ("reason", reason.as_str())],
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
            wait: metrics.histogram(
                "forebay_admission_wait_seconds",
                "How long requests waited, of those that had to wait for a permit.",
                &labels,
            ),
            queue_full: refused(Reason::QueueFull),
            queue_timeout: refused(Reason::QueueTimeout),
            deadline: refused(Reason::Deadline),
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

    /// A request has waited.
    pub fn waited(&self, time: Duration) {
        self.wait.observe(time);
    }

    /// A request was refused.
    pub fn refused(&self, reason: Reason) {
        match reason {
            Reason::QueueFull => self.queue_full.increment(),
            Reason::QueueTimeout => self.queue_timeout.increment(),
            Reason::Deadline => self.deadline.increment(),
        }
    }
}
