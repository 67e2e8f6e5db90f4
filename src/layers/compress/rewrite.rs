//! What becomes of a response's fields.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue,
};

use crate::http::coding::Coding;
use crate::http::fields;

/// Makes the fields those of the encoded form, of this length where it is known.
pub fn encoded(headers: &mut HeaderMap, coding: Coding, length: Option<u64>) {
    headers.insert(CONTENT_ENCODING, coding.to_value());
    // A part of the encoded form would be another one each time that it is made.
    headers.remove(ACCEPT_RANGES);
    match length {
        Some(length) => headers.insert(CONTENT_LENGTH, length.into()),
        None => headers.remove(CONTENT_LENGTH),
    };
    weaken(headers, |_| true);
    varies(headers);
}

/// Says that the answer depends on what codings are accepted.
pub fn varies(headers: &mut HeaderMap) {
    fields::add_vary(headers, &ACCEPT_ENCODING);
}

/// Makes the entity tag of a 304 weak where the client knows it as a weak one: what it has is the encoded
/// form, and a strong tag would not select that (RFC 9111 §4.3.4).
pub fn not_modified(headers: &mut HeaderMap, known: &[HeaderValue]) {
    weaken(headers, |weak| known.iter().any(|line| memchr::memmem::find(line.as_bytes(), weak).is_some()));
    varies(headers);
}

fn weaken(headers: &mut HeaderMap, wanted: impl FnOnce(&[u8]) -> bool) {
    let Some(tag) = headers.get(ETAG).map(HeaderValue::as_bytes) else { return };
    if tag.starts_with(b"W/") {
        return;
    }
    let weak = [b"W/", tag].concat();
    if wanted(&weak)
        && let Ok(weak) = HeaderValue::from_bytes(&weak)
    {
        headers.insert(ETAG, weak);
    }
}
