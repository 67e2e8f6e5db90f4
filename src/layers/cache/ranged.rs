//! Asking the origin for a part, on routes with `ranges = "parts"`: the one range that a client asks for, or
//! what is missing of it, or of the whole, beside the parts that are stored (RFC 9111 §3.3, §3.4).
//!
//! What is believed of the origin:
//!
//! - A 206 is stored where its one `Content-Range` is exactly what was asked for, of a known length, and its
//!   body has as many bytes; and where a 200 with its fields would be. It answers for what lies within it. It
//!   is put together only with parts of the same strong validator and length.
//! - Any other 206 goes to the client who asked for just that range, and to nobody else: it may be another
//!   part than was asked for, of unknown length, several parts, or of fewer bytes than it says. Where the
//!   route has `repeat_parts = true`, it goes, as it came, to all who ask for exactly the same range with the
//!   same `If-Range`: it is what the origin answers to that. No byte of it answers anything else.
//! - Where the gateway asked for something of its own, the origin is asked again, for what the client wants.
//! - A 200 is the whole, whatever was asked for; 416 and errors are answers to one client.
//!
//! A response that names no date of its own is not dated here: its `Last-Modified` is no strong validator.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderValue, IF_RANGE, RANGE};
use http::{Method, StatusCode};

use crate::clock::Wall;
use crate::error::{Error, UpstreamError, UpstreamErrorKind};
use crate::http::{Request, Response};

use super::core::Core;
use super::directives::RequestDirectives;
use super::entry::Entry;
use super::fetch::Fetch;
use super::freshness::Freshness;
use super::layer::Step;
use super::partial::Partial;
use super::plan::Ranges;
use super::range::{self, Part, Spec, Wanted};
use super::serve;
use super::status::{Forward, Forwarded, Hit, HitKind, Outcome};
use super::store::Slot;
use super::validate::{self, Validators};

/// What a client wants of a representation that is not stored whole, and what the origin is asked for.
#[derive(Clone, Debug)]
pub struct Ranged {
    /// The client's range; none for all.
    pub(super) wanted: Option<Spec>,
    /// The representation the client has the rest of.
    pub(super) if_range: Option<HeaderValue>,
    pub(super) ask: Ask,
}

/// What the origin is asked for.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// What the client asks for.
    Same,
    /// What of the client's part is missing beside these, if they are still what the origin has.
    Rest { partial: Arc<Partial>, window: Part, missing: Part },
    /// Whether these, which are all that the client asks for, are still what the origin has.
    Confirm { partial: Arc<Partial>, window: Part },
}

impl Ranged {
    /// What one client asks for, to be asked for just so.
    const fn same(wanted: Spec, if_range: Option<HeaderValue>) -> Self {
        Self { wanted: Some(wanted), if_range, ask: Ask::Same }
    }

    /// What tells it from other parts of the same key: those who ask for the same part follow one another.
    pub fn scope(&self) -> Option<Box<[u8]>> {
        let range = range::range(self.wanted?);
        let condition = self.if_range.as_ref().map_or(&b""[..], |condition| condition.as_bytes());
        Some([range.as_bytes(), b"\n", condition].concat().into())
    }

    /// Adds the range, and the condition under which it is wanted, to a request that has neither.
    pub fn write(&self, request: &mut HeaderMap) {
        match &self.ask {
            Ask::Same => {
                if let Some(condition) = &self.if_range {
                    request.insert(IF_RANGE, condition.clone());
                }
            }
            Ask::Rest { partial, missing, .. } => {
                let last = (missing.end() < partial.length()).then(|| missing.end() - 1);
                request.insert(RANGE, range::range(Spec::From(missing.start, last)));
                if let Some(validator) = partial.validator() {
                    request.insert(IF_RANGE, validator.value().clone());
                }
                return;
            }
            Ask::Confirm { partial, .. } => validate::condition(request, &partial.headers(0)),
        }
        if let Some(wanted) = self.wanted {
            request.insert(RANGE, range::range(wanted));
        }
    }

    /// The same request without anything of ours: the client's own, or one for all.
    pub(super) fn again(&self) -> Option<Self> {
        Some(Self::same(self.wanted?, self.if_range.clone()))
    }
}

