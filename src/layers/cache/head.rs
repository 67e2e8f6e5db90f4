//! The header section of a stored response, packed; and ready copies of the busiest ones, a few a thread.
//!
//! A stored section is one run of bytes: a `HeaderMap` of ten fields takes a kilobyte before its first value.
//! What a hit hands out is a clone of a ready map that this thread keeps, with values in memory that no other
//! thread counts references in: a busy entry is not a cache line all cores write to.
//!
//! Surprise: an entry gets a ready map when a thread meets it for the second time in a row in its place, so
//! that a scan over many entries does not push out the busy ones for nothing.

use std::cell::RefCell;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::http::fields;

use super::entry::Entry;
use super::status::{Hit, HitKind, Outcome};
use super::targeted;

/// Packed fields: for each, the lengths of name and value (two and four bytes), name, value. Those that are
/// [kept from clients](targeted::is_hidden) come last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields {
    packed: Box<[u8]>,
    /// Where those for clients end, in bytes.
    public: u32,
    count: u32,
}

/// What the two lengths take, in bytes.
const LENGTHS: usize = 6;

impl Fields {
    /// Packs end-to-end fields. `Age` and `Content-Length` stay out: an answer gets its own.
    pub fn pack(headers: &HeaderMap) -> Self {
        let kept =
            || headers.iter().filter(|(name, _)| **name != header::AGE && **name != header::CONTENT_LENGTH);
        let size = kept().map(|(name, value)| LENGTHS + name.as_str().len() + value.len()).sum();
        let mut packed = Vec::with_capacity(size);
        let (mut public, mut count) = (0, 0);
        let shown = kept().filter(|(name, _)| !targeted::is_hidden(name));
        for (name, value) in shown.chain(kept().filter(|(name, _)| targeted::is_hidden(name))) {
            let (Ok(name_length), Ok(value_length)) =
                (u16::try_from(name.as_str().len()), u32::try_from(value.len()))
            else {
                continue;
            };
            packed.extend_from_slice(&name_length.to_le_bytes());
            packed.extend_from_slice(&value_length.to_le_bytes());
            packed.extend_from_slice(name.as_str().as_bytes());
            packed.extend_from_slice(value.as_bytes());
            count += 1;
            if !targeted::is_hidden(name) {
                public = packed.len();
            }
        }
        Self { packed: packed.into(), public: u32::try_from(public).unwrap_or(u32::MAX), count }
    }

    /// Unpacks those for clients, with room for `spare` more, into memory of their own.
    pub fn unpack(&self, spare: usize) -> HeaderMap {
        self.unpack_of(self.packed.get(..self.public as usize).unwrap_or(&self.packed), spare)
    }

    /// Unpacks all of them.
    pub fn unpack_all(&self) -> HeaderMap {
        self.unpack_of(&self.packed, 1)
    }

    fn unpack_of(&self, packed: &[u8], spare: usize) -> HeaderMap {
        let mut headers = HeaderMap::try_with_capacity(self.count as usize + spare).unwrap_or_default();
        let all = Bytes::copy_from_slice(packed);
        let mut at = 0;
        while let Some((name, value, next)) = Self::field(&all, at) {
            headers.append(name, value);
            at = next;
        }
        headers
    }

    /// The field at an offset, and the offset of the next.
    fn field(all: &Bytes, at: usize) -> Option<(HeaderName, HeaderValue, usize)> {
        let name_length = usize::from(u16::from_le_bytes(*all.get(at..)?.first_chunk()?));
        let value_length = u32::from_le_bytes(*all.get(at + 2..)?.first_chunk()?) as usize;
        let name_at = at + LENGTHS;
        let value_at = name_at + name_length;
        let end = value_at + value_length;
        let name = HeaderName::from_bytes(all.get(name_at..value_at)?).ok()?;
        let value = HeaderValue::from_maybe_shared(all.slice(value_at..end)).ok()?;
        Some((name, value, end))
    }

    /// How many bytes they take.
    pub fn weight(&self) -> usize {
        self.packed.len()
    }
}

/// How many ready maps a thread keeps.
const READY: usize = 128;

/// The largest packed section a ready map is made of, in bytes: it bounds what a thread keeps.
const READY_MAX: usize = 2048;

thread_local! {
    static PLACES: RefCell<Vec<Place>> = const { RefCell::new(Vec::new()) };
}

/// The place of all entries whose number is the same modulo [`READY`].
#[derive(Default)]
struct Place {
    /// The entry last seen here.
    seen: u64,
    /// The entry the map is of; 0 for none.
    id: u64,
    age: u64,
    ttl: i64,
    headers: HeaderMap,
}

/// The fields of a fresh hit: the stored ones, `Content-Length`, `Age` and `Cache-Status`.
pub fn of_fresh_hit(entry: &Entry, age: u64, ttl: i64) -> HeaderMap {
    if !entry.is_plain() || entry.weight_of_fields() > READY_MAX {
        return make(entry, age, ttl);
    }
    PLACES.with_borrow_mut(|places| {
        if places.is_empty() {
            places.resize_with(READY, Place::default);
        }
        let number = usize::try_from(entry.id() % READY as u64).unwrap_or(0);
        let Some(place) = places.get_mut(number) else { return make(entry, age, ttl) };
        if place.id != entry.id() {
            let headers = make(entry, age, ttl);
            if std::mem::replace(&mut place.seen, entry.id()) != entry.id() {
                return headers;
            }
            *place = Place { seen: entry.id(), id: entry.id(), age, ttl, headers };
        } else if (place.age, place.ttl) != (age, ttl) {
            (place.age, place.ttl) = (age, ttl);
            place.headers.insert(header::AGE, HeaderValue::from(age));
            place.headers.insert(&fields::CACHE_STATUS, status(ttl));
        }
        place.headers.clone()
    })
}

/// Room in the table of an answer's fields: for the two of ours, and for those that other layers add, so
/// that it need not grow.
const SPARE: usize = 6;

fn make(entry: &Entry, age: u64, ttl: i64) -> HeaderMap {
    let mut headers = entry.headers(SPARE);
    headers.insert(header::AGE, HeaderValue::from(age));
    headers.append(&fields::CACHE_STATUS, status(ttl));
    headers
}

fn status(ttl: i64) -> HeaderValue {
    Outcome::Hit(Hit { ttl, kind: HitKind::Fresh }).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_again() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("link", "</a>"),
            ("link", "</b>"),
            ("x-empty", ""),
            ("x-custom-name", "v\u{e9}"),
            ("age", "7"),
            ("content-length", "3"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers.insert("forebay-cdn-cache-control", HeaderValue::from_static("max-age=1"));
        let fields = Fields::pack(&headers);
        assert_eq!(fields.unpack_all()["forebay-cdn-cache-control"], "max-age=1");
        headers.remove("forebay-cdn-cache-control");
        let out = fields.unpack(2);
        headers.remove("age");
        headers.remove("content-length");
        assert_eq!(out, headers);
        assert_eq!(Fields::pack(&HeaderMap::new()).unpack(0).len(), 0);
    }
}
