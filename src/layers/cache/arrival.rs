//! The answer to a request for a part: sorted out, shared while it arrives, put together and stored. What is
//! believed of the origin stands in [`ranged`](super::ranged).

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap};

use crate::clock::{self, Now, Wall};
use crate::error::Error;
use crate::http::shared::{Limits, SharedWriter};
use crate::http::{Body, Response};

use super::core::Verdict;
use super::directives::ResponseDirectives;
use super::entry::{Entry, StoredBody};
use super::fill::{Fill, Led};
use super::flight::{Landing, Lead};
use super::partial::{Partial, Strong};
use super::purge::Marks;
use super::range::{self, Part};
use super::ranged::{Ask, Ranged};
use super::share::{self, Room};
use super::storable;
use super::validate;

/// What an answer to a [`Ranged`] request is.
pub(super) enum Sorted {
    /// An answer like any other: the whole, an error, or for its client alone.
    Plain(Result<Response, Error>),
    /// A part to share and to store.
    Part(Box<Arrival>),
    /// Nothing for the client: ask again.
    Again(Option<Ranged>),
}

/// A part on its way.
pub(super) struct Arrival {
    validator: Option<Strong>,
    headers: HeaderMap,
    /// What the origin said of it last, where `headers` are put together.
    update: Option<HeaderMap>,
    verdict: Verdict,
    directives: ResponseDirectives,
    /// The length of the whole.
    length: u64,
    /// What the client gets.
    window: Part,
    /// What of it comes from the origin; nothing where the origin confirmed what is here.
    arriving: Option<(Part, Body)>,
    /// What the rest is of.
    partial: Option<Arc<Partial>>,
    room: Room,
    received: Wall,
}

impl Fill {
    /// Sorts the answer to a ranged request.
    pub(super) fn sort(&self, ranged: &Ranged, answer: Result<Response, Error>, sent: Now) -> Sorted {
        let response = match answer {
            Ok(response) => response,
            Err(error) => return Sorted::Plain(Err(error)),
        };
        match (response.status, &ranged.ask) {
            (StatusCode::PARTIAL_CONTENT, ask) => {
                let own = matches!(ask, Ask::Same | Ask::Confirm { .. });
                match self.arrival(ranged, response, sent) {
                    Ok(arrival) => Sorted::Part(Box::new(arrival)),
                    Err(response) if own => Sorted::Plain(Ok(response)),
                    Err(_) => Sorted::Again(ranged.again()),
                }
            }
            (StatusCode::NOT_MODIFIED, Ask::Confirm { partial, window }) => {
                let confirmed = self.confirmed(partial, *window, &response.headers, sent);
                confirmed.map_or_else(|| Sorted::Again(ranged.again()), |it| Sorted::Part(Box::new(it)))
            }
            // Our condition is not the client's, and neither is our range.
            (
                StatusCode::NOT_MODIFIED
                | StatusCode::PRECONDITION_FAILED
                | StatusCode::RANGE_NOT_SATISFIABLE,
                Ask::Rest { .. },
            ) => Sorted::Again(ranged.again()),
            _ => Sorted::Plain(Ok(response)),
        }
    }

    /// A 206 that is what was asked for, and may be stored; else the response as it came.
    fn arrival(&self, ranged: &Ranged, response: Response, sent: Now) -> Result<Arrival, Response> {
        let now = clock::now();
        let Some((part, length)) = range::said(&response.headers) else { return Err(response) };
        let sound = share::length_of(&response).is_ok_and(|said| said.is_none_or(|said| said == part.length));
        if !sound {
            return Err(response);
        }
        let validator = Strong::of(&response.headers, now.wall);
        let (window, partial) = match &ranged.ask {
            Ask::Same | Ask::Confirm { .. } => (ranged.wanted.and_then(|wanted| wanted.within(length)), None),
            Ask::Rest { partial, window, missing } => {
                let same = partial.validator() == validator.as_ref() && partial.length() == length;
                ((same && part == *missing).then_some(*window), Some(partial))
            }
        };
        if partial.is_some_and(|partial| self.is_purged(partial)) {
            return Err(response);
        }
        let as_asked = window.filter(|window| partial.is_some() || *window == part);
        let names = |condition| validator.as_ref().is_some_and(|validator| validator.value() == condition);
        let if_range = ranged.if_range.as_ref().is_none_or(names);
        let Some(window) = as_asked.filter(|_| if_range) else { return Err(response) };
        let mut headers = match partial {
            // A 206 to If-Range may leave out what the client is taken to know (RFC 9110 §15.3.7).
            Some(partial) => validate::merge(&partial.headers(0), &response.headers, now.wall),
            None => response.headers.clone(),
        };
        let update = partial.map(|_| response.headers.clone());
        headers.remove(CONTENT_RANGE);
        headers.remove(CONTENT_LENGTH);
        let judged = self.judge(StatusCode::OK, &headers, sent, now);
        let (Ok((verdict, directives)), Ok(room)) = (judged, self.room(Some(window.length))) else {
            return Err(response);
        };
        Ok(Arrival {
            validator,
            headers,
            update,
            verdict,
            directives,
            length,
            window,
            arriving: Some((part, response.into_body())),
            partial: partial.map(Arc::clone),
            room,
            received: now.wall,
        })
    }

