//! Endpoint sets: balance, pool, health, resolve, client.

pub mod config;
