//! The answers of a fetch: a response on its way, a confirmed entry, a stale one that stands in.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::clock::{self, Wall};
use crate::error::{Error, InternalError, Refusal};
use crate::http::{Request, Response, Target, Trail};

use super::collapse::Collapse;
use super::core::{Core, Verdict};
use super::directives::ResponseDirectives;
use super::entry::Entry;
use super::fetch::Fetch;
use super::fill;
use super::flight::{Flight, Interest, Landing, Lead};
use super::freshness::Timing;
use super::purge::Marks;
use super::serve;
use super::status::{Forwarded, HitKind, Outcome};
use super::storable;
use super::validate::{self, HeadEffect};

impl Core {
    /// The answer of a response that is on its way.
    pub(super) fn shared(
        &self,
        request: &Request,
        fetch: &Fetch,
        lead: &Lead,
        interest: Interest,
        collapsed: bool,
    ) -> Option<Response> {
        let now = now_for(request);
        let mut response = serve::lead(request, lead, interest, now)?;
        let never_shared =
            Some(fetch.collapse().as_str()).filter(|_| fetch.collapse() == Collapse::NeverShared);
        let forwarded = Forwarded {
            status: Some(lead.status),
            ttl: lead.stored.then(|| lead.lifetime.ttl(now)),
            stored: lead.stored,
            collapsed,
            detail: lead.detail.or(never_shared),
            ..Forwarded::new(fetch.forward())
        };
        self.meter.mark(&request.trail, &Outcome::Forwarded(forwarded), &mut response);
        Some(response)
    }

    /// The answer of an entry that the origin confirmed.
    pub(super) fn confirmed(
        &self,
        request: &Request,
        fetch: &Fetch,
        entry: &Entry,
        collapsed: bool,
    ) -> Response {
        let now = now_for(request);
        let forwarded = Forwarded {
            status: Some(StatusCode::NOT_MODIFIED),
            ttl: Some(entry.lifetime().ttl(now)),
            stored: true,
            collapsed,
            ..Forwarded::new(fetch.forward())
        };
        self.answer(request, entry, &Outcome::Forwarded(forwarded), now)
    }

    /// The answer of a stale entry in place of one that did not come.
    pub(super) fn stand_in(
        &self,
        request: &Request,
        entry: Option<&Arc<Entry>>,
        kind: HitKind,
    ) -> Result<Response, Error> {
        let entry = entry.ok_or(InternalError::Bug("no entry to stand in"))?;
        Ok(self.hit(request, entry, kind, now_for(request)))
    }

    /// Whether a flight took off before a purge of what `target` asks for: whoever comes now must not follow
    /// it. Its tags are not known yet.
    pub(super) fn took_off_too_early(&self, flight: &Flight, target: &Target) -> bool {
        flight.since() != self.purges.begin()
            && self
                .judge_marks(&Marks::new(flight.since(), self.url_hash(target), Box::default()), target)
                .is_some()
    }

    /// Whether what a flight brought was purged meanwhile.
    pub(super) fn is_outdated(&self, landing: &Landing, target: &Target) -> bool {
        match landing {
            Landing::Shared(lead) => self.judge_marks(&lead.marks, target).is_some(),
            Landing::Confirmed(entry) => self.purged(entry, target).is_some(),
            Landing::Apart(_) | Landing::Failed(_) => false,
        }
    }

    /// Whether a stale entry may stand in for this error.
    pub(super) fn has_stand_in(&self, fetch: &Fetch, error: &Error) -> bool {
        stand_in_for(fetch, error).is_some()
    }

    /// A stale entry where it may stand in for this error, else the error.
    pub(super) fn fall_back(
        &self,
        request: &Request,
        fetch: &Fetch,
        error: Error,
    ) -> Result<Response, Error> {
        match stand_in_for(fetch, &error) {
            Some((entry, kind)) => self.stand_in(request, Some(entry), kind),
            None => self.forwarded(&request.trail, Forwarded::new(fetch.forward()), Err(error)),
        }
    }

    /// What the response of a HEAD does to a stale entry (RFC 9111 §4.3.5).
    pub(super) async fn head_came(
        &self,
        request: &Request,
        fetch: &Fetch,
        entry: &Arc<Entry>,
        (status, update): (StatusCode, &HeaderMap),
        timing: Timing,
    ) {
        let stored = entry.all_headers();
        match validate::head_effect(&stored, entry.length(), status, update) {
            HeadEffect::None => {}
            HeadEffect::Invalidate => self.store.remove_entry(fetch.key(), entry.id()).await,
            HeadEffect::Update => {
                let mut headers = validate::merge(&stored, update, timing.received);
                let directives = ResponseDirectives::of(&headers);
                let get = fill::plain_copy(request, Trail::off());
                let judged = self.judge(&get, fetch.asked(), entry.status(), &headers, &directives, timing);
                let Ok(Verdict { lifetime, variant }) = judged else {
                    return self.store.remove_entry(fetch.key(), entry.id()).await;
                };
                storable::prepare(&mut headers, &directives, timing.received);
                // The request was sent at an unknown generation, but after the entry's.
                let marks = self.updated_marks(entry, update, &headers, entry.marks().since());
                self.plan.tags.strip(&mut headers);
                let body = entry.stored_body();
                if *self.place(fetch.key(), request, &headers) != *fetch.key() {
                    return self.store.remove_entry(fetch.key(), entry.id()).await;
                }
                let fresh =
                    Entry::new(entry.status(), &headers, lifetime, variant, marks, body).worth(entry.cost());
                self.store.replace(fetch.key(), entry.id(), Arc::new(fresh)).await;
            }
        }
    }
}

/// What may stand in for this error, if anything.
fn stand_in_for<'a>(fetch: &'a Fetch, error: &Error) -> Option<(&'a Arc<Entry>, HitKind)> {
    match error {
        Error::Upstream(_) => Some((fetch.stale_on_error()?, HitKind::StaleIfError)),
        Error::Refused(
            Refusal::QueueFull { .. }
            | Refusal::QueueTimeout { .. }
            | Refusal::DeadlineTooNear { .. }
            | Refusal::QuotaSpent { .. },
        ) => Some((fetch.stale_on_overload()?, HitKind::StaleOnOverload)),
        Error::Client(_) | Error::Refused(_) | Error::Part(_) | Error::Internal(_) => None,
    }
}

/// Now, and never before the request came, whatever the wall clock does.
pub(super) fn now_for(request: &Request) -> Wall {
    clock::now().wall.max(request.received.wall)
}
