//! Aggregate: one request becomes several, at once, and their JSON one object.
//!
//! ```toml
//! [[route]]
//! name = "start"
//! match = { path = "/start/{id}" }
//! aggregate = [
//!     { name = "user", path = "/users/{id}", upstream = "users" },
//!     { name = "orders", path = "/orders?user={id}", upstream = "orders", optional = true, default = [] },
//! ]
//! ```
//!
//! `GET /start/7` is answered with `{"user": ..., "orders": ...}` in the time of the slower one. It is the
//! innermost service of such a route: the route's policy is around it, and inside it each part has a cache,
//! admission, retries and hedging of its own, as the route configures them.
//!
//! - [`mod@plan`]: what the user wrote, validated. `target`: which path and query a part is asked for.
//! - `part`: one part: what it brought, or why it failed.
//! - `merge`: the one object, and what is said about parts that are not as they should be.
//! - [`layer`]: the tower glue.
//!
//! What surprises:
//! - Parts are asked with GET, HEAD included: what is merged is needed to tell the length. Any other method
//!   is refused.
//! - The client's fields go to every part (`Authorization`, `Cookie`, ...), but for those that are about the
//!   one answer it gets: conditions, ranges, codings. `Accept` says `application/json`.
//! - Of the parts' own fields none is passed on: there is no telling which would be right for the whole. The
//!   answer is not for caches behind us; the parts are in ours.
//! - A part's JSON goes out as the bytes that came, checked and not rewritten: numbers keep their digits,
//!   objects their order.
//! - A required part that fails ends the others at once; so does a client that leaves.

pub mod config;
pub mod layer;
mod merge;
mod part;
pub mod plan;
mod target;
#[cfg(test)]
mod tests;

pub use layer::Aggregate;
pub use plan::{PartPlan, plan};
