//! `Cache-Status` (RFC 9211).

use http::{HeaderValue, StatusCode};

/// What the cache did with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered from the store.
    Hit(Hit),
    /// Answered by the origin.
    Forwarded(Forwarded),
}

/// How the store answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Seconds of freshness left; negative when stale.
    pub ttl: i64,
    /// Why.
    pub kind: HitKind,
}

/// Which kind of hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HitKind {
    /// Fresh.
    Fresh,
    /// Stale, and the client accepts that.
    MaxStale,
    /// Stale, revalidated in the background.
    StaleWhileRevalidate,
    /// Stale, because the origin failed.
    StaleIfError,
    /// Stale, because admission refused.
    StaleOnOverload,
    /// Only a client that asks `only-if-cached` gets here: nothing stored, 504.
    OnlyIfCached,
}

/// How the origin was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// Why.
    pub reason: Forward,
    /// The origin's status: 304 when it confirmed the entry.
    pub status: Option<StatusCode>,
    /// Seconds of freshness of what was stored, if it was.
    pub ttl: Option<i64>,
    /// Whether the answer is stored.
    pub stored: bool,
    /// Whether this request waited for another one's answer.
    pub collapsed: bool,
    /// More about it: why it was not stored, why it was not looked up.
    pub detail: Option<&'static str>,
}

/// Why a request was forwarded (RFC 9211 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache was told not to handle it.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for the key.
    UriMiss,
    /// Nothing is stored that the selecting fields match.
    VaryMiss,
    /// The stored answer is fresh but the request's directives ask for another.
    Request,
    /// The stored answer is stale.
    Stale,
    /// Only part of the answer is stored.
    Partial,
}

impl Outcome {
    /// The field value.
    pub fn to_value(&self) -> HeaderValue {
        HeaderValue::from_static("")
    }

    /// One word for log and metrics: `hit`, `stale`, `revalidated`, `collapsed`, `miss`, `pass`.
    pub const fn as_str(&self) -> &'static str {
        ""
    }

    /// The reason, for log and metrics.
    pub const fn reason(&self) -> &'static str {
        ""
    }
}
