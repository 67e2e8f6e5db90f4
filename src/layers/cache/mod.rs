//! To come.

pub mod config;
pub mod dates;
pub mod directives;
pub mod freshness;
pub mod key;
pub mod plan;
pub mod range;
pub mod status;
pub mod storable;
pub mod validate;
pub mod vary;

#[cfg(test)]
mod fixture;
