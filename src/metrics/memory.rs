//! The metrics of the memory budget.

use super::Metrics;
use crate::memory::{Memory, Use};

/// Registers them.
pub fn register(metrics: &Metrics, memory: &Memory) {
    let limit = memory.limit() as f64;
    metrics.observe_with(
        "forebay_memory_limit_bytes",
        "What all bodies in memory may take together.",
        &[],
        move || limit,
    );
    for what in Use::ALL {
        let memory = memory.clone();
        metrics.observe_with(
            "forebay_memory_bytes",
            "What bodies in memory take, by what they are there for.",
            &[("use", what.as_str())],
            move || memory.used_for(what) as f64,
        );
    }
}
