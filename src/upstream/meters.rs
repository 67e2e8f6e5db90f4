//! What an upstream counts.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::StatusCode;

use crate::clock;
use crate::error::{Error, UpstreamErrorKind as Kind};
use crate::metrics::{Counter, Histogram, Metrics};

use super::Upstream;
use super::ejection::Why;
use super::fleet::Fleet;
use super::probe::Outcome;

/// The metrics of one upstream, resolved when it is built.
#[derive(Debug)]
pub(super) struct Meters {
    /// By class of status, 1xx to 5xx.
    answered: [Counter; 5],
    failed: Vec<(&'static str, Counter)>,
    client: Counter,
    canceled: Counter,
    internal: Counter,
    seconds: Histogram,
    connects: Counter,
    connects_failed: Vec<(Kind, Counter)>,
    ejections: [Counter; Why::ALL.len()],
}

/// What can go wrong with an attempt, in the words of the `result` label.
const FAILURES: [Kind; 14] = [
    Kind::NoEndpoint,
    Kind::Dns,
    Kind::ConnectFailed,
    Kind::ConnectTimeout,
    Kind::Tls,
    Kind::ConnectionLimit,
    Kind::Reset,
    Kind::BadResponse,
    Kind::HeadTooLarge,
    Kind::BadUpgrade,
    Kind::HeadTimeout,
    Kind::BodyTimeout,
    Kind::BodyIncomplete,
    Kind::Deadline,
];

/// What can go wrong with connecting.
const CONNECT_FAILURES: [Kind; 4] = [Kind::Dns, Kind::ConnectFailed, Kind::ConnectTimeout, Kind::Tls];

impl Meters {
    pub(super) fn new(upstream: &str, metrics: &Metrics) -> Self {
        let requests = |code, result| {
            metrics.counter(
                "forebay_upstream_requests_total",
                "Attempts at an upstream, by class of status and by result.",
                &[("upstream", upstream), ("code", code), ("result", result)],
            )
        };
        let connects = |result| {
            metrics.counter(
                "forebay_upstream_connects_total",
                "Connections made to an upstream, by result.",
                &[("upstream", upstream), ("result", result)],
            )
        };
        let label = &[("upstream", upstream)];
        Self {
            answered: ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| requests(class, "ok")),
            failed: FAILURES.iter().map(|kind| (kind.as_str(), requests("none", kind.as_str()))).collect(),
            client: requests("none", "client_error"),
            canceled: requests("none", "canceled"),
            internal: requests("none", "internal"),
            seconds: metrics.histogram(
                "forebay_upstream_request_seconds",
                "From the start of an attempt to its response head.",
                label,
            ),
            connects: connects("ok"),
            connects_failed: CONNECT_FAILURES.iter().map(|kind| (*kind, connects(kind.as_str()))).collect(),
            ejections: Why::ALL.map(|why| {
                metrics.counter(
                    "forebay_upstream_ejections_total",
                    "Times an endpoint was left out because it failed, by why.",
                    &[("upstream", upstream), ("reason", why.as_str())],
                )
            }),
        }
    }

    /// A response head arrived.
    pub(super) fn answered(&self, status: StatusCode, after: Duration) {
        let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
        if let Some(counter) = self.answered.get(class) {
            counter.increment();
        }
        self.seconds.observe(after);
    }

    /// An attempt failed before a response head.
    pub(super) fn failed(&self, error: &Error) {
        match error {
            Error::Upstream(error) => {
                if let Some((_, counter)) = self.failed.iter().find(|(word, _)| *word == error.kind.as_str())
                {
                    counter.increment();
                }
            }
            Error::Client(_) => self.client.increment(),
            Error::Refused(_) | Error::Part(_) | Error::Internal(_) => self.internal.increment(),
        }
    }

    /// An attempt was given up by whoever made it.
    pub(super) fn canceled(&self) {
        self.canceled.increment();
    }

