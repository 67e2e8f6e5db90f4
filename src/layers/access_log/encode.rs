//! How the values of a line are written: straight into a buffer, without a detour over `fmt` or serde.

use std::time::Duration;

use crate::http::RequestId;
use crate::http::text::hex;
pub(super) use crate::http::text::{address, number};

/// Appends the inside of a JSON string: at most `max` bytes of `bytes`, with an ellipsis where there are
/// more.
///
/// What is not UTF-8 becomes U+FFFD (replacement character), and control characters are escaped, those of
/// Latin-1 and DEL too: a line must not be able to drive the terminal it is read in.
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8], max: usize) {
    let kept = bytes.get(..max).unwrap_or(bytes);
    if is_plain(kept) {
        out.extend_from_slice(kept);
    } else {
        escape(out, kept);
    }
    if kept.len() < bytes.len() {
        out.extend_from_slice("…".as_bytes());
    }
}

/// Whether nothing needs an escape: printable ASCII without `"` and `\`.
fn is_plain(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    let special = words.iter().fold(0, |special, word| special | special_in(u64::from_le_bytes(*word)));
    special & repeat(0x80) == 0
        && rest.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// The byte in each of the eight places of a word.
const fn repeat(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Sets the top bit of some byte if one of the eight needs an escape, of none otherwise.
const fn special_in(word: u64) -> u64 {
    /// Sets the top bit of some byte if one of the eight, none of them above 0x7f, is below `bound`.
    const fn below(word: u64, bound: u8) -> u64 {
        word.wrapping_sub(repeat(bound)) & !word
    }
    word | below(word, b' ')
        | below(word ^ repeat(b'"'), 1)
        | below(word ^ repeat(b'\\'), 1)
        | below(word ^ repeat(0x7f), 1)
}

#[cold]
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                c if c.is_control() => {
                    out.extend_from_slice(b"\\u00");
                    hex(out, &[u32::from(c) as u8]);
                }
                c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends milliseconds with three decimals: `12.345`.
pub(super) fn millis(out: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(out, micros / 1000);
    let rest = (micros % 1000) as u16;
    let digit = |number: u16| b'0' + (number % 10) as u8;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// Appends a request id, a given one as the inside of a JSON string.
pub(super) fn request_id(out: &mut Vec<u8>, id: &RequestId, max: usize) {
    match id {
        RequestId::Random(bits) => hex(out, &bits.to_be_bytes()),
        RequestId::Given(value) => string(out, value.as_bytes(), max),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn a_string_round_trips_through_a_json_parser(bytes in any::<Vec<u8>>()) {
            let json = written(|out| {
                out.push(b'"');
                string(out, &bytes, usize::MAX);
                out.push(b'"');
            });
            prop_assert!(!json.chars().any(char::is_control), "{json:?}");
            let back: String = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back, String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn plain_is_what_needs_no_escape(text in "[ -~\u{7f}\t\"\\\\é]{0,40}") {
            let plain = text.chars().all(|c| matches!(c, ' '..='~') && c != '"' && c != '\\');
            prop_assert_eq!(is_plain(text.as_bytes()), plain);
        }

        #[test]
        fn millis_are_exact_to_the_microsecond(micros in any::<u32>()) {
            let text = written(|out| millis(out, Duration::from_micros(micros.into())));
            prop_assert_eq!(text, format!("{}.{:03}", micros / 1000, micros % 1000));
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_word() {
        for byte in 0..=u8::MAX {
            for place in 0..17 {
                let mut bytes = [b'a'; 17];
                bytes[place] = byte;
                let plain = matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
                assert_eq!(is_plain(&bytes), plain, "{byte:#x} at {place}");
            }
        }
    }

    #[test]
    fn a_long_string_is_cut_visibly() {
        assert_eq!(written(|out| string(out, b"abcdef", 3)), "abc…");
        assert_eq!(written(|out| string(out, b"abc", 3)), "abc");
        assert_eq!(written(|out| string(out, "é".as_bytes(), 1)), "\u{fffd}…");
    }

    #[test]
    fn addresses_and_ids() {
        for text in ["192.0.2.255", "0.0.0.0", "2001:db8::1"] {
            assert_eq!(written(|out| address(out, text.parse().unwrap())), text);
        }
        let id = RequestId::Random(0x0123_4567_89ab_cdef_0000_0000_0000_00ff);
        assert_eq!(written(|out| request_id(out, &id, 64)), id.to_string());
        assert_eq!(written(|out| millis(out, Duration::MAX)), "18446744073709551.615");
    }
}
