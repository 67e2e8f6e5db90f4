//! Gives another answer where the route's upstream has none: another upstream's, or a fixed response.
//!
//! - [`config`], [`mod@plan`]: what the user writes, and what comes of it.
//! - [`cause`]: what went wrong, by class; which classes a rule makes good.
//! - [`layer`]: the tower glue.
//!
//! What surprises:
//! - A stored answer comes first: the cache is further in, and a stale entry it may use is no failure.
//! - Only what has no head yet falls back: from then on the client has seen bytes.
//! - What was sent goes to another upstream only if its method is idempotent (RFC 9110 §9.2.2), for it may
//!   have had its effect. What was not sent goes there whatever its method.
//! - Each rule makes good what came before it, another fallback's failure included; the client gets the
//!   outcome of whoever was asked last.
//! - A rule for `timeout` takes some of the request's time away from whoever is asked before it
//!   ([`FallbackConfig::after`](config::FallbackConfig::after)): at the deadline itself it were too late.
//! - A client over a rate limit is refused, not served by somebody else, whatever the limit's scope.

pub mod cause;
pub mod config;
pub mod layer;
pub mod plan;
#[cfg(test)]
mod tests;

pub use layer::{Fallback, Keep, Rule, To};
pub use plan::{FallbackPlan, ToPlan, plan};
