//! Rate limits: how many requests a client, or everybody, may send.
//!
//! ```
//! use std::time::Duration;
//!
//! use forebay::clock;
//! use forebay::layers::rate_limit::{self, Key, Limiter, config::RateLimitConfig, plan::Told};
//! use forebay::report::{Path, Report};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config: RateLimitConfig = toml::from_str(
//!     r#"
//!     name = "per-client"
//!     key = "client_ip"
//!     rate = "10/s"
//!     burst = 2
//!     "#,
//! )?;
//! let mut report = Report::new();
//! let plans = rate_limit::plan(&[config], Told::default(), &Path::root(), &mut report);
//! assert!(!report.has_errors());
//!
//! let limiter = plans.into_iter().next().map(Limiter::new).ok_or("one plan")?;
//! let (client, now) = (Key::V4(0x7f00_0001), clock::now().instant);
//! assert_eq!(limiter.take(&client, now).map(|standing| standing.remaining), Ok(1));
//! assert_eq!(limiter.take(&client, now).map(|standing| standing.remaining), Ok(0));
//!
//! let next = now + Duration::from_millis(100);
//! assert_eq!(limiter.take(&client, now), Err(next));
//! assert!(limiter.take(&client, next).is_ok());
//! # Ok(())
//! # }
//! ```
//!
//! What may surprise:
//!
//! - The layer stands twice in a stack: outside the cache with the limits of scope `all`, inside it with
//!   those of scope `origin`, so that hits are free there.
//! - All requests without the header field, parameter or cookie that a limit counts by share one bucket
//!   ([`key`]).
//! - A key that was forgotten for want of room starts over with a full bucket ([`limiter`]).
//! - A delayed request keeps its turn; it is refused only at once, never after a wait ([`delay`]).

pub mod config;
pub mod delay;
pub mod fields;
pub mod key;
pub mod layer;
pub mod limiter;
pub mod plan;

#[cfg(test)]
mod tests;

pub use key::Key;
pub use layer::RateLimit;
pub use limiter::Limiter;
pub use plan::{LimitPlan, plan};
