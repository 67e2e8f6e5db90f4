//! Forebay: a caching, asynchronous API gateway for slow APIs.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod gateway;
pub mod http;
pub mod layers;
pub mod lifecycle;
pub mod metrics;
pub mod net;
pub mod plan;
pub mod report;
pub mod route;
pub mod server;
pub mod stack;
pub mod telemetry;
pub mod units;
pub mod upstream;
