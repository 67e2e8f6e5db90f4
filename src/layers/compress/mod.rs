//! Compresses responses on their way to clients that want it (RFC 9110 §8.4, §12.5.3).
//!
//! - [`config`], [`mod@plan`]: what the user writes, and what comes of it.
//! - [`accept`]: what a client's `Accept-Encoding` asks for.
//! - [`judge`]: which responses are encoded, and why the others are not.
//! - [`rewrite`]: what becomes of a response's fields.
//! - [`kept`]: encoded forms of what is in the cache's store, so that a hit is not encoded each time.
//! - [`layer`]: the tower glue. The encoders are in [`http::coding`](crate::http::coding), and how a body is
//!   taken through one without holding up anybody in [`http::encoded`](crate::http::encoded).
//!
//! What surprises:
//! - The layer is outside the cache, which stores the plain form. The origin is asked for it, with
//!   `Accept-Encoding: identity` (`origin = "as_asked"` leaves the field as the client wrote it).
//! - A strong `ETag` becomes a weak one, for these are other bytes (RFC 9110 §8.8.3): `If-None-Match` works
//!   as before, `If-Match` with such a tag never matches (§13.1.1). Where clients write with `If-Match`,
//!   leave the route uncompressed or have the origin say `Cache-Control: no-transform`.
//! - Who asks for a `Range` is answered in the plain form; encoded answers do not promise `Accept-Ranges`.
//! - What might have been encoded says `Vary: Accept-Encoding`, encoded or not, and so does every 304.
//! - `*` in `Accept-Encoding` stands for `gzip` alone: who writes it may know nothing newer.
//! - A client that refuses `identity` gets even small bodies and other types encoded.
//! - What an encoder makes no smaller is remembered, where it is stored, and sent as it is.
//! - A secret beside what an attacker can choose, in one compressed body, can be guessed by its length over
//!   TLS (BREACH). Do not turn this on where an answer repeats its request and has a secret (a token against
//!   request forgery) that stays the same from one answer to the next.

pub mod accept;
pub mod config;
pub mod judge;
pub mod kept;
pub mod layer;
pub mod plan;
pub mod rewrite;
#[cfg(test)]
mod tests;

pub use kept::Kept;
pub use layer::Compress;
pub use plan::{CompressPlan, plan, plan_kept};
