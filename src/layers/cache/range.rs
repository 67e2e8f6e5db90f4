//! Byte ranges: what of a stored representation a request asks for (RFC 9110 §14, RFC 9111 §3.4).
//!
//! A request for several ranges gets the whole representation, as RFC 9110 §14.2 allows; so does one whose `Range` is
//! invalid or in another unit. A range that cannot be satisfied gets 416.

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
