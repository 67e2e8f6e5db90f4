//! Admission: backpressure at an upstream that can take only so much at once.
//!
//! ```
//! use forebay::http::Trail;
//! use forebay::layers::admission::{self, Claim, Gate, config::ConcurrencyConfig};
//! use forebay::metrics::Metrics;
//! use forebay::report::{Path, Report};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config: ConcurrencyConfig = toml::from_str(
//!     r#"
//!     mode = "fixed"
//!     limit = 1
//!     queue = 1
//!     queue_timeout = "10ms"
//!     "#,
//! )?;
//! let mut report = Report::new();
//! let plan = admission::plan(&config, &Path::root(), &mut report);
//! assert!(!report.has_errors());
//!
//! let gate = Gate::new("orders", &plan, &Metrics::default());
//! let permit = gate.try_acquire(0);
//! assert!(permit.is_some());
//! assert!(gate.try_acquire(0).is_none());
//!
//! let refused = gate.acquire(Claim::default(), &Trail::off()).await;
//! assert_eq!(refused.err().map(|error| error.as_str()), Some("queue_timeout"));
//!
//! drop(permit);
//! assert!(gate.acquire(Claim::default(), &Trail::off()).await.is_ok());
//! assert_eq!(gate.in_flight(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! What may surprise:
//!
//! - The limit is learnt ([`adaptive`]), from the time to the response head and from failures. Retries are
//!   further in: their pauses are part of that time.
//! - A request whose body keeps us waiting holds a permit that the upstream has no use of. Nobody minds as
//!   long as nobody waits for one; then it has to make way ([`place`]).
//! - A permit is held to the end of the response body. A client that reads slowly holds it that long; the
//!   server's timeouts bound it.
//! - Who comes while others wait joins the queue, even if a permit is free at that moment ([`gate`]). In a
//!   queue that does not get empty any more the newest is served first ([`queue`]). Priorities and tenants
//!   ([`claim`]) matter only there: as long as there are permits, nobody is asked for either.
//! - A request that cannot make its deadline, as fast as the queue drains, is refused at once.
//! - `Retry-After` follows how fast the queue drains, from 1 to 60 seconds ([`drain`]).
//! - A tunnel (101) holds no permit.

pub mod adaptive;
pub mod baseline;
pub mod claim;
pub mod class;
pub mod config;
mod count;
pub mod drain;
pub mod gate;
pub mod layer;
pub mod limit;
mod place;
pub mod plan;
pub mod queue;
pub mod watch;
pub mod window;

#[cfg(test)]
mod tests;

pub use claim::{Claim, ClaimPlan, Claims};
pub use gate::{Gate, Permit};
pub use layer::{Admission, Admitted};
pub use plan::{AdmissionPlan, plan};
