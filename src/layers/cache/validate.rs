//! Validation.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use smallvec::SmallVec;

use crate::clock::Wall;
use crate::http::Target;

/// What identifies a stored representation, read once when it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    etag: Option<HeaderValue>,
    last_modified: Option<Wall>,
}

impl Validators {
    /// Those of a response.
    pub fn of(headers: &HeaderMap, received: Wall) -> Self {
        let _ = (headers, received);
        Self::default()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// Whether a request has any conditional field or `Range`: if not, the entry is the answer as it is.
pub fn is_conditional(request: &HeaderMap) -> bool {
    let _ = request;
    false
}

/// Whether the answer to a GET or HEAD that an entry answers is 304 (RFC 9110 §13.2.2, RFC 9111 §4.3.2).
pub fn not_modified(request: &HeaderMap, stored: &Validators, now: Wall) -> bool {
    let _ = (request, stored, now);
    false
}

/// The fields of a 304 for an entry (RFC 9110 §15.4.5).
pub fn not_modified_fields(stored: &HeaderMap) -> HeaderMap {
    let _ = stored;
    HeaderMap::new()
}

/// Removes the client's conditions and `Range` from a request that fills an entry.
pub fn strip_conditions(request: &mut HeaderMap) {
    let _ = request;
}

/// Makes a request revalidate an entry: strips the client's conditions, sets ours (RFC 9111 §4.3.1).
pub fn condition(request: &mut HeaderMap, stored: &HeaderMap) {
    let _ = (request, stored);
}

/// Whether a 304 speaks of this entry (RFC 9111 §4.3.4).
pub fn confirms(stored: &HeaderMap, update: &HeaderMap) -> bool {
    let _ = (stored, update);
    false
}

/// The stored fields with those of a 304, or of a HEAD's 200, in their place (RFC 9111 §3.2).
pub fn merge(stored: &HeaderMap, update: &HeaderMap) -> HeaderMap {
    let _ = update;
    stored.clone()
}

/// What a HEAD's response does to a stored GET's (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEffect {
    /// Nothing.
    None,
    /// The fields are merged into the entry.
    Update,
    /// The entry is of another representation: it becomes stale.
    Invalidate,
}

/// What a HEAD's response does to a stored GET's.
pub fn head_effect(stored: &HeaderMap, status: StatusCode, update: &HeaderMap) -> HeadEffect {
    let _ = (stored, status, update);
    HeadEffect::None
}

/// The targets whose entries a response makes invalid (RFC 9111 §4.4).
pub fn invalidated(method: &Method, target: &Target, status: StatusCode, response: &HeaderMap)
    -> SmallVec<[Target; 1]> {
    let _ = (method, target, status, response);
    SmallVec::new()
}
