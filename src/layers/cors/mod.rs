//! Which pages of other origins may use a route from a browser (CORS, the Fetch standard §3.2).
//!
//! - [`config`], [`mod@plan`]: what the user writes, and what comes of it.
//! - [`origin`]: whose page it is. `rules`: what is asked and what is said.
//! - [`layer`]: the tower glue.
//!
//! What surprises:
//! - Preflights are answered here, before authentication and limits: browsers send no credentials with them.
//!   The route must take `OPTIONS`, as it does unless its match names methods.
//! - A page that may not gets a plain answer that grants nothing, 204 to a preflight; it is the browser that
//!   refuses. CORS protects the visitors of pages, not the API: that is `auth`.
//! - The layer sits outside `respond` and the cache. So errors can be read by pages that may, a stored answer
//!   has nothing of one origin in it, and what an upstream says about CORS is replaced.
//! - Where the answer is not the same for all, `Vary: Origin` is on every one, also on those that grant
//!   nothing, for the caches behind us.

pub mod config;
pub mod layer;
pub mod origin;
pub mod plan;
mod rules;
#[cfg(test)]
mod tests;

pub use layer::Cors;
pub use plan::{CorsPlan, plan};
