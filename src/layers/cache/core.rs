//! What the requests and the tasks of one route's cache share.

use std::sync::Arc;

use http::StatusCode;
use http::header::{CACHE_CONTROL, COOKIE, EXPIRES, HeaderMap, PRAGMA};

use crate::clock::Wall;
use crate::http::{Request, Response, Scheme, Target, fields};
use crate::layers::budget::Budget;

use super::collapse::Evidence;
use super::config::{AuthorizationUse, CookieUse};
use super::directives::{RequestDirectives, ResponseDirectives};
use super::entry::Entry;
use super::freshness::{self, Freshness, Lifetime, Timing};
use super::meter::Meter;
use super::plan::CachePlan;
use super::post;
use super::purge::{Marks, Mode, Purges, Site};
use super::refresh::Permits;
use super::serve;
use super::status::Outcome;
use super::storable::{self, Exchange, NotStored};
use super::store::Store;
use super::vary::Variant;

/// What the requests and the tasks of one route's cache share.
#[derive(Debug)]
pub struct Core {
    /// The route's policy.
    pub plan: Arc<CachePlan>,
    /// What keeps the route's keys apart from other routes'.
    pub namespace: u64,
    /// The process's store.
    pub store: Arc<Store>,
    /// What was purged of it.
    pub purges: Arc<Purges>,
    /// The route's metrics.
    pub meter: Meter,
    /// What the route's answers for unknown keys were like.
    pub evidence: Evidence,
    /// How much the route may refresh at once.
    pub permits: Permits,
    /// How much of it may fail.
    pub budget: Budget,
}

/// What a response's head says about storing it.
#[derive(Debug)]
pub struct Verdict {
    /// How long it is good for.
    pub lifetime: Lifetime,
    /// Which requests it answers.
    pub variant: Variant,
}

impl Core {
    /// Whether the response to `request` may be stored; for a confirmed entry, `headers` are the merged ones.
    pub fn judge(
        &self,
        request: &Request,
        asked: &RequestDirectives,
        status: StatusCode,
        headers: &HeaderMap,
        directives: &ResponseDirectives,
        timing: Timing,
    ) -> Result<Verdict, NotStored> {
        let exchange = Exchange {
            method: &request.method,
            target: &request.target,
            request: asked,
            request_headers: &request.headers,
            status,
            headers,
            directives,
            timing,
            query: post::is_query(request),
        };
        let lifetime = storable::decide(&exchange, &self.plan)?;
        let variant = self.variant(headers, &request.headers).ok_or(NotStored::VaryStar)?;
        Ok(Verdict { lifetime, variant })
    }

    /// Whether the answer to a request with these fields is likely for it alone, so that it is not to be
    /// waited for by others.
    pub fn is_restricted(&self, request: &HeaderMap) -> bool {
        let plan = &self.plan;
        plan.authorization != AuthorizationUse::Shared && plan.came_authorized(request)
            || plan.cookie == CookieUse::Explicit && plan.ttl.is_own() && request.contains_key(COOKIE)
    }

    /// Puts the operator's `cache_control` in the place of what the origin says.
    pub fn arrived(&self, response: &mut Response) {
        let Some(value) = &self.plan.cache_control else { return };
        if freshness::takes_default(response.status) || matches!(response.status.as_u16(), 206 | 304) {
            for name in [&EXPIRES, &PRAGMA, &fields::CDN_CACHE_CONTROL, &fields::FOREBAY_CDN_CACHE_CONTROL] {
                response.headers.remove(name);
            }
            response.headers.insert(CACHE_CONTROL, value.clone());
        }
    }

    /// The variant of a response with these fields that a request asks for.
    pub fn variant(&self, response: &HeaderMap, request: &HeaderMap) -> Option<Variant> {
        Variant::of(response, request, self.plan.match_language)
    }

    /// The answer of an entry, counted and noted.
    pub fn answer(&self, request: &Request, entry: &Entry, outcome: &Outcome, now: Wall) -> Response {
        let mut response = serve::entry(request, entry, now);
        self.meter.mark(&request.trail, outcome, &mut response);
        response
    }

    /// Where a request for `target` looks for entries.
    pub fn site<'a>(&self, target: &'a Target) -> Site<'a> {
        Site { namespace: self.namespace, by_host: self.plan.key.host, target }
    }

    /// The hash of a URL: of what of the key it decides alone, whatever fields and cookies count beside it.
    /// Where responses say what of a query matters, of its path alone.
    pub fn url_hash(&self, target: &Target) -> u64 {
        let mut key = Vec::new();
        let target = Target { scheme: Scheme::Http, ..target.clone() };
        if self.plan.no_vary_search {
            self.plan.key.write_resource(&mut key, self.namespace, &target);
        } else {
            self.plan.key.write(&mut key, self.namespace, &target, &HeaderMap::new());
        }
        self.purges.url_hash(&key)
    }

    /// The marks of a response to a request for `target` that was sent in the generation `since`.
    pub fn marks(&self, target: &Target, headers: &HeaderMap, since: u64) -> Marks {
        Marks::new(since, self.url_hash(target), self.plan.tags.of(headers, &self.purges))
    }

    /// The marks of an entry that an `update` made these `merged` fields of.
    pub fn updated_marks(&self, entry: &Entry, update: &HeaderMap, merged: &HeaderMap, since: u64) -> Marks {
        let known = entry.marks();
        let tags = self.plan.tags.updated(known.tags(), update, merged, &self.purges);
        Marks::new(since, known.url(), tags)
    }

    /// Whether an entry was purged, and how thoroughly. Most often nothing was since it was last asked for.
    #[inline]
    pub fn purged(&self, entry: &Entry, target: &Target) -> Option<Mode> {
        if entry.marks().since() == self.purges.generation() {
            return None;
        }
        self.judge_marks(entry.marks(), target)
    }

    /// What an entry may be used for now; `None` where it was purged for good.
    #[inline]
    pub fn freshness(
        &self,
        entry: &Entry,
        target: &Target,
        asked: &RequestDirectives,
        now: Wall,
    ) -> Option<Freshness> {
        match self.purged(entry, target) {
            None => Some(entry.lifetime().judge(asked, now)),
            Some(Mode::Soft) => Some(entry.lifetime().judge_purged(asked, now)),
            Some(Mode::Hard) => None,
        }
    }

    /// The same for anything with marks.
    #[cold]
    pub fn judge_marks(&self, marks: &Marks, target: &Target) -> Option<Mode> {
        self.purges.judge(marks, &self.site(target))
    }
}
