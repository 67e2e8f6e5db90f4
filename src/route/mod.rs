//! Pure matching: host, path, method, header, query.
//!
//! ```
//! use forebay::report::{Path, Report};
//! use forebay::route::{Found, RouteTable, config::MatchConfig, plan};
//! # use http::{HeaderMap, Method};
//!
//! let mut report = Report::new();
//! let mut route = |path: &str| {
//!     let config = MatchConfig { path: Some(path.to_owned()), ..MatchConfig::default() };
//!     plan::plan(&config, &Path::root(), &mut report)
//! };
//! let table = RouteTable::new([(route("/orders/{id}"), 0, "one"), (route("/orders/{*rest}"), 0, "any")]);
//! let found = table.find("example.com", "/orders/42", &Method::GET, &HeaderMap::new(), None);
//! assert!(matches!(found, Found::Route { value: &"one", params } if &*params[0].1 == "42"));
//! ```
//!
//! **Which route wins.** All that match are ordered, and the first one takes the request:
//!
//! 1. the higher `priority`;
//! 2. an exact host, then the longer wildcard, then no host;
//! 3. the path, segment by segment from the left: a literal, then `{param}`, then `{*rest}` or no path at
//!    all;
//! 4. a route with a `method` before one without;
//! 5. more `header` and `query` conditions before fewer;
//! 6. the order in the file.
//!
//! **Paths** are matched in their normal form ([`normalize`](crate::http::normalize)): segments are compared
//! with their percent triplets, so `%2F` separates nothing. `{param}` takes one segment that is not empty.
//! `/orders/{*rest}` takes `/orders`, `/orders/` and all below; a trailing slash counts everywhere else.
//!
//! A request that only a method keeps from a route gets 405 with the methods in `Allow` (RFC 9110 §15.5.6).

pub mod config;
pub mod lint;
pub mod pattern;
pub mod plan;
pub mod table;

pub use plan::MatchPlan;
pub use table::{Found, RouteTable};

#[cfg(test)]
mod tests;
