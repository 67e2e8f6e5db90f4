//! Requests that may change things: what they make invalid (RFC 9111 §4.4, RFC 9875 §3).

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::clock;
use crate::error::Error;
use crate::http::{Request, RequestBody, Response, Target};
use crate::layers::Inner;

use super::core::Core;
use super::layer::Cache;
use super::purge::tags::{self, CACHE_GROUP_INVALIDATION};
use super::purge::{Mode, Purges};
use super::status::Forwarded;
use super::validate;

impl<S: Inner> Cache<S> {
    /// A request that may change things: what is stored of its target goes when it succeeds (RFC 9111 §4.4).
    pub(super) async fn unsafe_request(
        &self,
        core: &Arc<Core>,
        request: Request,
        forwarded: Forwarded,
    ) -> Result<Response, Error> {
        let mut own = request.again();
        own.body = RequestBody::Empty;
        let (sent, since) = (clock::now(), core.purges.begin());
        let result = self.inner.send(request).await;
        let Ok(response) = result else { return core.forwarded(&own.trail, forwarded, result) };
        // Before the request's own invalidation, which its answer outlives.
        let outdated = since != core.purges.begin()
            && core.judge_marks(&core.marks(&own.target, &response.headers, since), &own.target).is_some();
        core.invalidate_groups(&own.target, &response.headers);
        for target in validate::invalidated(&own.method, &own.target, response.status, &response.headers) {
            core.invalidate(&target, &own.headers).await;
        }
        if own.method == Method::POST && !outdated {
            return self.adopt(core, own, response, forwarded, sent).await;
        }
        core.forwarded(&own.trail, forwarded, Ok(response))
    }
}

impl Core {
    /// Gives up what is stored for `target` (RFC 9111 §4.4). `headers` are those of the request that changed
    /// it: what is stored for others like it goes at once; where fields or cookies count, or responses say
    /// what of a query matters, what is stored for everybody else is purged.
    async fn invalidate(&self, target: &Target, headers: &HeaderMap) {
        let mut key = Vec::new();
        self.plan.key.write(&mut key, self.namespace, target, headers);
        self.store.invalidate(&key).await;
        if self.plan.key.tells_clients_apart() || self.plan.no_vary_search {
            self.purges.purge(&[Purges::url(self.url_hash(target))], Mode::Hard);
        }
    }

    /// Gives up the groups that the answer to an unsafe request names (RFC 9875 §3).
    fn invalidate_groups(&self, target: &Target, response: &HeaderMap) {
        let groups = tags::strings(response, &CACHE_GROUP_INVALIDATION);
        let site = self.site(target);
        let names: Vec<_> =
            groups.iter().flat_map(|group| self.purges.group(&site, group.as_bytes())).collect();
        if !names.is_empty() {
            self.purges.purge(&names, Mode::Hard);
        }
    }
}
