//! A response that may be shared: to its readers while it arrives, to the store when it is complete.
//!
//! What there is no room for, because it is larger than `cache.max_object` or the process's memory is taken,
//! is shared all the same by those who wait for it when its head comes: they read it together, within a
//! window, and nobody joins them. The next one to ask flies anew.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use http_body::Body as _;

use crate::clock::{self, Now};
use crate::http::shared::{Limits, SharedReader, SharedWriter};
use crate::http::{Response, ResponseParts};
use crate::memory::{Hold, Memory, Use};

use super::core::Verdict;
use super::directives::ResponseDirectives;
use super::entry::{Entry, StoredBody};
use super::fill::{Fill, Led};
use super::flight::{Landing, Lead};
use super::purge::Mode;
use super::slot::Repeat;
use super::storable::{self, NotStored};

/// How far, in bytes, the readers of a response that is not stored may be apart.
pub(super) const WINDOW: u64 = 256 * 1024;

/// How long in all the slowest of them may keep the others waiting.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long the first byte of such a response is kept for those who waited for its head. They only have to be
/// polled once: this is a bound, not a measure.
const SEATING: Duration = Duration::from_secs(1);

/// The share of a body that its chunks may take beside their bytes.
const CHUNKS_SHARE: u64 = 64;

/// Room for a body, which takes it twice: what is stored is a copy, for the chunks that came pin the buffers
/// they were read into, and stay for those who still read them.
pub(super) struct Room {
    pub(super) chunks: Hold,
    pub(super) copy: Hold,
}

impl Room {
    fn none(memory: &Memory) -> Self {
        Self { chunks: memory.hold(Use::Filling), copy: memory.hold(Use::Filling) }
    }

    fn grow(&mut self, length: u64) -> bool {
        self.chunks.try_grow(length + length / CHUNKS_SHARE) && self.copy.try_grow(length)
    }
}

impl Fill {
    /// Room for a body whose length is known, or none yet for one whose length is not.
    pub(super) fn room(&self, length: Option<u64>) -> Result<Room, NotStored> {
        let store = &self.core.store;
        let mut room = Room::none(store.memory());
        match length {
            Some(length) if length > store.max_object() => Err(NotStored::TooLarge),
            Some(length) if !room.grow(length) => Err(NotStored::MemoryLimit),
            Some(_) | None => Ok(room),
        }
    }

    /// Shares the response while it arrives, and stores it when it is complete.
    pub(super) async fn share(
        mut self,
        response: Response,
        (verdict, directives): (Verdict, ResponseDirectives),
        length: Option<u64>,
        room: Result<Room, NotStored>,
        now: Now,
    ) {
        let store = &self.core.store;
        let detail = room.as_ref().err().map(|reason| self.core.meter.not_stored(reason.as_str()));
        let keep = if detail.is_none() { store.max_object() } else { 0 };
        let limits = Limits { keep, window: WINDOW, patience: PATIENCE };
        let Room { chunks, copy } = room.unwrap_or_else(|_| Room::none(store.memory()));
        let writer = SharedWriter::new(limits, length, chunks);
        let anchor = writer.body().reader();
        let ResponseParts { status, mut headers, body, .. } = response.into_parts();
        let withheld = withheld(&headers, &directives);
        storable::prepare(&mut headers, &directives, now.wall);
        let marks = self.core.marks(&self.request.target, &headers, self.listing.flight.since());
        self.core.plan.tags.strip(&mut headers);
        let lead = Arc::new(Lead {
            status,
            variant: verdict.variant,
            lifetime: verdict.lifetime,
            marks,
            body: writer.body(),
            stored: detail.is_none() && !self.listing.flight.is_void(),
            detail,
            part: None,
            headers,
        });
        self.learn(true);
        self.rest_if(false);
        // Still on the list: whoever comes now reads what is here already.
        self.listing.flight.go_on();
        if let Some(leader) = self.leader.take() {
            let _ = leader.send(Led::Shared { lead: Arc::clone(&lead), withheld });
        }
        self.listing.flight.land(Landing::Shared(Arc::clone(&lead)));
        let Some((writer, last, trailers)) = self.pump(writer, body, &lead, length, anchor).await else {
            return;
        };
        if let Some(chunks) = writer.chunks() {
            self.complete(&lead, chunks, last.clone(), copy).await;
        }
        self.listing.leave();
        writer.finish(last, trailers);
    }

