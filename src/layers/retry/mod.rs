//! Makes a failed attempt again: within a budget, after a pause, elsewhere where it can.
//!
//! - [`mod@plan`]: what the user wrote, validated.
//! - [`condition`]: whether one outcome is worth another attempt, and if not, why not.
//! - [`backoff`]: how long to wait before it.
//! - [`layer`]: the tower glue.
//!
//! What surprises:
//! - Only the time up to the response head is retried: from then on the client has seen bytes.
//! - What was sent is not sent again unless the method allows it (RFC 9110 §9.2.2). What was not sent is,
//!   whatever the method.
//! - The [`budget`](super::budget) is the upstream's, and hedges and background refreshes spend of it too.
//! - What `Retry-After` asks for is waited for whichever endpoint is next; so is the reset of a `RateLimit`
//!   of which nothing is left.
//! - The client's own failures, refusals and upgrades are never retried.

pub mod backoff;
pub mod condition;
pub mod config;
pub mod layer;
pub mod plan;
#[cfg(test)]
mod tests;

pub use layer::Retry;
pub use plan::{RetryPlan, plan};