    /// A 304 for parts that are here (RFC 9111 §4.3.4).
    fn confirmed(
        &self,
        partial: &Arc<Partial>,
        window: Part,
        update: &HeaderMap,
        sent: Now,
    ) -> Option<Arrival> {
        let now = clock::now();
        let stored = partial.headers(0);
        // Parts are put together by their entity tag: one that differs is of something else.
        let same_tag = update.get(ETAG).is_none_or(|tag| Some(tag) == stored.get(ETAG));
        if !same_tag || !validate::confirms(&stored, update) || self.is_purged(partial) {
            return None;
        }
        let headers = validate::merge(&stored, update, now.wall);
        let (verdict, directives) = self.judge(StatusCode::OK, &headers, sent, now).ok()?;
        Some(Arrival {
            validator: partial.validator().cloned(),
            headers,
            update: Some(update.clone()),
            verdict,
            directives,
            length: partial.length(),
            window,
            arriving: None,
            partial: Some(Arc::clone(partial)),
            room: self.room(Some(window.length)).ok()?,
            received: now.wall,
        })
    }

    /// Shares a part while it arrives, between those that are here, and stores it when it is complete.
    pub(super) async fn share_part(mut self, arrival: Arrival) {
        let Arrival { mut headers, verdict, directives, length, window, arriving, partial, .. } = arrival;
        let Room { chunks, copy } = arrival.room;
        let limits =
            Limits { keep: self.core.store.max_object(), window: share::WINDOW, patience: share::PATIENCE };
        let mut writer = SharedWriter::new(limits, Some(window.length), chunks);
        let anchor = writer.body().reader();
        let withheld = share::withheld(&headers, &directives);
        storable::prepare(&mut headers, &directives, arrival.received);
        let marks = self.marks(partial.as_deref(), arrival.update.as_ref(), &headers);
        self.core.plan.tags.strip(&mut headers);
        let is_part = window != Part { start: 0, length } || self.is_for_a_range();
        let lead = Arc::new(Lead {
            status: if is_part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK },
            variant: verdict.variant,
            lifetime: verdict.lifetime,
            marks,
            body: writer.body(),
            stored: !self.listing.flight.is_void(),
            detail: None,
            part: is_part.then_some((window, length)),
            headers,
        });
        let at = arriving.as_ref().map_or(Part { start: window.end(), length: 0 }, |(part, _)| *part);
        let here = |start: u64, end: u64| {
            let part = Part { start, length: end.saturating_sub(start) };
            partial.as_ref().filter(|_| part.length > 0).map_or_else(Vec::new, |it| it.slices(part))
        };
        let (before, mut after) = (here(window.start, at.start), here(at.end(), window.end()));
        let count = before.len();
        for chunk in before {
            writer.push(chunk);
        }
        self.listing.flight.go_on();
        if let Some(leader) = self.leader.take() {
            let _ = leader.send(Led::Shared { lead: Arc::clone(&lead), withheld });
        }
        self.listing.flight.land(Landing::Shared(Arc::clone(&lead)));
        let head = Entry::new(
            StatusCode::OK,
            &lead.headers,
            lead.lifetime,
            lead.variant.clone(),
            lead.marks.clone(),
            StoredBody::Whole(Bytes::new()),
        );
        let mut last = None;
        if let Some((part, body)) = arriving {
            let pumped = self.pump(writer, body, &lead, Some(part.length), anchor).await;
            let Some((back, end, _)) = pumped else { return };
            if let Some(mut chunks) = back.chunks() {
                chunks.extend(end.clone());
                let body = StoredBody::pack(chunks.get(count..).unwrap_or_default()).await;
                self.store_part(Partial::new(head, arrival.validator, length, part, &body)).await;
            }
            (writer, last) = (back, end);
        } else {
            self.store_part(partial.as_ref().map(|partial| partial.with_head(head))).await;
        }
        drop(copy);
        self.listing.leave();
        if let Some(end) = after.pop() {
            for chunk in last.into_iter().chain(after) {
                writer.push(chunk);
            }
            last = Some(end);
        }
        writer.finish(last, None);
    }

    /// The marks of what is put together from an update and what is here, or of what just came.
    fn marks(&self, known: Option<&Partial>, update: Option<&HeaderMap>, headers: &HeaderMap) -> Marks {
        let (target, since) = (&self.request.target, self.listing.flight.since());
        match known.zip(update) {
            Some((known, update)) => self.core.updated_marks(known.head(), update, headers, since),
            None => self.core.marks(target, headers, since),
        }
    }

    /// Whether parts were purged since they were looked up, in whatever way.
    fn is_purged(&self, partial: &Partial) -> bool {
        self.core.purged(partial.head(), &self.request.target).is_some()
    }

    async fn store_part(&self, partial: Option<Partial>) {
        let (Some(partial), false) = (partial, self.listing.flight.is_void()) else { return };
        let (id, bytes) = (partial.head().id(), partial.bytes());
        let (target, max_variants) = (&self.request.target, self.core.plan.max_variants);
        let alive = |older: &Partial| self.core.purged(older.head(), target).is_none();
        self.core.store.put_part(&self.key, partial, alive, max_variants).await;
        self.core.meter.stored(bytes);
        if self.listing.flight.is_void() {
            // The invalidation may have come between the check and the put.
            self.core.store.remove_entry(&self.key, id).await;
        }
    }
}
