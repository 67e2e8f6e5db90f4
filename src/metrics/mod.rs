//! Prometheus metrics: handles are resolved when a route is built; hot ones are sharded over threads.
//!
//! ```
//! use std::time::Duration;
//! use forebay::metrics::Metrics;
//!
//! let metrics = Metrics::default();
//! let hits = metrics.counter("forebay_hits_total", "Answers from the store.", &[("route", "orders")]);
//! hits.increment();
//! let seconds = metrics.histogram("forebay_fill_seconds", "Time a fill takes.", &[("route", "orders")]);
//! seconds.observe(Duration::from_millis(3));
//! assert!(metrics.render().contains("forebay_hits_total{route=\"orders\"} 1\n"));
//! ```
//!
//! Names carry the prefix `forebay_` and base units; labels have bounded values, and a family that meets more
//! than [`MAX_SERIES`] label sets all the same counts the rest under the value `other`.
//!
//! The text is written here and not by a crate: the crates at hand write OpenMetrics, whose counters are
//! typed by a name without `_total`; readers of the plain format 0.0.4 then take them for untyped.

mod counter;
mod gauge;
mod histogram;
pub mod memory;
pub mod process;
mod registry;
mod shard;
mod text;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use counter::{Counter, Seconds};
pub use gauge::{Gauge, GaugeHold, Level};
pub use histogram::{Histogram, Reading};
pub use registry::{Labels, MAX_SERIES};
pub(crate) use shard::Sharded;

use registry::{Handle, Registry};

/// The media type of what [`Metrics::render`] returns.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label's name and value.
pub type Label<'a> = (&'static str, &'a str);

/// Every metric of the process: a handle, cheap to clone.
///
/// Asking takes a lock: ask when a route is built, keep the answer, and use that on the way of a request.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Registry>);

impl Metrics {
    /// The counter of that name and labels; the same handle for the same ones. The name ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Counter {
        self.0.resolve(name, help, labels)
    }

    /// The sum of durations of that name and labels; the same handle for the same ones. The name ends in
    /// `_seconds_total`, or tells after `seconds` of what.
    pub fn seconds(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Seconds {
        self.0.resolve(name, help, labels)
    }

    /// The gauge of that name and labels; the same handle for the same ones.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Gauge {
        self.0.resolve(name, help, labels)
    }

    /// The sharded gauge of that name and labels; the same handle for the same ones.
    pub fn level(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Level {
        self.0.resolve(name, help, labels)
    }

    /// The histogram of that name and labels; the same handle for the same ones. The name ends in `_seconds`.
    pub fn histogram(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Histogram {
        self.0.resolve(name, help, labels)
    }

    /// A gauge that is computed when it is asked for; a NaN is left out.
    ///
    /// A second callback for the same name and labels takes the first one's place. What the callback captures
    /// lives until then or until [`retain`](Self::retain): capture a `Weak` where that matters.
    pub fn observe_with(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.0.observe(name, help, labels, Handle::Value(Arc::new(value)));
    }

    /// As [`observe_with`](Self::observe_with), for a value that only grows: a counter.
    pub fn observe_total_with(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[Label<'_>],
        value: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.0.observe(name, help, labels, Handle::Total(Arc::new(value)));
    }

    /// Forgets the series for which `keep` says no: those of a route or an upstream that a reload removed.
    ///
    /// Handles of a forgotten series go on working, unseen. Asking again for its labels starts it at zero.
    pub fn retain(&self, keep: impl FnMut(&str, &Labels) -> bool) {
        self.0.retain(keep);
    }

    /// All of them in the Prometheus text format 0.0.4; its type is [`CONTENT_TYPE`].
    ///
    /// Takes some 100 ns a series: with many routes, keep it off the threads that serve requests.
    pub fn render(&self) -> String {
        text::encode(&self.0.snapshot())
    }
}
