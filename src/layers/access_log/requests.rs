//! `forebay_requests_total` of one route: a counter a method and status, found without a lock.

use std::sync::OnceLock;

use http::Method;

use crate::metrics::{Counter, Metrics};

/// The methods that have a label of their own; the last stands for all others.
const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "OTHER"];

/// The classes of status: one a first digit, and the one of what is no status (RFC 9110 §15).
const CLASSES: usize = 6;

/// A method as its place in [`METHODS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MethodIndex(usize);

impl MethodIndex {
    /// A method that is not known.
    pub(super) const OTHER: Self = Self(METHODS.len() - 1);
}

impl From<&Method> for MethodIndex {
    fn from(method: &Method) -> Self {
        Self(match *method {
            Method::GET => 0,
            Method::HEAD => 1,
            Method::POST => 2,
            Method::PUT => 3,
            Method::DELETE => 4,
            Method::OPTIONS => 5,
            Method::PATCH => 6,
            Method::CONNECT => 7,
            Method::TRACE => 8,
            _ => return Self::OTHER,
        })
    }
}

/// The counters of one class: made when the class is first met, and each counter when its status is.
type Class = Box<[OnceLock<Counter>]>;

/// The counters of one route.
#[derive(Debug)]
pub(super) struct Requests {
    metrics: Metrics,
    route: Box<str>,
    classes: Box<[OnceLock<Class>]>,
}

impl Requests {
    pub(super) fn new(route: &str, metrics: &Metrics) -> Self {
        let classes = (0..METHODS.len() * CLASSES).map(|_| OnceLock::new()).collect();
        Self { metrics: metrics.clone(), route: route.into(), classes }
    }

    /// Counts one request.
    pub(super) fn count(&self, method: MethodIndex, status: u16) {
        let (class, code) = match status {
            100..600 => (usize::from(status / 100), usize::from(status % 100)),
            _ => (0, 0),
        };
        let counters = self.classes.get(method.0 * CLASSES + class);
        let counters =
            counters.map(|class| class.get_or_init(|| (0..100).map(|_| OnceLock::new()).collect()));
        if let Some(counter) = counters.and_then(|counters| counters.get(code)) {
            counter.get_or_init(|| self.resolve(method, status)).increment();
        }
    }

    fn resolve(&self, method: MethodIndex, status: u16) -> Counter {
        let mut code = itoa::Buffer::new();
        let code = if (100..600).contains(&status) { code.format(status) } else { "other" };
        let method = METHODS.get(method.0).copied().unwrap_or("OTHER");
        self.metrics.counter(
            "forebay_requests_total",
            "Requests that were answered, by status; 499 where the client left before that.",
            &[("route", &self.route), ("method", method), ("code", code)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_the_label_of_its_name() {
        for name in METHODS.iter().filter(|name| **name != "OTHER") {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(METHODS[MethodIndex::from(&method).0], *name);
        }
        for name in ["PURGE", "get", "PROPFIND"] {
            let method = Method::from_bytes(name.as_bytes()).unwrap();
            assert_eq!(METHODS[MethodIndex::from(&method).0], "OTHER");
        }
    }

    #[test]
    fn every_status_is_counted_under_its_code() {
        let metrics = Metrics::default();
        let requests = Requests::new("r", &metrics);
        let get = MethodIndex::from(&Method::GET);
        for status in 0..1000 {
            requests.count(get, status);
            requests.count(get, status);
        }
        for status in 0..1000u16 {
            let known = (100..600).contains(&status);
            let code = if known { status.to_string() } else { "other".to_owned() };
            let counter = metrics.counter(
                "forebay_requests_total",
                "",
                &[("route", "r"), ("method", "GET"), ("code", &code)],
            );
            assert_eq!(counter.get(), if known { 2 } else { 1000 }, "{status}");
        }
    }
}
