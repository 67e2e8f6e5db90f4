//! Deadline: a request has its route's `timeout`, from the arrival of its head to the last byte of its
//! response; queueing, retries and the body are part of it. A client may ask for less.
//!
//! - [`config`], [`mod@plan`]: what the user writes, and what comes of it.
//! - [`signals`]: what clients say about their patience, and what upstreams are told of it.
//! - [`layer`]: the tower glue.
//!
//! Past the deadline, what is still going on is dropped and the answer is 504; where the response has begun,
//! its body fails, so that the client sees a transfer that broke off and not one that ended.
//!
//! What surprises:
//! - The inner service is polled before any timer exists: an answer that is ready at once, a cache hit, never
//!   touches the timer wheel. Nor does a body that is in memory.
//! - **Exempt** once their head is there: tunnels (101), `text/event-stream` and gRPC, which may rightly go
//!   on for hours; idle timeouts bound them. But not where the client itself said how long it waits.
//! - Inner services find the deadline in [`RequestParts::deadline`](crate::http::RequestParts::deadline), so
//!   that none starts what it cannot finish. An endpoint that lets it pass has failed. What a client asked
//!   for is in [`RequestParts::gives_up`](crate::http::RequestParts::gives_up): to whoever waits with a
//!   client it is as good, but it says nothing about the endpoint, or anybody could have it ejected.
//! - A fill of the cache goes on when the client that began it gives up: others may want it.

pub mod config;
pub mod layer;
pub mod plan;
pub mod signals;
#[cfg(test)]
mod tests;

pub use layer::{Deadline, Tell};
pub use plan::{DeadlinePlan, plan};