impl Core {
    /// What to do with a request that no complete entry answers, where the route has its own way with ranges
    /// and the request, or what is stored for it, gives cause.
    pub(super) fn ranged(
        &self,
        request: &Request,
        key: &[u8],
        slot: Option<&Slot>,
        asked: RequestDirectives,
        now: Wall,
    ) -> Option<Step> {
        if request.method != Method::GET || self.plan.ranges == Ranges::Whole {
            return None;
        }
        let wanted = range::wanted(&request.headers);
        let partial = slot
            .and_then(|slot| slot.partial(&request.headers))
            .filter(|partial| self.purged(partial.head(), &request.target).is_none());
        if let (Wanted::One(spec, condition), Some(partial)) = (&wanted, partial)
            && let Some(kind) = usable(partial.head(), &asked, now)
            && let Some(response) = self.part_hit(request, partial, *spec, condition.as_ref(), kind, now)
        {
            return Some(Step::Done(Ok(response)));
        }
        if let Wanted::One(spec, condition) = &wanted
            && let Some(response) = self.repeat(request, slot, *spec, condition.clone(), &asked, now)
        {
            return Some(Step::Done(Ok(response)));
        }
        let passes = asked.only_if_cached || asked.no_store || slot.is_some_and(|slot| slot.passes(now));
        let ranged = match (self.plan.ranges, wanted, partial) {
            (_, Wanted::Whole, None) | (Ranges::Whole | Ranges::Pass, Wanted::Whole, _) => return None,
            // What a miss does is right: it refuses, or sends the request on as it is.
            _ if passes => return None,
            (Ranges::Whole | Ranges::Pass, ..) | (Ranges::Parts, Wanted::Several, _) => {
                let forwarded = Forwarded { detail: Some("range"), ..Forwarded::new(Forward::UriMiss) };
                return Some(Step::Pass(forwarded));
            }
            (Ranges::Parts, Wanted::One(spec, condition), partial) => self.part_of(partial, spec, condition),
            (Ranges::Parts, Wanted::Whole, Some(partial)) => self.rest_of(partial)?,
        };
        let forward = if partial.is_some() { Forward::Partial } else { Forward::UriMiss };
        let selector = slot
            .and_then(|slot| Some(slot.newest()?.headers(0)))
            .or_else(|| Some(partial?.headers(0)))
            .and_then(|headers| self.variant(&headers, &request.headers));
        Some(Step::Fetch(Fetch::of_miss(key, asked, forward, selector).ranged(ranged)))
    }

    /// How to get a client's range.
    fn part_of(&self, partial: Option<&Arc<Partial>>, spec: Spec, condition: Option<HeaderValue>) -> Ranged {
        let ours =
            partial.filter(|partial| partial.validator().is_some() && holds(partial, condition.as_ref()));
        let Some((partial, window)) = ours.and_then(|it| Some((it, spec.within(it.length())?))) else {
            return Ranged::same(spec, condition);
        };
        let partial = Arc::clone(partial);
        let ask = match partial.missing(window) {
            Some(missing) => Ask::Rest { partial, window, missing },
            None => Ask::Confirm { partial, window },
        };
        Ranged { wanted: Some(spec), if_range: condition, ask }
    }

    /// How to get the rest of the whole; none where the whole could not be stored, or all of it is missing.
    fn rest_of(&self, partial: &Arc<Partial>) -> Option<Ranged> {
        let window = Part { start: 0, length: partial.length() };
        let missing = partial.missing(window).filter(|missing| *missing != window)?;
        let fits = partial.validator().is_some() && partial.length() <= self.store.max_object();
        let ask = Ask::Rest { partial: Arc::clone(partial), window, missing };
        fits.then_some(Ranged { wanted: None, if_range: None, ask })
    }

    /// The answer from the parts that are stored, if they are all that is asked for.
    fn part_hit(
        &self,
        request: &Request,
        partial: &Partial,
        spec: Spec,
        condition: Option<&HeaderValue>,
        kind: HitKind,
        now: Wall,
    ) -> Option<Response> {
        let part = spec.within(partial.length());
        if !holds(partial, condition) || part.is_some_and(|part| partial.missing(part).is_some()) {
            return None;
        }
        let mut response = serve::partial(request, partial, part, now);
        let outcome = Outcome::Hit(Hit { ttl: partial.head().lifetime().ttl(now), kind });
        self.meter.mark(&request.trail, &outcome, &mut response);
        Some(response)
    }
}

impl Core {
    /// What the origin answered to a request for exactly the same range, where it is kept and fresh.
    fn repeat(
        &self,
        request: &Request,
        slot: Option<&Slot>,
        spec: Spec,
        condition: Option<HeaderValue>,
        asked: &RequestDirectives,
        now: Wall,
    ) -> Option<Response> {
        if !self.plan.repeat_parts {
            return None;
        }
        let scope = Ranged::same(spec, condition).scope()?;
        let entry = slot?.repeat(&scope, &request.headers)?;
        if self.purged(entry, &request.target).is_some() {
            return None;
        }
        let kind = usable(entry, asked, now)?;
        Some(self.hit(request, entry, kind, now))
    }
}

/// Whether a client's `If-Range` names the representation, if it has one.
fn holds(partial: &Partial, condition: Option<&HeaderValue>) -> bool {
    let received = partial.head().lifetime().received();
    condition.is_none_or(|condition| {
        Validators::of(StatusCode::OK, &partial.headers(0), received).is_exactly(condition)
    })
}

/// Whether a part may be served without asking the origin.
fn usable(head: &Entry, asked: &RequestDirectives, now: Wall) -> Option<HitKind> {
    match head.lifetime().judge(asked, now) {
        Freshness::Fresh => Some(HitKind::Fresh),
        Freshness::MaxStale => Some(HitKind::MaxStale),
        Freshness::StaleWhileRevalidate | Freshness::Revalidate(_) => None,
    }
}

/// What is wrong with a part that nobody asked for: nobody would know which one it is.
pub(super) fn unasked() -> Error {
    UpstreamError::sent(UpstreamErrorKind::BadResponse).into()
}

/// Whether a request asks for the whole and nothing else.
pub(super) fn is_for_the_whole(request: &Request) -> bool {
    request.method == Method::GET && !request.headers.contains_key(RANGE)
}

/// An answer that is passed on: none that is a part to a client that asked for the whole.
pub(super) fn checked(whole: bool, result: Result<Response, Error>) -> Result<Response, Error> {
    match result {
        Ok(response) if whole && response.status == StatusCode::PARTIAL_CONTENT => Err(unasked()),
        result => result,
    }
}
