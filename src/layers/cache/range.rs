//! Byte ranges: what of a stored representation a request asks for (RFC 9110 §14, RFC 9111 §3.4).
//!
//! A request for several ranges gets the whole representation, as RFC 9110 §14.2 allows; so does one whose
//! `Range` is invalid or in another unit. A range that cannot be satisfied gets 416.

use http::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};
use smallvec::SmallVec;

use super::validate::Validators;

/// A satisfiable range of a representation: never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub length: u64,
}

/// A range as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// From the first byte to the last one, both included; without a last one, to the end.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Suffix(u64),
}

impl Spec {
    /// The range within `length` bytes; none if it is not satisfiable (RFC 9110 §14.1.2).
    pub fn within(self, length: u64) -> Option<Part> {
        match self {
            Self::From(start, _) if start >= length => None,
            Self::From(start, last) => {
                let last = last.unwrap_or(u64::MAX).min(length - 1);
                Some(Part { start, length: last - start + 1 })
            }
            Self::Suffix(0) => None,
            Self::Suffix(_) if length == 0 => None,
            Self::Suffix(count) => {
                let count = count.min(length);
                Some(Part { start: length - count, length: count })
            }
        }
    }
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

/// More ranges than this in one request are not even read: the whole is cheaper.
const SPECS_MAX: usize = 16;

/// The ranges of a `Range` value, in the order asked for; none if it is invalid or its unit is not `bytes`.
pub fn parse(value: &[u8]) -> Option<SmallVec<[Spec; 1]>> {
    let (unit, set) = value.split_at_checked(memchr::memchr(b'=', value)?)?;
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = SmallVec::new();
    for spec in set.strip_prefix(b"=")?.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        // RFC 9110 §5.6.1: empty list members are to be ignored.
        if spec.is_empty() {
            continue;
        }
        if specs.len() == SPECS_MAX {
            return None;
        }
        specs.push(parse_spec(spec)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn parse_spec(spec: &[u8]) -> Option<Spec> {
    let (first, last) = spec.split_at_checked(memchr::memchr(b'-', spec)?)?;
    let last = last.strip_prefix(b"-")?;
    match (first, last) {
        ([], count) => Some(Spec::Suffix(position(count)?)),
        (first, []) => Some(Spec::From(position(first)?, None)),
        (first, last) => {
            let (first, last) = (position(first)?, position(last)?);
            (first <= last).then_some(Spec::From(first, Some(last)))
        }
    }
}

/// A byte position; one too large to be true is as good as the largest.
fn position(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0'))),
    )
}

/// What of a representation of `length` bytes, stored with a 200, answers a GET.
pub fn select(request: &HeaderMap, stored: &Validators, length: u64) -> Selection {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Selection::Whole };
    if let Some(condition) = request.get(IF_RANGE)
        && !stored.is_exactly(condition)
    {
        return Selection::Whole;
    }
    match parse(line.as_bytes()).as_deref() {
        Some([spec]) => spec.within(length).map_or(Selection::Unsatisfiable, Selection::Part),
        Some(specs) if specs.iter().all(|spec| spec.within(length).is_none()) => Selection::Unsatisfiable,
        _ => Selection::Whole,
    }
}

/// `Content-Range` of a 206: `bytes 0-499/1234`.
pub fn content_range(part: Part, length: u64) -> HeaderValue {
    let mut text = SmallVec::<[u8; 72]>::from_slice(b"bytes ");
    let mut digits = itoa::Buffer::new();
    text.extend_from_slice(digits.format(part.start).as_bytes());
    text.push(b'-');
    text.extend_from_slice(
        digits.format(part.start.saturating_add(part.length).saturating_sub(1)).as_bytes(),
    );
    text.push(b'/');
    text.extend_from_slice(digits.format(length).as_bytes());
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("bytes */*"))
}

