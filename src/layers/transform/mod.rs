//! Transform: what a route changes of a request on its way in and of a response on its way out.
//!
//! It is two layers, because they belong in two places. [`TransformRequest`] sits outside the cache, whose
//! key is what the upstream is asked for; it may fail, so it sits inside `respond`. [`TransformResponse`]
//! sits outside `respond`, so that its rules hold for every response, those made from errors too. Each is
//! nothing where its plan is empty.
//!
//! **Rewriting.** `{name}` in a rewritten path is what the pattern captured, as it came, percent triplets
//! included; the result is normalised again, so that no combination of a template and a value makes a dot
//! segment. `{rest}` at the end of a template goes together with the slash before it where the request ends
//! before that slash: with the pattern `/orders/{*rest}` and `path = "/v1/orders/{rest}"`, `/orders` becomes
//! `/v1/orders`. The query stays.

pub mod config;
mod layer;
pub mod plan;
mod rewrite;
mod rules;

pub use layer::{TransformRequest, TransformResponse, Transformed};
pub use plan::{TransformPlan, plan};
pub use rewrite::Rewrite;
pub use rules::HeaderRules;

#[cfg(test)]
mod tests;
