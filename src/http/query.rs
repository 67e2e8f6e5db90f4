//! Names and values in a query, as those read them who compare them: form-encoded (WHATWG URL §5.1).
//!
//! ```
//! use forebay::http::query::decoded;
//! assert_eq!(*decoded(b"a%62+c"), *b"ab c");
//! assert_eq!(*decoded(b"100%"), *b"100%", "what is no valid escape stays");
//! ```

use std::borrow::Cow;

use super::normalize;

/// A name or a value, decoded; nothing is copied where there is nothing to decode.
pub fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr2(b'%', b'+', text) {
        None => Cow::Borrowed(text),
        Some(_) => Cow::Owned(octets(text).collect()),
    }
}

/// The same one by one, for those who only compare.
pub fn octets(text: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match (byte, after) {
            (b'+', _) => Some(b' '),
            (b'%', [high, low, after @ ..]) => match normalize::triplet(*high, *low) {
                Some(octet) => {
                    rest = after;
                    Some(octet)
                }
                None => Some(b'%'),
            },
            _ => Some(*byte),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_escape_stays() {
        for (text, expected) in [
            ("", ""),
            ("abc", "abc"),
            ("a%62c", "abc"),
            ("%4A%4a", "JJ"),
            ("a+b%2B", "a b+"),
            ("%", "%"),
            ("%4", "%4"),
            ("%4g%41", "%4gA"),
            ("%%41", "%A"),
            ("%2541", "%41"),
        ] {
            assert_eq!(*decoded(text.as_bytes()), *expected.as_bytes(), "{text}");
        }
        assert!(matches!(decoded(b"plain"), Cow::Borrowed(_)));
    }
}
