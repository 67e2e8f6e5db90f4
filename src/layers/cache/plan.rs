//! The validated plan of the cache.

use std::time::Duration;

use crate::report::{Path, Report};

use super::config::{CacheConfig, StoreConfig};
use super::key::KeyRules;

/// The store, one for the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// How many bytes it may hold.
    pub memory: u64,
    /// The largest body stored, in bytes.
    pub max_object: u64,
}

/// Validates the store's config.
pub fn plan_store(config: &StoreConfig, at: &Path, report: &mut Report) -> StorePlan {
    let _ = (at, report);
    StorePlan { memory: config.memory.bytes(), max_object: config.max_object.bytes() }
}

/// How a route's responses are cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlan {
    /// Whether they are at all.
    pub enabled: bool,
    /// GET is answered from the store.
    pub get: bool,
    /// HEAD is answered from the store.
    pub head: bool,
    /// What makes two requests the same.
    pub key: KeyRules,
    /// How long responses are fresh and useful.
    pub ttl: TtlPolicy,
    /// Whether one request fetches for all.
    pub collapse: bool,
    /// How many variants of a key are kept.
    pub max_variants: usize,
    /// Whether a client's directives are obeyed.
    pub honor_client: bool,
}

/// How long responses are fresh, and stale but useful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TtlPolicy {
    /// Where the origin says nothing.
    pub default: Duration,
}

/// Validates a route's config.
pub fn plan(config: &CacheConfig, at: &Path, report: &mut Report) -> CachePlan {
    let _ = (at, report);
    CachePlan {
        enabled: config.enabled,
        get: true,
        head: true,
        key: KeyRules::default(),
        ttl: TtlPolicy { default: config.ttl.default.get() },
        collapse: config.collapse,
        max_variants: config.max_variants as usize,
        honor_client: config.honor_client_no_cache,
    }
}
