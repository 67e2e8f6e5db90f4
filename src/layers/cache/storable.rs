//! May a response be stored (RFC 9111 §3).

use http::{HeaderMap, Method, StatusCode};

use crate::clock::Wall;

use super::directives::RequestDirectives;
use super::freshness::Lifetime;
use super::plan::TtlPolicy;

/// A request as it was answered.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's directives.
    pub request: &'a RequestDirectives,
    /// The request's fields.
    pub request_headers: &'a HeaderMap,
    /// The response's status.
    pub status: StatusCode,
    /// The response's fields.
    pub headers: &'a HeaderMap,
    /// When the request was sent.
    pub requested: Wall,
    /// When the response head arrived.
    pub received: Wall,
}

/// Decides whether the response may be stored; if so, how long it lives.
pub fn decide(exchange: &Exchange<'_>, ttl: &TtlPolicy) -> Result<Lifetime, NotStored> {
    let _ = (exchange, ttl);
    Err(NotStored::Method)
}

/// Why a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// The method's responses are not stored.
    Method,
}

impl NotStored {
    /// The word for it, in `Cache-Status`'s `detail`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        "method"
    }
}
