//! Byte ranges: what of a stored representation a request asks for (RFC 9110 §14, RFC 9111 §3.4).
//!
//! Choices where RFC 9110 §14.2 leaves one:
//!
//! - Several ranges get `multipart/byteranges`, in the order asked for. Those that overlap, or lie closer to
//!   one another than the framing of a part is long, are joined before; where one is left, it is the answer.
//! - Where all of that would be no shorter than the whole, or more ranges are asked for than we read, or
//!   `Range` is invalid or in another unit, the answer is the whole.
//! - Ranges of which none can be satisfied get 416.

use http::header::{CONTENT_RANGE, HeaderMap, HeaderValue, IF_RANGE, RANGE};
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

impl Part {
    /// The byte after the last one.
    pub const fn end(self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether nothing is between this one and another.
    pub const fn touches(self, other: Self) -> bool {
        self.start <= other.end() && other.start <= self.end()
    }

    /// The part that covers this one and another.
    pub fn hull(self, other: Self) -> Self {
        let start = self.start.min(other.start);
        Self { start, length: self.end().max(other.end()) - start }
    }

    /// Whether sending what is between them costs less than sending two parts.
    const fn is_near(self, other: Self) -> bool {
        let near = PART_OVERHEAD as u64;
        self.start <= other.end().saturating_add(near) && other.start <= self.end().saturating_add(near)
    }
}

/// Several parts of one representation.
pub type Parts = SmallVec<[Part; 4]>;

/// What the framing of one part in `multipart/byteranges` takes, in bytes, about.
pub const PART_OVERHEAD: usize = 128;

/// What of a complete representation answers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of it: 200.
    Whole,
    /// A part: 206.
    Part(Part),
    /// Several, in this order: 206 with `multipart/byteranges`. They neither overlap nor touch.
    Parts(Parts),
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

/// What a request without stored answer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All: it has no `Range`, or one to be ignored.
    Whole,
    /// One range, of the representation that `If-Range` names, if it names one.
    One(Spec, Option<HeaderValue>),
    /// Several.
    Several,
}

/// Reads what a GET asks for. An `If-Range` that could never hold makes `Range` void (RFC 9110 §13.1.5).
pub fn wanted(request: &HeaderMap) -> Wanted {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Wanted::Whole };
    let mut conditions = request.get_all(IF_RANGE).iter();
    let condition = match (conditions.next(), conditions.next()) {
        (None, _) => None,
        (Some(condition), None) if !condition.as_bytes().starts_with(b"W/") => Some(condition.clone()),
        (Some(_), _) => return Wanted::Whole,
    };
    match parse(line.as_bytes()).as_deref() {
        Some([spec]) => Wanted::One(*spec, condition),
        Some(_) => Wanted::Several,
        None => Wanted::Whole,
    }
}

/// The one part a 206 says it has, and the length of the whole; none where it says neither, or both in more
/// than one way.
pub fn said(response: &HeaderMap) -> Option<(Part, u64)> {
    let mut lines = response.get_all(CONTENT_RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let line = line.as_bytes();
    let (unit, rest) = line.split_at_checked(memchr::memchr(b' ', line)?)?;
    let (range, length) = rest.split_at_checked(memchr::memchr(b'/', rest)?)?;
    let (range, length) = (range.strip_prefix(b" ")?, number(length.strip_prefix(b"/")?)?);
    let (first, last) = range.split_at_checked(memchr::memchr(b'-', range)?)?;
    let (first, last) = (number(first)?, number(last.strip_prefix(b"-")?)?);
    let sound = unit.eq_ignore_ascii_case(b"bytes") && first <= last && last < length;
    sound.then(|| (Part { start: first, length: last - first + 1 }, length))
}

/// A number that is what it says.
fn number(digits: &[u8]) -> Option<u64> {
    let sound = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    if sound { std::str::from_utf8(digits).ok()?.parse().ok() } else { None }
}

/// `Range` with one range.
pub fn range(spec: Spec) -> HeaderValue {
    let text = match spec {
        Spec::From(first, None) => format!("bytes={first}-"),
        Spec::From(first, Some(last)) => format!("bytes={first}-{last}"),
        Spec::Suffix(count) => format!("bytes=-{count}"),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("bytes=0-"))
}

/// What of a representation of `length` bytes, stored with a 200, answers a GET.
pub fn select(request: &HeaderMap, stored: &Validators, length: u64) -> Selection {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return Selection::Whole };
    let mut conditions = request.get_all(IF_RANGE).iter();
    match (conditions.next(), conditions.next()) {
        (None, _) => {}
        (Some(condition), None) if stored.is_exactly(condition) => {}
        (Some(_), _) => return Selection::Whole,
    }
    match parse(line.as_bytes()).as_deref() {
        Some([spec]) => spec.within(length).map_or(Selection::Unsatisfiable, Selection::Part),
        Some(specs) => several(specs, length),
        None => Selection::Whole,
    }
}

