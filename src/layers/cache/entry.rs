//! A stored response: complete, immutable, shared by everybody it answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};

use crate::clock::Wall;
use crate::http::{Body, Chunks, Piece, Response, ResponseParts, fields, slices};

use super::freshness::Lifetime;
use super::head::{self, Fields};
use super::multipart::Multipart;
use super::purge::Marks;
use super::range::Part;
use super::vary::Variant;

/// Bodies up to this size are stored in one piece, larger ones in pieces of it.
pub(super) const PIECE: usize = 256 * 1024;

/// After how many bytes packing a large body lets other tasks run.
const BREATH: usize = 1024 * 1024;

/// What an entry takes beside key, fields, variant and body: its own struct, moka's bookkeeping and the
/// allocator's. Measured.
const OVERHEAD: usize = 672;

/// A stored response.
#[derive(Debug)]
pub struct Entry {
    id: u64,
    status: StatusCode,
    lifetime: Lifetime,
    variant: Variant,
    fields: Fields,
    marks: Marks,
    plain: bool,
    /// How long the origin took for it, in milliseconds.
    cost_ms: u32,
    /// How often it was asked for lately: see [`refresh`](super::refresh).
    asked: AtomicU32,
    body: StoredBody,
}

/// The bytes of a stored body, of exactly their size: a slice would pin the connection's read buffer.
#[derive(Clone, Debug)]
pub enum StoredBody {
    /// In one piece.
    Whole(Bytes),
    /// In several, and their length in all.
    Pieces(Arc<[Bytes]>, u64),
}

impl StoredBody {
    /// Copies the chunks of a complete body.
    pub async fn pack(chunks: &[Bytes]) -> Self {
        let length: usize = chunks.iter().map(Bytes::len).sum();
        if length <= PIECE {
            let mut whole = Vec::with_capacity(length);
            for chunk in chunks {
                whole.extend_from_slice(chunk);
            }
            return Self::Whole(whole.into());
        }
        let mut pieces = Vec::with_capacity(length.div_ceil(PIECE));
        let mut piece = Vec::with_capacity(PIECE);
        let (mut left, mut breath) = (length, 0);
        for chunk in chunks {
            let mut rest = chunk.as_ref();
            while !rest.is_empty() {
                let take = rest.len().min(PIECE - piece.len());
                let (now, later) = rest.split_at(take);
                piece.extend_from_slice(now);
                rest = later;
                left -= take;
                breath += take;
                if piece.len() == PIECE || left == 0 {
                    let full = std::mem::replace(&mut piece, Vec::with_capacity(left.min(PIECE)));
                    pieces.push(full.into());
                }
            }
            if breath >= BREATH {
                breath = 0;
                tokio::task::yield_now().await;
            }
        }
        Self::Pieces(pieces.into(), length as u64)
    }

    /// All of it, in pieces.
    pub fn chunks(&self) -> Arc<[Bytes]> {
        match self {
            Self::Whole(bytes) => Arc::from([bytes.clone()]),
            Self::Pieces(pieces, _) => Arc::clone(pieces),
        }
    }

    /// How many bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Pieces(_, length) => *length,
        }
    }
}

