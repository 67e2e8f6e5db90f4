//! What travels through the stack: [`Request`], [`Response`], their bodies, and what is released at a body's
//! end.

pub mod authority;
pub mod base64;
pub mod body;
pub mod coding;
pub mod drain;
pub mod encoded;
pub mod fields;
pub mod held;
pub mod incoming;
pub mod interim;
pub mod normalize;
pub mod parts;
pub mod pause;
pub mod peer;
pub mod query;
pub mod refused;
pub mod repeat;
pub mod replay;
pub mod request;
pub mod response;
pub mod shared;
pub mod statuses;
pub mod template;
#[cfg(test)]
pub mod testing;
pub mod text;
pub mod trail;

pub use body::{Body, Chunks, slices};
pub use coding::Coding;
pub use encoded::{Desk, Encoded};
pub use held::{End, Held};
pub use interim::Interim;
pub use parts::{PartsReader, Piece};
pub use peer::{ClientCertificate, Peer};
pub use refused::Refused;
pub use repeat::Repeat;
pub use request::{Attempt, Params, Request, RequestBody, RequestId, RequestParts, Scheme, Target};
pub use response::{Response, ResponseParts};
pub use trail::Trail;
