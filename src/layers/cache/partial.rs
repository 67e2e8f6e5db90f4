//! A representation of which only parts are stored (RFC 9111 §3.3, §3.4).
//!
//! It lives beside the complete entries of its key and never among them: what is looked for as an answer to a
//! request without `Range` cannot find it. All its parts share one strong validator and one length; a part of
//! anything else takes the place of all of them. One without a strong validator is never put together with
//! another: it answers for the bytes it has, and goes when another one comes.
//!
//! Bounds: `RUNS_MAX` runs of bytes that do not touch, of which the shortest go first, and the store's
//! `max_object` in all, beyond which all go but the newest.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};

use crate::clock::Wall;
use crate::http::{Body, Chunks, slices};

use super::dates;
use super::entry::{Entry, PIECE, StoredBody};
use super::range::Part;

/// How many runs of bytes are kept of one representation.
const RUNS_MAX: usize = 64;

/// What a run takes beside its bytes, about.
const RUN_OVERHEAD: usize = 96;

/// The parts of a representation that are stored: never changed, only replaced.
#[derive(Debug)]
pub struct Partial {
    /// All but the body, as if the whole had come with a 200.
    head: Entry,
    validator: Option<Strong>,
    length: u64,
    /// In ascending order; they do not touch.
    runs: Vec<Run>,
}

/// Bytes in a row.
#[derive(Clone, Debug)]
struct Run {
    part: Part,
    chunks: Arc<[Bytes]>,
}

/// A validator that two responses share only if they are of the same bytes (RFC 9110 §8.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strong {
    /// An entity tag that is not weak.
    Tag(HeaderValue),
    /// A date of modification at least a second before the response's own `Date` (§8.8.2.2).
    Modified(HeaderValue),
}

impl Strong {
    /// That of a response. One that has an entity tag has no other; one whose origin sent no `Date` has no
    /// strong date.
    pub fn of(headers: &HeaderMap, received: Wall) -> Option<Self> {
        if let Some(tag) = headers.get(ETAG) {
            let single = headers.get_all(ETAG).iter().nth(1).is_none();
            let strong = single && tag.len() >= 2 && tag.as_bytes().starts_with(b"\"");
            return strong.then(|| Self::Tag(tag.clone()));
        }
        let modified = dates::field(headers, &LAST_MODIFIED, received).at()?;
        let date = dates::field(headers, &http::header::DATE, received).at()?;
        (modified.secs() < date.secs()).then(|| headers.get(LAST_MODIFIED).cloned().map(Self::Modified))?
    }

    /// As `If-Range` has it.
    pub const fn value(&self) -> &HeaderValue {
        match self {
            Self::Tag(value) | Self::Modified(value) => value,
        }
    }
}

impl Run {
    /// One run of two that overlap or touch; where they overlap, `self` counts.
    fn join(&self, other: &Self) -> Self {
        let part = self.part.hull(other.part);
        let before = slices(&other.chunks, 0, self.part.start.saturating_sub(other.part.start));
        let after_start = self.part.end().saturating_sub(other.part.start);
        let after = slices(&other.chunks, after_start, other.part.end().saturating_sub(self.part.end()));
        let mut chunks: Vec<Bytes> = Vec::new();
        for chunk in before.chain(self.chunks.iter().cloned()).chain(after) {
            match chunks.last_mut() {
                // Small chunks become one: a run of many would cost more than its bytes.
                Some(last) if last.len() + chunk.len() <= PIECE => {
                    let mut both = BytesMut::with_capacity(last.len() + chunk.len());
                    both.extend_from_slice(last);
                    both.extend_from_slice(&chunk);
                    *last = both.freeze();
                }
                _ => chunks.push(chunk),
            }
        }
        Self { part, chunks: chunks.into() }
    }
}

impl Partial {
    /// One part of a representation of `length` bytes. `head` is an entry without body; none where the bytes
    /// are not as many as the part says.
    pub fn new(
        head: Entry,
        validator: Option<Strong>,
        length: u64,
        part: Part,
        body: &StoredBody,
    ) -> Option<Self> {
        if body.length() != part.length || part.length == 0 || part.end() > length {
            return None;
        }
        let run = Run { part, chunks: body.chunks() };
        Some(Self { head, validator, length, runs: vec![run] })
    }

    /// The same parts with another head: a 304 came.
    pub fn with_head(&self, head: Entry) -> Self {
        Self { head, validator: self.validator.clone(), length: self.length, runs: self.runs.clone() }
    }

    /// Whether another one is of the same bytes.
    pub fn is_same(&self, other: &Self) -> bool {
        self.validator.is_some() && self.validator == other.validator && self.length == other.length
    }