impl Entry {
    /// An entry of a complete response; `headers` are [prepared](super::storable::prepare).
    pub fn new(
        status: StatusCode,
        headers: &HeaderMap,
        lifetime: Lifetime,
        variant: Variant,
        marks: Marks,
        body: StoredBody,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let fields = Fields::pack(headers);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            status,
            lifetime,
            variant,
            plain: !headers.contains_key(&fields::CACHE_STATUS),
            fields,
            marks,
            cost_ms: 0,
            asked: AtomicU32::new(0),
            body,
        }
    }

    /// The same with this body, and the same number.
    #[must_use]
    pub fn with_body(self, body: StoredBody) -> Self {
        Self { body, ..self }
    }

    /// The same entry, which took the origin so long.
    #[must_use]
    pub fn worth(self, cost: Duration) -> Self {
        Self { cost_ms: u32::try_from(cost.as_millis()).unwrap_or(u32::MAX), ..self }
    }

    /// How long the origin took for the whole of it.
    pub const fn cost(&self) -> Duration {
        Duration::from_millis(self.cost_ms as u64)
    }

    /// Counts `times` that it was asked for, and returns how often that was in all.
    pub(super) fn ask(&self, times: u32) -> u32 {
        self.asked.fetch_add(times, Ordering::Relaxed).saturating_add(times)
    }

    /// Its number, unique in the process.
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// How long it is good for.
    pub const fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }

    /// Which requests it answers, of those with its key.
    pub const fn variant(&self) -> &Variant {
        &self.variant
    }

    /// What it is judged by when something is purged.
    pub const fn marks(&self) -> &Marks {
        &self.marks
    }

    /// The body's bytes, to build another entry with.
    pub fn stored_body(&self) -> StoredBody {
        self.body.clone()
    }

    /// The body's length.
    pub fn length(&self) -> u64 {
        self.body.length()
    }

    /// Whether no cache before us left a `Cache-Status` in it.
    pub(super) const fn is_plain(&self) -> bool {
        self.plain
    }

    pub(super) fn weight_of_fields(&self) -> usize {
        self.fields.weight()
    }

    /// The stored fields that clients get, and `Content-Length`, with room for `spare` more.
    pub fn headers(&self, spare: usize) -> HeaderMap {
        self.with_length(self.fields.unpack(spare + 1))
    }

    /// All stored fields and `Content-Length`: what an update is merged into.
    pub fn all_headers(&self) -> HeaderMap {
        self.with_length(self.fields.unpack_all())
    }

    fn with_length(&self, mut headers: HeaderMap) -> HeaderMap {
        // RFC 9110 §8.6: never in a 204.
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(self.length()));
        }
        headers
    }

    /// The body, or none for a HEAD.
    pub fn body(&self, method: &Method) -> Body {
        let body = match &self.body {
            _ if *method == Method::HEAD => Body::empty(),
            StoredBody::Whole(bytes) => Body::full(bytes.clone()),
            StoredBody::Pieces(pieces, length) => Body::chunks(Chunks::new(Arc::clone(pieces), 0, *length)),
        };
        body.of_stored(self.id)
    }

    /// A part of the body.
    pub fn part(&self, part: Part) -> Body {
        match &self.body {
            StoredBody::Whole(bytes) => {
                let start = usize::try_from(part.start).unwrap_or(usize::MAX).min(bytes.len());
                let length = usize::try_from(part.length).unwrap_or(usize::MAX).min(bytes.len() - start);
                Body::full(bytes.slice(start..start + length))
            }
            StoredBody::Pieces(pieces, _) => {
                Body::chunks(Chunks::new(Arc::clone(pieces), part.start, part.length))
            }
        }
    }

    /// Several parts of the body, framed.
    pub fn parts(&self, multipart: Multipart) -> Body {
        let pieces: &[Bytes] = match &self.body {
            StoredBody::Whole(bytes) => std::slice::from_ref(bytes),
            StoredBody::Pieces(pieces, _) => pieces,
        };
        let mut chunks = Vec::with_capacity(2 * multipart.pieces.len() + 1);
        for Piece { before, start, length } in multipart.pieces {
            chunks.push(before);
            chunks.extend(slices(pieces, start, length));
        }
        chunks.push(multipart.end);
        Body::chunks(Chunks::new(chunks.into(), 0, multipart.length))
    }

    /// The whole of it as the answer to a request without conditions, while it is fresh: the way of most
    /// hits.
    pub fn fresh_hit(&self, method: &Method, now: Wall) -> Response {
        let (age, ttl) = (self.lifetime.age(now).as_secs(), self.lifetime.ttl(now));
        let headers = head::of_fresh_hit(self, age, ttl);
        Response::from(ResponseParts { status: self.status, headers, body: self.body(method), upgrade: None })
    }

    /// How many bytes it takes, for weighing.
    pub fn weight(&self) -> usize {
        let body = usize::try_from(self.length()).unwrap_or(usize::MAX);
        (self.fields.weight() + self.variant.weight() + self.marks.weight() + OVERHEAD).saturating_add(body)
    }
}
