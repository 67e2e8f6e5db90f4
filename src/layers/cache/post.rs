//! POST: the answer that a later GET may have, and the query that is asked in a body (RFC 9110 §9.3.3).
//!
//! Without a word in the config, an answer to POST that says of itself what a GET of the same target would
//! get (an explicit lifetime, and a `Content-Location` that is the target) is stored for GET and HEAD.
//!
//! With `key.body` and `"POST"` among the methods, every POST of a route is taken for a query, as GraphQL and
//! search APIs ask them: it is answered from the store by a digest of its content. What may surprise:
//!
//! - Such a route's POSTs change nothing, by the operator's word: they make nothing invalid, equal ones that
//!   come together are sent once, and an operator's `ttl` holds for their answers. What does change things
//!   belongs to another route.
//! - The key holds the content's SHA-256 with `Content-Type` and `Content-Encoding`, behind all that the key
//!   of a GET holds: what answers a POST never answers a GET, nor the reverse.
//! - Content of unknown length (chunked) or longer than `key.body`, and requests with conditions, pass.
//! - There are no conditional POSTs: what is stale is fetched again, in full.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, HeaderMap, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
};
use http::{Method, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::oneshot;

use crate::clock::{self, Now};
use crate::error::{Error, InternalError};
use crate::http::{Request, RequestBody, Response};
use crate::layers::Inner;
use crate::memory::Use;
use crate::report::{Path, Report};

use super::config::CacheConfig;
use super::core::Core;
use super::directives::{RequestDirectives, ResponseDirectives};
use super::fetch::Fetch;
use super::fill::{self, Led, Order};
use super::flight::{Apart, Join, flight_key};
use super::freshness::Timing;
use super::key;
use super::layer::Cache;
use super::others::Others;
use super::plan::CachePlan;
use super::status::{Forward, Forwarded};
use super::storable::Bypass;

/// The longest content of a query: it is kept in memory while its answer is fetched.
const QUERY_MAX: u64 = 1024 * 1024;

/// Validates whether and how a route's POSTs are queries; none where they are not. `post` says whether
/// `methods` names them.
pub fn plan(config: &CacheConfig, post: bool, at: &Path, report: &mut Report) -> Option<u64> {
    let body_at = at.key("key").key("body");
    match (config.key.body, post) {
        (None, false) => None,
        (None, true) => {
            report.error_with_hint(
                &at.key("methods"),
                "two POSTs are the same if their content is, and the content is not part of the key",
                "add `key = { body = \"64KiB\" }`",
            );
            None
        }
        (Some(_), false) => {
            report.error_with_hint(
                &body_at,
                "this says how POSTs are told apart, and none is answered from the store",
                "add \"POST\" to `methods`",
            );
            None
        }
        (Some(size), true) => {
            if size.bytes() == 0 || size.bytes() > QUERY_MAX {
                report.error(&body_at, format!("{size} of content: at least 1B and at most 1MiB"));
            }
            Some(size.bytes().min(QUERY_MAX))
        }
    }
}

/// Whether a request is a query whose content is in memory and part of its key.
pub fn is_query(request: &Request) -> bool {
    request.method == Method::POST && matches!(request.body, RequestBody::Full(_))
}

/// How many bytes of content a query has, or why the store does not answer it.
fn query_length(request: &Request, plan: &CachePlan, limit: u64) -> Result<u64, Bypass> {
    if request.upgrade.is_some() {
        return Err(Bypass::Upgrade);
    }
    let conditions = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    if conditions.iter().any(|name| request.headers.contains_key(name)) {
        return Err(Bypass::Precondition);
    }
    if let Some(rule) = plan.bypass.as_ref().and_then(|rules| rules.check(request)) {
        return Err(rule);
    }
    request.body.size_hint().exact().filter(|length| *length <= limit).ok_or(Bypass::Content)
}

/// Adds to a GET's key what makes it that of a query. No key of a GET begins with another one of its
/// namespace, so none is equal to what comes of it here.
fn extend_key(key: &mut Vec<u8>, headers: &HeaderMap, content: &[u8]) {
    key.extend_from_slice(b"\0POST");
    for name in [CONTENT_TYPE, CONTENT_ENCODING] {
        key::lines(key, headers, &name);
    }
    key.extend_from_slice(digest::digest(&digest::SHA256, content).as_ref());
}

/// Whether an answer claims to be that of a GET: the rest is for [`storable`](super::storable) to say.
fn may_serve_a_get(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::OK && headers.contains_key(CONTENT_LOCATION)
}

impl<S: Inner> Cache<S> {
    /// A POST on a route where they are queries of at most `limit` bytes.
    pub(super) async fn query(
        &self,
        core: &Arc<Core>,
        mut request: Request,
        limit: u64,
    ) -> Result<Response, Error> {
        let mut room = core.store.memory().hold(Use::Replay);
        let fits = query_length(&request, &core.plan, limit)
            .and_then(|length| room.try_grow(length).then_some(()).ok_or(Bypass::Content));
        if let Err(bypass) = fits {
            let forwarded = Forwarded { detail: Some(bypass.as_str()), ..Forwarded::new(Forward::Bypass) };
            return self.alone(core, request, forwarded).await;
        }
        let content: Bytes = match std::mem::take(&mut request.body).collect().await {
            Ok(content) => content.to_bytes(),
            Err(error) => {
                return core.forwarded(&request.trail, Forwarded::new(Forward::Bypass), Err(error));
            }
        };
        if let Some(normalize) = &core.plan.normalize {
            normalize.apply(&mut request.headers);
        }
        let mut key = Vec::new();
        core.plan.key.write(&mut key, core.namespace, &request.target, &request.headers);
        extend_key(&mut key, &request.headers, &content);
        request.body = RequestBody::Full(content);
        let asked = RequestDirectives::of(&request.headers, core.plan.honor_client);
        self.look_again(core, request, key.into(), asked).await
    }

    /// An answer to a POST whose target was already invalidated: stored where it is a GET's. `own` is its
    /// request without content.
    pub(super) async fn adopt(
        &self,
        core: &Arc<Core>,
        own: Request,
        response: Response,
        forwarded: Forwarded,
        sent: Now,
    ) -> Result<Response, Error> {
        let asked = RequestDirectives::of(&own.headers, core.plan.honor_client);
        if !core.plan.get || !may_serve_a_get(response.status, &response.headers) {
            return core.forwarded(&own.trail, forwarded, Ok(response));
        }
        let timing = Timing { requested: sent.wall, received: clock::now().wall };
        let directives = ResponseDirectives::of(&response.headers);
        let judged = core.judge(&own, &asked, response.status, &response.headers, &directives, timing);
        let mut key = Vec::new();
        core.plan.key.write(&mut key, core.namespace, &own.target, &own.headers);
        let listed_key = flight_key(&key, core.is_restricted(&own.headers));
        let join = judged.map(|_| core.store.flights().solo(&listed_key, sent.instant));
        let Ok(Join::Lead(interest)) = join else {
            return core.forwarded(&own.trail, forwarded, Ok(response));
        };
        let (sender, receiver) = oneshot::channel();
        let mut request = fill::plain_copy(&own, own.trail.clone());
        request.method = Method::POST;
        let fetch = Fetch::of_miss(&key, asked, Forward::Method, None);
        let order = Order {
            flight: Arc::clone(interest.flight()),
            flight_key: listed_key,
            key: key.into(),
            request,
            directives: asked,
            unknown: false,
            stale: None,
            ranged: None,
            others: Others::default(),
            stale_on_error: false,
            leader: Some(sender),
            permit: None,
        };
        fill::adopt(Arc::clone(core), order, response, sent);
        match receiver.await {
            Ok(Led::Shared { lead, withheld }) => {
                let answer = core.shared(&own, &fetch, &lead, interest, false);
                let mut response = answer.ok_or(InternalError::Bug("the only reader came too late"))?;
                for (name, value) in withheld {
                    response.headers.append(name, value);
                }
                Ok(response)
            }
            Ok(Led::Own(response, Apart { reason, .. })) => {
                let forwarded = Forwarded { detail: Some(reason), ..forwarded };
                core.forwarded(&own.trail, forwarded, Ok(response))
            }
            Ok(Led::Landed(_)) => Err(InternalError::Bug("an answer that is there cannot land").into()),
            Err(_) => Err(InternalError::Panicked.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{headers, target};
    use super::super::key::KeyRules;
    use super::*;

    fn key(fields: &[(&str, &str)], content: Option<&[u8]>) -> Vec<u8> {
        let (mut key, headers) = (Vec::new(), headers(fields));
        KeyRules::default().write(&mut key, 1, &target("http://a/graphql"), &headers);
        if let Some(content) = content {
            extend_key(&mut key, &headers, content);
        }
        key
    }

    #[test]
    fn keys_tell_queries_apart() {
        let json = &[("content-type", "application/json")];
        let gzip = &[("content-type", "application/json"), ("content-encoding", "gzip")];
        let keys = [
            key(json, None),
            key(json, Some(b"")),
            key(json, Some(b"{\"query\":\"{a}\"}")),
            key(json, Some(b"{\"query\":\"{b}\"}")),
            key(&[], Some(b"{\"query\":\"{a}\"}")),
            key(gzip, Some(b"{\"query\":\"{a}\"}")),
            key(&[("content-type", "text/plain")], Some(b"{\"query\":\"{a}\"}")),
        ];
        for (at, one) in keys.iter().enumerate() {
            for (other_at, other) in keys.iter().enumerate() {
                assert_eq!(one == other, at == other_at, "{at} {other_at}");
            }
        }
        assert_eq!(keys[2], key(json, Some(b"{\"query\":\"{a}\"}")));
    }
}