    /// Takes in the parts of an older one of the same bytes, within `max_bytes`.
    #[must_use]
    pub fn join(mut self, older: &Self, max_bytes: u64) -> Self {
        if !self.is_same(older) {
            return self;
        }
        let newest = self.runs.clone();
        for run in &older.runs {
            let mut run = run.clone();
            while let Some(at) = self.runs.iter().position(|other| other.part.touches(run.part)) {
                run = self.runs.swap_remove(at).join(&run);
            }
            self.runs.push(run);
        }
        while self.runs.len() > RUNS_MAX {
            let is_new = |run: &Run| newest.iter().any(|new| new.part.touches(run.part));
            let old = self.runs.iter().enumerate().filter(|(_, run)| !is_new(run));
            match old.min_by_key(|(_, run)| run.part.length).map(|(at, _)| at) {
                Some(at) => drop(self.runs.swap_remove(at)),
                None => break,
            }
        }
        if self.bytes() > max_bytes {
            self.runs = newest;
        }
        self.runs.sort_unstable_by_key(|run| run.part.start);
        self
    }

    /// Everything but the body.
    pub const fn head(&self) -> &Entry {
        &self.head
    }

    /// The validator that all parts share, if they have a strong one.
    pub const fn validator(&self) -> Option<&Strong> {
        self.validator.as_ref()
    }

    /// How many bytes the whole has.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The fields, with room for `spare` more; without `Content-Length`.
    pub fn headers(&self, spare: usize) -> HeaderMap {
        let mut headers = self.head.headers(spare);
        headers.remove(CONTENT_LENGTH);
        headers
    }

    /// What of a part is not here, from the first byte missing to the last; none if all of it is here.
    pub fn missing(&self, part: Part) -> Option<Part> {
        let (mut start, mut end) = (part.start, part.end());
        for Run { part: run, .. } in &self.runs {
            if run.start <= start {
                start = start.max(run.end());
            }
        }
        for Run { part: run, .. } in self.runs.iter().rev() {
            if run.end() >= end {
                end = end.min(run.start);
            }
        }
        (start < end).then(|| Part { start, length: end - start })
    }

    /// The bytes of a part that is here.
    pub fn slices(&self, part: Part) -> Vec<Bytes> {
        let holds = |run: &&Run| run.part.start <= part.start && part.end() <= run.part.end();
        let Some(run) = self.runs.iter().find(holds) else { return Vec::new() };
        slices(&run.chunks, part.start - run.part.start, part.length).collect()
    }

    /// The body of an answer with a part that is here.
    pub fn body(&self, part: Part) -> Body {
        Body::chunks(Chunks::new(self.slices(part).into(), 0, part.length))
    }

    /// The whole as an entry, where all of it is here.
    pub fn complete(self) -> Result<Entry, Box<Self>> {
        match self.runs.as_slice() {
            [Run { part, chunks }] if *part == (Part { start: 0, length: self.length }) => {
                let body = match &**chunks {
                    [only] => StoredBody::Whole(only.clone()),
                    _ => StoredBody::Pieces(Arc::clone(chunks), self.length),
                };
                Ok(self.head.with_body(body))
            }
            _ => Err(Box::new(self)),
        }
    }

    /// How many bytes are here.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.part.length).sum()
    }

    /// How many bytes it takes, for weighing.
    pub fn weight(&self) -> usize {
        let bytes = usize::try_from(self.bytes()).unwrap_or(usize::MAX);
        (self.head.weight() + self.runs.len() * RUN_OVERHEAD).saturating_add(bytes)
    }
}

#[cfg(test)]
mod tests {

    use http::StatusCode;
    use proptest::prelude::*;

    use super::super::directives::ResponseDirectives;
    use super::super::fixture::{NOW, headers};
    use super::super::freshness::{Lifetime, Timing};
    use super::super::plan::TtlPolicy;
    use super::super::purge::Marks;
    use super::super::vary::Variant;
    use super::*;

    const LENGTH: u64 = 40;

    fn head() -> Entry {
        let fields = headers(&[("etag", "\"a\""), ("cache-control", "max-age=60")]);
        let directives = ResponseDirectives::of(&fields);
        let timing = Timing { requested: NOW, received: NOW };
        let (lifetime, _) = Lifetime::of(StatusCode::OK, &fields, &directives, &TtlPolicy::default(), timing);
        let body = StoredBody::Whole(Bytes::new());
        Entry::new(
            StatusCode::OK,
            &fields,
            lifetime,
            Variant::default(),
            Marks::new(0, 0, Default::default()),
            body,
        )
    }

    fn text(start: u64, length: u64) -> Bytes {
        (start..start + length).map(|at| b'0' + u8::try_from(at).unwrap()).collect::<Vec<_>>().into()
    }

    fn of(tag: &str, start: u64, length: u64) -> Partial {
        let validator = Strong::Tag(HeaderValue::from_str(tag).unwrap());
        let body = StoredBody::Whole(text(start, length));
        Partial::new(head(), Some(validator), LENGTH, Part { start, length }, &body).unwrap()
    }