/// What of `length` bytes answers a request for several ranges.
fn several(specs: &[Spec], length: u64) -> Selection {
    let mut parts = Parts::new();
    for mut part in specs.iter().filter_map(|spec| spec.within(length)) {
        // What is joined stands where the first of it stood. A part that grows may come near others.
        let mut place = parts.len();
        while let Some(near) = parts.iter().position(|other| other.is_near(part)) {
            part = part.hull(parts.remove(near));
            place = place.min(near);
        }
        parts.insert(place, part);
    }
    let sum: u64 = parts.iter().map(|part| part.length).sum();
    match parts.as_slice() {
        [] => Selection::Unsatisfiable,
        [part] => Selection::Part(*part),
        _ if sum + (parts.len() * PART_OVERHEAD) as u64 >= length => Selection::Whole,
        _ => Selection::Parts(parts),
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
            ("bytes=0-1, 4-5", part(0, 6)),
            ("bytes=0-1, 40-50", part(0, 2)),
            ("bytes=40-50, 3-4", part(3, 2)),
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

    /// RFC 9110 §14.2, §15.3.7.2.
    #[test]
    fn several_ranges_of_ten_thousand_bytes() {
        use Selection::{Unsatisfiable, Whole};
        let stored = Validators::of(StatusCode::OK, &headers(&[]), NOW);
        let parts = |parts: &[(u64, u64)]| {
            Selection::Parts(parts.iter().map(|&(start, length)| Part { start, length }).collect())
        };
        for (range, expected) in [
            ("bytes=0-9, 1000-1009", parts(&[(0, 10), (1000, 10)])),
            ("bytes=1000-1009, 0-9", parts(&[(1000, 10), (0, 10)])),
            ("bytes=0-9, 1000-1009, -5", parts(&[(0, 10), (1000, 10), (9995, 5)])),
            ("bytes=0-9, 20000-", part(0, 10)),
            ("bytes=20000-, -0", Unsatisfiable),
            ("bytes=0-9, 0-9, 0-9", part(0, 10)),
            ("bytes=0-9, 10-19", part(0, 20)),
            ("bytes=10-19, 0-9", part(0, 20)),
            ("bytes=0-9, 138-139", part(0, 140)),
            ("bytes=0-9, 139-140", parts(&[(0, 10), (139, 2)])),
            ("bytes=0-9, 500-509, 100-399", part(0, 510)),
            ("bytes=0-9, 2000-2009, 5000-5009, 5-2005", parts(&[(0, 2010), (5000, 10)])),
            ("bytes=0-4999, 5200-9999", Whole),
            ("bytes=0-, 0-, 0-, 0-", part(0, 10_000)),
            ("bytes=0-9, 1000-1009, x", Whole),
        ] {
            assert_eq!(select(&headers(&[("range", range)]), &stored, 10_000), expected, "{range}");
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
        let stored = Validators::of(StatusCode::OK, &headers(strong), NOW);
        let twice = headers(&[("range", "bytes=0-1"), ("if-range", "\"a\""), ("if-range", "\"b\"")]);
        assert_eq!(select(&twice, &stored, 10), Selection::Whole);
    }

    /// RFC 9110 §14.4: what is not sound is not believed.
    #[test]
    fn what_a_206_says() {
        for (lines, expected) in [
            (&["bytes 0-4/10"][..], Some((0, 5, 10))),
            (&["BYTES 9-9/10"], Some((9, 1, 10))),
            (&["bytes 0-4/*"], None),
            (&["bytes */10"], None),
            (&["bytes 5-4/10"], None),
            (&["bytes 0-10/10"], None),
            (&["bytes 0-4/99999999999999999999999"], None),
            (&["bytes 0-4/+10"], None),
            (&["bytes  0-4/10"], None),
            (&["bytes=0-4/10"], None),
            (&["lines 0-4/10"], None),
            (&["bytes 0-4/10, bytes 6-7/10"], None),
            (&["bytes 0-4/10", "bytes 0-4/10"], None),
            (&[""], None),
            (&[], None),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("content-range", *line)).collect();
            let found = said(&headers(&fields)).map(|(part, length)| (part.start, part.length, length));
            assert_eq!(found, expected, "{lines:?}");
        }
    }

    #[test]
    fn what_a_request_wants() {
        let tag = || Some(HeaderValue::from_static("\"a\""));
        for (fields, expected) in [
            (&[][..], Wanted::Whole),
            (&[("range", "bytes=1-")], Wanted::One(Spec::From(1, None), None)),
            (&[("range", "bytes=1-2,4-5")], Wanted::Several),
            (&[("range", "bytes=2-1")], Wanted::Whole),
            (&[("range", "bytes=1-"), ("range", "bytes=1-")], Wanted::Whole),
            (&[("range", "bytes=-2"), ("if-range", "\"a\"")], Wanted::One(Spec::Suffix(2), tag())),
            (&[("range", "bytes=-2"), ("if-range", "W/\"a\"")], Wanted::Whole),
            (&[("range", "bytes=-2"), ("if-range", "\"a\""), ("if-range", "\"a\"")], Wanted::Whole),
            (&[("if-range", "\"a\"")], Wanted::Whole),
        ] {
            assert_eq!(wanted(&headers(fields)), expected, "{fields:?}");
        }
        for spec in [Spec::From(1, None), Spec::From(1, Some(2)), Spec::Suffix(3)] {
            assert_eq!(parse(range(spec).as_bytes()).unwrap().as_slice(), [spec]);
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
        /// However many are asked for: within the whole, apart, and shorter than the whole in all.
        #[test]
        fn several_parts_stay_below_the_whole(
            asked in proptest::collection::vec((0..6000u64, 0..900u64), 2..SPECS_MAX),
            length in 0..6000u64,
        ) {
            let text: Vec<_> = asked.iter().map(|(start, more)| format!("{start}-{}", start + more)).collect();
            let request = headers(&[("range", &format!("bytes={}", text.join(",")))]);
            let stored = Validators::of(StatusCode::OK, &headers(&[]), NOW);
            let covers = |part: &Part, at: u64| part.start <= at && at < part.end();
            let wanted = |at: u64| asked.iter().any(|(start, more)| (*start..=start + more).contains(&at));
            match select(&request, &stored, length) {
                Selection::Parts(parts) => {
                    prop_assert!(parts.iter().map(|part| part.length).sum::<u64>() < length);
                    for (index, part) in parts.iter().enumerate() {
                        prop_assert!(part.length > 0 && part.end() <= length);
                        prop_assert!(parts.iter().skip(index + 1).all(|other| !part.is_near(*other)));
                    }
                    for at in (0..length).filter(|at| wanted(*at)) {
                        prop_assert_eq!(parts.iter().filter(|part| covers(part, at)).count(), 1);
                    }
                }
                Selection::Part(part) => {
                    prop_assert!((0..length).all(|at| !wanted(at) || covers(&part, at)));
                }
                Selection::Unsatisfiable => prop_assert!(!(0..length).any(wanted)),
                Selection::Whole => {}
            }
        }

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
