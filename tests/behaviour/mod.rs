//! What the gateway does for those on both sides of it, over real sockets.

mod cache;
mod forwarding;
mod resilience;
mod streaming;
