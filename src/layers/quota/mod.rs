//! Outbound quota: an upstream that has a rate limit of its own is asked no faster than that.
//!
//! ```
//! use std::time::Duration;
//! use forebay::clock;
//! use forebay::layers::quota::{self, Pace, config::QuotaConfig};
//! use forebay::metrics::Metrics;
//! use forebay::report::{Path, Report};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config: QuotaConfig = toml::from_str("rate = \"10/s\"")?;
//! let plan = quota::plan(&config, &Path::root(), &mut Report::new());
//! let pace = Pace::new("orders", &plan, &Metrics::default());
//! let now = clock::now().instant;
//! let latest = now + Duration::from_millis(150);
//! let turns: Vec<_> = (0..9).map_while(|_| pace.reserve(now, latest).ok()).collect();
//! assert_eq!(turns.len(), 2); // now, and in 100 ms: a third one would be too late
//! # Ok(())
//! # }
//! ```
//!
//! - [`config`], [`mod@plan`]: what the user writes, and what comes of it.
//! - [`pace`]: whose turn is when.
//! - [`layer`]: the tower glue, at two places: [`Quota`] outside admission, [`Charge`] around each sending.
//!
//! What surprises:
//! - A request waits for its turn before it asks admission: one that waits holds no permit.
//! - Each sending counts. Retries and hedges do not wait for a turn, but those after them do.
//! - What the origin says of its limit (`RateLimit` fields, 429 with `Retry-After`) can only lower the pace,
//!   until the reset it names, an hour at most.
//! - A turn that admission makes nothing of is given back, be the request refused there or its client gone
//!   while it waits: nothing was sent. What was given away after it stays where it is, so with a burst of 1
//!   only the last turn can be had again.
//! - A request that could not have its turn in time is refused at once and takes nothing.

pub mod config;
pub mod layer;
pub mod pace;
pub mod plan;
#[cfg(test)]
mod tests;

pub use layer::{Charge, Quota};
pub use pace::Pace;
pub use plan::{QuotaPlan, plan};
