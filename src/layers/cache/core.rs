//! What the requests and the tasks of one route's cache share.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::clock::Wall;
use crate::http::{Request, Response};

use super::collapse::Evidence;
use super::directives::{RequestDirectives, ResponseDirectives};
use super::entry::Entry;
use super::freshness::{Lifetime, Timing};
use super::meter::Meter;
use super::plan::CachePlan;
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
    /// The route's metrics.
    pub meter: Meter,
    /// What the route's answers for unknown keys were like.
    pub evidence: Evidence,
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
        };
        let lifetime = storable::decide(&exchange, &self.plan)?;
        let variant = self.variant(headers, &request.headers).ok_or(NotStored::VaryStar)?;
        Ok(Verdict { lifetime, variant })
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
}
