//! Asks a second endpoint where the first one takes longer than usual, and takes the answer that comes first.
//!
//! - [`config`], [`mod@plan`]: what the user writes, and what comes of it.
//! - [`latency`]: how long answers usually take, a histogram that forgets.
//! - [`tally`]: when a route's requests are hedged, and how many may be.
//! - [`layer`]: the tower glue.
//!
//! What surprises:
//! - Only idempotent requests without a body are hedged (RFC 9110 §9.2.2), and of those only first attempts:
//!   a retry is extra load already.
//! - A percentile needs [`latency::SAMPLES_MIN`] answers; before that nothing is hedged.
//! - The extra load is earned by requests, never borrowed: a fresh route hedges nothing at first. When there
//!   is little of it, those who have waited longest get it.
//! - A hedge is spent of the upstream's [`budget`](super::budget) too, which retries share.
//! - A hedge takes no permit of admission: its request holds one already.
//! - The loser is dropped at once, which closes its HTTP/1.1 connection or resets its HTTP/2 stream.
//! - Interim responses are passed on from the first attempt only.

pub mod config;
pub mod latency;
pub mod layer;
pub mod plan;
pub mod tally;
#[cfg(test)]
mod tests;

pub use layer::Hedge;
pub use plan::{HedgePlan, plan};
pub use tally::Tally;
