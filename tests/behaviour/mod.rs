//! What the gateway does, seen from outside: each test is one sentence that users may rely on.

mod attempts;
mod auth;
mod bad_input;
mod cache;
mod cache_metrics;
mod compression;
mod connections;
mod deadline;
mod ejection;
mod fallback;
mod forwarding;
mod health;
mod hedging;
mod interim;
mod keys;
mod lifecycle;
mod limits;
mod memory;
mod observability;
mod purge;
mod ranges;
mod reload;
mod resilience;
mod routing;
mod streaming;
mod tls;