/// `Content-Range` of a 416: `bytes */1234`.
pub fn unsatisfied_range(length: u64) -> HeaderValue {
    let mut text = SmallVec::<[u8; 32]>::from_slice(b"bytes */");
    text.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("bytes */*"))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::super::fixture::{NOW, headers};
    use super::*;

    const MODIFIED: &str = "Wed, 01 Jan 2025 00:00:00 GMT";
    const DATE: &str = "Thu, 02 Jan 2025 00:00:00 GMT";

    fn part(start: u64, length: u64) -> Selection {
        Selection::Part(Part { start, length })
    }

    /// RFC 9110 §14.1.1 to §14.2.
    #[test]
    fn ranges_of_ten_bytes() {
        use Selection::{Unsatisfiable, Whole};
        let stored = Validators::of(StatusCode::OK, &headers(&[]), NOW);
        for (range, expected) in [
            ("bytes=0-1", part(0, 2)),
            ("BYTES=0-1", part(0, 2)),
            ("bytes=0-0", part(0, 1)),
            ("bytes=5-", part(5, 5)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=9-", part(9, 1)),
            ("bytes=0-99999999999999999999999999", part(0, 10)),
            ("bytes= ,0-1,", part(0, 2)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=99999999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=10-, 20-30", Unsatisfiable),
            ("bytes=0-1, 4-5", Whole),
            ("bytes=0-1, 40-50", Whole),
            ("bytes=2-1", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=1", Whole),
            ("bytes=1-2-3", Whole),
            ("bytes =1-2", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("items=0-1", Whole),
            ("bytes", Whole),
            ("", Whole),
        ] {
            assert_eq!(select(&headers(&[("range", range)]), &stored, 10), expected, "{range}");
        }
        let two = headers(&[("range", "bytes=0-1"), ("range", "bytes=2-3")]);
        assert_eq!(select(&two, &stored, 10), Whole);
        for range in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(
                select(&headers(&[("range", range)]), &stored, 0),
                Unsatisfiable,
                "{range} of nothing"
            );
        }
    }

    #[test]
    fn too_many_ranges_are_not_read() {
        assert_eq!(parse(format!("bytes={}", "0-1,".repeat(SPECS_MAX)).as_bytes()).unwrap().len(), SPECS_MAX);
        assert_eq!(parse(format!("bytes={}", "0-1,".repeat(SPECS_MAX + 1)).as_bytes()), None);
    }

    /// RFC 9110 §13.1.5: the range holds only for exactly the representation named.
    #[test]
    fn if_range() {
        let strong = &[("etag", "\"a\""), ("last-modified", MODIFIED), ("date", DATE)];
        let weak = &[("etag", "W/\"a\""), ("date", DATE)];
        let young = &[("last-modified", DATE), ("date", DATE)];
        for (stored, condition, holds) in [
            (&strong[..], "\"a\"", true),
            (&strong[..], "\"b\"", false),
            (&strong[..], "W/\"a\"", false),
            (&strong[..], MODIFIED, true),
            (&strong[..], DATE, false),
            (&strong[..], "nonsense", false),
            (&weak[..], "W/\"a\"", false),
            (&weak[..], "\"a\"", false),
            (&young[..], DATE, false),
            (&[][..], "\"a\"", false),
        ] {
            let stored = Validators::of(StatusCode::OK, &headers(stored), NOW);
            let request = headers(&[("range", "bytes=0-1"), ("if-range", condition)]);
            let expected = if holds { part(0, 2) } else { Selection::Whole };
            assert_eq!(select(&request, &stored, 10), expected, "{condition} of {stored:?}");
        }
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range(Part { start: 0, length: 500 }, 1234), "bytes 0-499/1234");
        assert_eq!(content_range(Part { start: 1233, length: 1 }, 1234), "bytes 1233-1233/1234");
        assert_eq!(content_range(Part { start: u64::MAX, length: 1 }, u64::MAX).len(), 68);
        assert_eq!(unsatisfied_range(1234), "bytes */1234");
    }

    proptest! {
        #[test]
        fn parts_lie_within(
            bytes: Vec<u8>,
            text in "bytes=[0-9]{0,3}-[0-9]{0,3}(,[0-9-]{0,5})?",
            length in 0..300u64,
        ) {
            parse(&bytes);
            for spec in parse(text.as_bytes()).into_iter().flatten() {
                if let Some(Part { start, length: taken }) = spec.within(length) {
                    prop_assert!(taken > 0 && start + taken <= length);
                }
            }
        }
    }
}
