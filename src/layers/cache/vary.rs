//! `Vary`.

use http::{HeaderMap, HeaderName};

/// The secondary key of a variant: the request fields that selected it, normalised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Variant(Box<[(HeaderName, Option<Box<[u8]>>)]>);

impl Variant {
    /// The variant a response is, of what its `Vary` names; none for `*`, which matches nothing.
    pub fn of(response: &HeaderMap, request: &HeaderMap) -> Option<Self> {
        let _ = (response, request);
        None
    }

    /// Whether a request selects it (RFC 9111 §4.1).
    pub fn matches(&self, request: &HeaderMap) -> bool {
        let _ = request;
        true
    }

    /// Whether the response does not vary at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes it takes in memory, for weighing.
    pub fn weight(&self) -> usize {
        0
    }
}
