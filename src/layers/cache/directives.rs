//! `Cache-Control`.

use http::HeaderMap;

/// Directives of a request. The default is that of a request without any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// Revalidate, whatever is stored.
    pub no_cache: bool,
    /// Store nothing of the answer.
    pub no_store: bool,
    /// Answer from the store or with 504.
    pub only_if_cached: bool,
    /// The oldest answer accepted, in seconds.
    pub max_age: Option<u32>,
    /// How long the answer must stay fresh, in seconds.
    pub min_fresh: Option<u32>,
    /// How stale an answer is accepted, in seconds; `u32::MAX` for any.
    pub max_stale: Option<u32>,
    /// How stale an answer is accepted where the origin fails, in seconds.
    pub stale_if_error: Option<u32>,
}

impl RequestDirectives {
    /// Reads them; with `honor` false a client has no say.
    pub fn of(headers: &HeaderMap, honor: bool) -> Self {
        let _ = (headers, honor);
        Self::default()
    }
}

/// Directives of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`.
    pub no_store: bool,
}

impl ResponseDirectives {
    /// Reads them.
    pub fn of(headers: &HeaderMap) -> Self {
        let _ = headers;
        Self::default()
    }
}
