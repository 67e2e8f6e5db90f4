//! Ranges.

use http::{HeaderMap, HeaderValue};

use super::validate::Validators;

/// A satisfiable range of a representation: never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// What of a complete representation answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: 200.
    Whole,
    /// A part: 206.
    Part(Part),
    /// Nothing: 416.
    Unsatisfiable,
}

/// What of a representation of `length` bytes, stored with a 200, answers a GET.
pub fn select(request: &HeaderMap, stored: &Validators, length: u64) -> Selection {
    let _ = (request, stored, length);
    Selection::Whole
}

/// `Content-Range` of a 206.
pub fn content_range(part: Part, length: u64) -> HeaderValue {
    let _ = (part, length);
    HeaderValue::from_static("")
}

/// `Content-Range` of a 416.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    let _ = length;
    HeaderValue::from_static("")
}