    /// Stores a complete body, unless it turned out too large or was purged meanwhile.
    async fn complete(&self, lead: &Lead, mut chunks: Vec<Bytes>, last: Option<Bytes>, mut copy: Hold) {
        chunks.extend(last);
        let length: u64 = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        if length > self.core.store.max_object() {
            self.core.meter.not_stored(NotStored::TooLarge.as_str());
            return;
        }
        if !copy.try_grow(length.saturating_sub(copy.bytes())) {
            self.core.meter.not_stored(NotStored::MemoryLimit.as_str());
            return;
        }
        let body = StoredBody::pack(&chunks).await;
        drop(chunks);
        let cost = clock::now().instant - self.sent;
        self.core.meter.fill_time(cost);
        let marks = lead.marks.clone();
        let entry = Entry::new(lead.status, &lead.headers, lead.lifetime, lead.variant.clone(), marks, body)
            .worth(cost);
        self.store(&Arc::new(entry)).await;
    }

    pub(super) async fn store(&self, entry: &Arc<Entry>) {
        let flight = &self.listing.flight;
        if flight.is_void() || self.core.purged(entry, &self.request.target).is_some() {
            return;
        }
        if let (StatusCode::PARTIAL_CONTENT, Some(scope)) = (entry.status(), self.scope()) {
            let repeat = Repeat { scope, entry: Arc::clone(entry) };
            self.core.store.put_repeat(&self.key, repeat).await;
            self.core.meter.stored(entry.length());
            if flight.is_void() {
                self.core.store.remove_entry(&self.key, entry.id()).await;
            }
            return;
        }
        let max_variants = self.core.plan.max_variants;
        let purged = |other: &Entry| self.core.purged(other, &self.request.target) == Some(Mode::Hard);
        let place = self.core.place_of(&self.key, &self.request, entry);
        let dropped = self.core.store.put(&place, Arc::clone(entry), purged, max_variants).await;
        self.core.meter.variants_dropped(dropped, max_variants);
        self.core.meter.stored(entry.length());
        if flight.is_void() {
            // The invalidation may have come between the check and the put.
            Box::pin(self.core.store.remove_entry(&place, entry.id())).await;
        }
        if let Some(stale) = self.stale().filter(|_| *place != *self.key) {
            // What it took the place of was found elsewhere.
            Box::pin(self.core.store.remove_entry(&self.key, stale.id())).await;
        }
    }

    /// The body turned out to be more than there is room for: nobody can join it from now on, and those who
    /// came in time take their seats before its first byte goes.
    pub(super) async fn close_doors(&self, lead: &Lead, here: u64, anchor: Option<SharedReader>) {
        self.listing.leave();
        let _ = tokio::time::timeout(SEATING, self.listing.flight.all_seated()).await;
        drop(anchor);
        if lead.detail.is_some() {
            return;
        }
        if here > self.core.store.max_object() {
            self.core.meter.not_stored(NotStored::TooLarge.as_str());
            self.mark_pass().await;
        } else {
            self.core.meter.not_stored(NotStored::MemoryLimit.as_str());
        }
    }
}

/// The fields that may not be stored, for the one who asked.
pub(super) fn withheld(
    headers: &HeaderMap,
    directives: &ResponseDirectives,
) -> Box<[(HeaderName, HeaderValue)]> {
    let lines = |name: &HeaderName| {
        let name = name.clone();
        headers.get_all(&name).iter().map(move |value| (name.clone(), value.clone())).collect::<Vec<_>>()
    };
    directives.withheld.iter().flat_map(lines).collect()
}

/// The length a response says it has, by its field and by its framing.
pub(super) fn length_of(response: &Response) -> Result<Option<u64>, &'static str> {
    let framed = response.body.size_hint().exact();
    let Some(field) = response.headers.get(CONTENT_LENGTH) else { return Ok(framed) };
    let said = field.to_str().ok().and_then(|text| text.parse().ok()).ok_or("bad-content-length")?;
    match framed {
        Some(framed) if framed != said => Err("bad-content-length"),
        _ => Ok(Some(said)),
    }
}
