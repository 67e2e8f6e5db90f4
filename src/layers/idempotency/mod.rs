//! Idempotency: a request with an `Idempotency-Key` takes effect once, however often its client sends it
//! (draft-ietf-httpapi-idempotency-key-header).
//!
//! - [`config`], [`mod@plan`]: what the user writes, and what comes of it.
//! - [`key`]: what tells keys apart, and requests.
//! - [`answers`]: the answers that are kept, bounded in number, bytes and age.
//! - [`layer`]: the tower glue.
//!
//! What surprises:
//! - A request with a key is carried out to its end, or to the route's deadline, even if its client leaves:
//!   the client will ask again, and is to hear what became of it.
//! - Whoever comes with the same key meanwhile waits for that one result, a failure included. Only later ones
//!   are answered from what is kept.
//! - What failed (5xx, no answer at all) or was put off (408, 425, 429) is not kept: a later request with the
//!   key is carried out.
//! - An answer too large to keep has still happened: later requests with the key get 409, never a second
//!   effect.
//! - Keys of one client never meet those of another: what the config's `scope` names is part of the key, and
//!   the consumer that `auth` found.
//! - It knows of one process: two gateways in front of the same origin do not share their answers.

pub mod answers;
pub mod config;
pub mod key;
pub mod layer;
pub mod plan;
#[cfg(test)]
mod tests;

pub use answers::Answers;
pub use layer::Idempotency;
pub use plan::{IdempotencyPlan, plan};
