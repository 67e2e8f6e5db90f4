//! What tests are made of: a scripted origin, a raw client, and the gateway between them.

pub mod client;
pub mod dns;
pub mod gateway;
pub mod h2;
pub mod message;
pub mod multiplexed;
pub mod origin;

use std::time::Duration;

pub use client::{Client, ask, get, is_turned_away};
pub use gateway::Gateway;
pub use multiplexed::H2;
pub use origin::{Gate, Origin, Reply, serve};

/// How long a test waits for what must happen: a bound against hanging, never a measure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Awaits what must happen.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}
