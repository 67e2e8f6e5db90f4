//! HTTP dates (RFC 9110 §5.6.7).

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Wall;

/// What a date field of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateField {
    /// The field is absent.
    Missing,
    /// It is there and no valid date: for `Expires` that means already expired.
    Invalid,
    /// A date.
    At(Wall),
}

/// A date in any of the three forms.
pub fn parse(value: &[u8], now: Wall) -> Option<Wall> {
    let _ = (value, now);
    None
}

/// Reads a date field.
pub fn field(headers: &HeaderMap, name: &HeaderName, now: Wall) -> DateField {
    let _ = (headers, name, now);
    DateField::Missing
}

/// An IMF-fixdate.
pub fn format(at: Wall) -> HeaderValue {
    let _ = at;
    HeaderValue::from_static("")
}