    /// An endpoint was put out.
    pub(super) fn ejected(&self, why: Why) {
        if let Some(counter) = self.ejections.get(why as usize) {
            counter.increment();
        }
    }

    /// A connection was made, or not.
    pub(super) fn connected(&self, failure: Option<Kind>) {
        match failure {
            None => self.connects.increment(),
            Some(kind) => {
                if let Some((_, counter)) = self.connects_failed.iter().find(|(known, _)| *known == kind) {
                    counter.increment();
                }
            }
        }
    }
}

/// What the probes of an upstream count.
#[derive(Debug)]
pub(super) struct ProbeMeters([Counter; Outcome::ALL.len()]);

impl ProbeMeters {
    pub(super) fn new(upstream: &str, metrics: &Metrics) -> Self {
        Self(Outcome::ALL.map(|outcome| {
            metrics.counter(
                "forebay_upstream_probes_total",
                "Health checks of an upstream's endpoints, by result.",
                &[("upstream", upstream), ("result", outcome.as_str())],
            )
        }))
    }

    /// A probe has ended.
    pub(super) fn probed(&self, outcome: Outcome) {
        let known = Outcome::ALL.iter().position(|known| *known == outcome);
        if let Some(counter) = known.and_then(|index| self.0.get(index)) {
            counter.increment();
        }
    }
}

/// Offers what is looked at only when metrics are asked for, for as long as the upstream is there.
pub(super) fn observe(upstream: &Arc<Upstream>, metrics: &Metrics) {
    let seen = |of: fn(&Upstream) -> usize| {
        let upstream = Arc::downgrade(upstream);
        move || upstream.upgrade().map_or(f64::NAN, |upstream| of(&upstream) as f64)
    };
    let help = "Connections to an upstream, in use or idle.";
    for (state, of) in [("active", active as fn(&Upstream) -> usize), ("idle", idle)] {
        let labels = &[("upstream", upstream.name()), ("state", state)];
        metrics.observe_with("forebay_upstream_connections", help, labels, seen(of));
    }
    let help = "Endpoints of an upstream that are not left out.";
    metrics.observe_with(
        "forebay_upstream_healthy",
        help,
        &[("upstream", upstream.name())],
        seen(Upstream::healthy),
    );
    let help = "Whether all endpoints of an upstream are left out, and so all are asked.";
    metrics.observe_with(
        "forebay_upstream_panic",
        help,
        &[("upstream", upstream.name())],
        seen(|upstream| usize::from(upstream.healthy() == 0)),
    );
    observe_endpoints(&upstream.fleet, upstream.name(), metrics);
}

/// Offers the same of each endpoint that there is now, and no longer of others.
pub(super) fn observe_endpoints(fleet: &Arc<ArcSwap<Fleet>>, upstream: &str, metrics: &Metrics) {
    let now = fleet.load_full();
    metrics.retain(|_, labels| {
        let is_ours = labels.get("upstream").is_some_and(|of| of == upstream);
        let endpoint = labels.get("endpoint").filter(|_| is_ours);
        endpoint.is_none_or(|endpoint| now.place(endpoint).is_some())
    });
    for endpoint in &now.endpoints {
        let (fleet, name) = (Arc::downgrade(fleet), Arc::clone(&endpoint.name));
        let state = move || {
            let fleet = fleet.upgrade()?.load_full();
            Some(u8::from(fleet.takes_requests(fleet.place(&name)?, clock::instant())))
        };
        metrics.observe_with(
            "forebay_upstream_endpoint_healthy",
            "Whether an endpoint takes requests: neither unhealthy by its probes nor ejected.",
            &[("upstream", upstream), ("endpoint", &endpoint.name)],
            move || state().map_or(f64::NAN, f64::from),
        );
    }
}

fn active(upstream: &Upstream) -> usize {
    upstream.endpoints_status().iter().map(|endpoint| endpoint.connections - endpoint.idle).sum()
}

fn idle(upstream: &Upstream) -> usize {
    upstream.endpoints_status().iter().map(|endpoint| endpoint.idle).sum()
}
