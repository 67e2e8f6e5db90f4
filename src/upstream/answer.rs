//! An endpoint's answer as the stack gets it: end-to-end fields only, one honest length, or a word for what
//! is wrong.

use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use http::{StatusCode, Version};

use crate::error::UpstreamErrorKind as Kind;
use crate::http::fields::strip_hop_by_hop;

use super::forward::via;

/// Cleans an answer's head. Returns whether its connection may carry another exchange, as far as the head
/// tells.
pub(super) fn clean(parts: &mut Parts) -> Result<bool, Kind> {
    // An HTTP/1.0 peer would not understand a chunked request that follows.
    let mut reusable = parts.version != Version::HTTP_10;
    let headers = &mut parts.headers;
    if headers.contains_key(header::TRANSFER_ENCODING) {
        if !is_chunked(headers) {
            // We asked for no coding (RFC 9112 §7.4), and without the field nobody could undo it.
            return Err(Kind::BadResponse);
        }
        if headers.remove(header::CONTENT_LENGTH).is_some() {
            // Transfer-Encoding wins, and what else follows is in doubt (RFC 9112 §6.3).
            reusable = false;
        }
    } else if headers.contains_key(header::CONTENT_LENGTH) {
        one_length(headers)?;
        if parts.status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_LENGTH);
        }
    }
    strip_hop_by_hop(headers);
    headers.append(header::VIA, via(parts.version));
    Ok(reusable)
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    chunked && codings.next().is_none()
}

/// Leaves one canonical `Content-Length`; several that differ, or one that is no number, are an error
/// (RFC 9110 §8.6, RFC 9112 §6.3).
fn one_length(headers: &mut HeaderMap) -> Result<(), Kind> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(first), None) = (lengths.next(), lengths.next()) else {
        return collapse_lengths(headers);
    };
    let digits = first.as_bytes();
    let canonical = digits.iter().all(u8::is_ascii_digit) && matches!(digits, [_] | [b'1'..=b'9', ..]);
    if canonical && digits.len() < 20 { Ok(()) } else { collapse_lengths(headers) }
}

fn collapse_lengths(headers: &mut HeaderMap) -> Result<(), Kind> {
    let mut length = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for element in value.as_bytes().split(|byte| *byte == b',') {
            let digits = element.trim_ascii();
            let parsed: Option<u64> = std::str::from_utf8(digits)
                .ok()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|text| text.parse().ok());
            if parsed.is_none() || length.is_some_and(|length| Some(length) != parsed) {
                return Err(Kind::BadResponse);
            }
            length = parsed;
        }
    }
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(status: u16, fields: &[(&'static str, &'static str)]) -> Result<(bool, Vec<String>), Kind> {
        let mut builder = http::Response::builder().status(status);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (mut parts, ()) = builder.body(()).unwrap().into_parts();
        let reusable = clean(&mut parts)?;
        let fields = parts.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        Ok((reusable, fields.filter(|field| field != "via: 1.1 forebay").collect()))
    }

    #[test]
    fn lengths() {
        for (fields, expected) in [
            (&[("content-length", "10")][..], Ok("content-length: 10")),
            (&[("content-length", "010")], Ok("content-length: 10")),
            (&[("content-length", "0")], Ok("content-length: 0")),
            (&[("content-length", "5, 5")], Ok("content-length: 5")),
            (&[("content-length", "5"), ("content-length", "5")], Ok("content-length: 5")),
            (&[("content-length", "5"), ("content-length", "6")], Err(Kind::BadResponse)),
            (&[("content-length", "5, 6")], Err(Kind::BadResponse)),
            (&[("content-length", "+5")], Err(Kind::BadResponse)),
            (&[("content-length", "")], Err(Kind::BadResponse)),
            (&[("content-length", "99999999999999999999")], Err(Kind::BadResponse)),
        ] {
            let got = cleaned(200, fields).map(|(_, fields)| fields.join("; "));
            assert_eq!(got.as_deref(), expected.as_ref().copied(), "{fields:?}");
        }
    }

    #[test]
    fn transfer_encoding_wins_and_must_be_chunked() {
        let both = [("transfer-encoding", "chunked"), ("content-length", "5")];
        assert_eq!(cleaned(200, &both), Ok((false, vec![])));
        assert_eq!(cleaned(200, &[("transfer-encoding", "Chunked")]), Ok((true, vec![])));
        for coding in ["gzip", "gzip, chunked", "chunked, chunked", "identity"] {
            assert_eq!(cleaned(200, &[("transfer-encoding", coding)]), Err(Kind::BadResponse), "{coding}");
        }
    }

    #[test]
    fn hop_by_hop_fields_stay_behind() {
        let fields =
            [("connection", "x-hop, close"), ("x-hop", "1"), ("keep-alive", "timeout=5"), ("x-end", "2")];
        assert_eq!(cleaned(200, &fields), Ok((true, vec!["x-end: 2".to_owned()])));
        assert_eq!(cleaned(204, &[("content-length", "0")]), Ok((true, vec![])));
    }
}
