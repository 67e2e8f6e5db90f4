//! Who may use a route, and who it is: before limits and cache, and closed where in doubt.
//!
//! ```
//! use forebay::layers::auth::keys::KeyDigest;
//! // What `printf %s secret | sha256sum` says stands in the config; the key itself stands nowhere.
//! let digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
//! assert_eq!(KeyDigest::parse(digest), Some(KeyDigest::of(b"secret")));
//! ```
//!
//! - [`config`], [`mod@plan`], [`methods`]: what the user writes, and what comes of it.
//! - [`address`]: lists of networks. [`keys`]: API keys. [`basic`]: passwords. [`jwt`], [`jwks`]: tokens and
//!   their keys. [`forward`]: a service of the user's that decides. [`ask`]: how others are asked.
//! - [`identity`]: what the layers inside and the upstream are told.
//! - [`guard`]: the decision. [`layer`]: the tower glue.
//!
//! What surprises:
//! - Who a request is from is told in a header field (`auth.header`), as upstreams are, and limits and cache
//!   read it there. So on *every* route of a config that has such a field, clients' own is removed.
//! - Stored answers are kept a consumer apart: that field is part of the key, unless `public_cache`, and so
//!   are the others that the upstream is told of a consumer in (claims, what a service says). Beside that RFC
//!   9111 §3.5 holds: an answer to a request that came with `Authorization` is stored only where it says that
//!   it may be, also where the gateway took the field away.
//! - One credential counts: the key, or else `Authorization`, or else what the service says. One that is
//!   there and wrong is refused, whatever comes after it.
//! - Consumers have one name each, whoever vouches for it: a route that takes keys and tokens trusts the
//!   issuer not to give out the names of `[consumer.NAME]`.
//! - Credentials are looked at once, at the request's head: a long answer outlives them.

pub mod address;
pub mod ask;
pub mod basic;
pub mod config;
pub mod forward;
pub mod guard;
pub mod identity;
pub mod jwks;
pub mod jwt;
pub mod keys;
pub mod layer;
pub mod methods;
pub mod plan;
#[cfg(test)]
mod tests;

pub use guard::{Guard, Others};
pub use layer::Auth;
pub use plan::{AuthPlan, own_fields, plan, plan_consumers};