    /// RFC 9110 §8.8.1, §8.8.2.2.
    #[test]
    fn strong_validators() {
        let (early, late) = ("Wed, 01 Jan 2025 00:00:00 GMT", "Thu, 02 Jan 2025 00:00:00 GMT");
        for (fields, strong) in [
            (&[("etag", "\"a\"")][..], Some("\"a\"")),
            (&[("etag", "W/\"a\"")], None),
            (&[("etag", "a")], None),
            (&[("etag", "\"a\""), ("etag", "\"b\"")], None),
            (&[("etag", "W/\"a\""), ("last-modified", early), ("date", late)], None),
            (&[("last-modified", early), ("date", late)], Some(early)),
            (&[("last-modified", late), ("date", late)], None),
            (&[("last-modified", early)], None),
            (&[("last-modified", "x"), ("date", late)], None),
            (&[], None),
        ] {
            let found = Strong::of(&headers(fields), NOW);
            assert_eq!(found.as_ref().map(Strong::value), strong.map(HeaderValue::from_static).as_ref());
        }
    }

    #[test]
    fn what_is_missing() {
        let partial = of("\"a\"", 5, 5).join(&of("\"a\"", 20, 5), 1000);
        for (start, length, missing) in [
            (5, 5, None),
            (6, 2, None),
            (20, 5, None),
            (0, 10, Some((0, 5))),
            (5, 10, Some((10, 5))),
            (8, 14, Some((10, 10))),
            (0, 40, Some((0, 40))),
            (5, 20, Some((10, 10))),
            (7, 33, Some((10, 30))),
            (12, 3, Some((12, 3))),
        ] {
            let found = partial.missing(Part { start, length }).map(|part| (part.start, part.length));
            assert_eq!(found, missing, "{start}+{length}");
        }
    }

    #[test]
    fn parts_of_other_bytes_are_not_mixed() {
        let joined = of("\"b\"", 5, 5).join(&of("\"a\"", 0, 5), 1000);
        assert!(joined.missing(Part { start: 0, length: 5 }).is_some());
        let body = StoredBody::Whole(text(0, 4));
        let tag = || Some(Strong::Tag(HeaderValue::from_static("\"a\"")));
        for part in [
            Part { start: 0, length: 5 },
            Part { start: 0, length: 3 },
            Part { start: LENGTH - 3, length: 4 },
            Part { start: 0, length: 0 },
        ] {
            assert!(Partial::new(head(), tag(), LENGTH, part, &body).is_none(), "{part:?}");
        }
    }

    /// RFC 9110 §15.3.7.3: without a strong validator nobody knows that two parts are of the same bytes.
    #[test]
    fn parts_without_a_validator_are_not_mixed() {
        let of = |start| {
            let body = StoredBody::Whole(text(start, 5));
            Partial::new(head(), None, LENGTH, Part { start, length: 5 }, &body).unwrap()
        };
        let joined = of(5).join(&of(0), 1000);
        assert!(joined.missing(Part { start: 0, length: 5 }).is_some());
        assert!(joined.missing(Part { start: 6, length: 3 }).is_none());
    }

    #[test]
    fn bounds() {
        let joined = of("\"a\"", 0, 10).join(&of("\"a\"", 20, 10), 19);
        assert_eq!((joined.bytes(), joined.runs.len()), (10, 1), "the newest stays");
        assert!(joined.weight() > of("\"a\"", 0, 1).weight());
    }

    proptest! {
        /// Whatever comes in whatever order: the bytes are those of the whole.
        #[test]
        fn parts_add_up(
            asked in proptest::collection::vec((0..LENGTH, 1..20u64), 1..12),
            probe in 0..LENGTH,
        ) {
            let mut partial: Option<Partial> = None;
            let mut have = vec![false; usize::try_from(LENGTH).unwrap()];
            for (start, length) in asked {
                let length = length.min(LENGTH - start);
                let new = of("\"a\"", start, length);
                partial = Some(match &partial {
                    Some(older) => new.join(older, 1000),
                    None => new,
                });
                (start..start + length).for_each(|at| have[usize::try_from(at).unwrap()] = true);
            }
            let partial = partial.unwrap();
            for pair in partial.runs.windows(2) {
                prop_assert!(pair[0].part.end() < pair[1].part.start);
            }
            for (at, there) in (0..).zip(&have) {
                let byte = Part { start: at, length: 1 };
                prop_assert_eq!(partial.missing(byte).is_none(), *there);
            }
            let window = Part { start: probe, length: LENGTH - probe };
            if partial.missing(window).is_none() {
                prop_assert_eq!(partial.slices(window).concat(), text(probe, LENGTH - probe));
            }
            match partial.complete() {
                Ok(entry) => {
                    prop_assert!(have.iter().all(|there| *there));
                    prop_assert_eq!(entry.stored_body().chunks().concat(), text(0, LENGTH));
                }
                Err(_) => prop_assert!(!have.iter().all(|there| *there)),
            }
        }
    }
}
