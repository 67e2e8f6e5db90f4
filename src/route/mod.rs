//! Pure matching: host, path, method, header, query.

pub mod config;
