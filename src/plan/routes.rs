//! Plans of routes: what a request meets, and who answers it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ServerPlan;
use crate::config::Config;
use crate::config::route::RouteConfig;
use crate::layers::admission::ClaimPlan;
use crate::layers::aggregate::{self, PartPlan};
use crate::layers::auth::plan::{AuthPlan, Consumers};
use crate::layers::cache::plan::CachePlan;
use crate::layers::cache::purge::PurgePlan;
use crate::layers::compress::CompressPlan;
use crate::layers::cors::CorsPlan;
use crate::layers::deadline::DeadlinePlan;
use crate::layers::fallback::{FallbackPlan, ToPlan};
use crate::layers::fixed::{FixedPlan, plan_redirect, plan_respond};
use crate::layers::hedge::HedgePlan;
use crate::layers::idempotency::IdempotencyPlan;
use crate::layers::rate_limit::plan::{KeyPlan, LimitPlan, Told};
use crate::layers::retry::plan::RetryPlan;
use crate::layers::transform::config::RewriteConfig;
use crate::layers::transform::plan::TransformPlan;
use crate::layers::{
    admission, auth, cache, compress, cors, deadline, fallback, hedge, idempotency, rate_limit, retry,
    transform,
};
use crate::report::{Path, Report, nearest};
use crate::route;
use crate::route::lint::Candidate;
use crate::route::plan::MatchPlan;

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Its name.
    pub name: String,
    /// Which requests it takes.
    pub matching: MatchPlan,
    /// Higher ones are tried first.
    pub priority: i32,
    /// The largest request body, in bytes.
    pub max_body: u64,
    /// What happens to requests and responses on the way.
    pub transform: TransformPlan,
    /// For the whole request.
    pub deadline: DeadlinePlan,
    /// Which pages of other origins may.
    pub cors: Option<Arc<CorsPlan>>,
    /// Who may use it.
    pub auth: AuthPlan,
    /// Rate limits.
    pub limits: Vec<LimitPlan>,
    /// Compression, unless it is off.
    pub compress: Option<CompressPlan>,
    /// How its requests stand in the upstream's queue.
    pub claim: ClaimPlan,
    /// Whose they are there.
    pub tenant: Option<KeyPlan>,
    /// Who answers.
    pub answer: AnswerPlan,
}

impl RoutePlan {
    /// The name of the upstream that answers, unless the route answers itself.
    pub fn upstream(&self) -> Option<&str> {
        match &self.answer {
            AnswerPlan::Upstream { name, .. } => Some(name),
            AnswerPlan::Aggregate(_) | AnswerPlan::Fixed(_) => None,
        }
    }

    /// Whether metrics under this name are the route's, or those of one of its parts.
    pub fn is_named(&self, name: &str) -> bool {
        let part = || name.strip_prefix(&self.name)?.strip_prefix('/');
        self.name == name
            || match &self.answer {
                AnswerPlan::Aggregate(parts) => {
                    part().is_some_and(|name| parts.iter().any(|(part, _)| *part.name == *name))
                }
                AnswerPlan::Upstream { .. } | AnswerPlan::Fixed(_) => false,
            }
    }

    /// A part of an aggregate as a route of its own, inside this one: `ROUTE/PART`.
    #[must_use]
    pub fn of_part(&self, part: &PartPlan, answer: &AnswerPlan) -> Self {
        let name = format!("{}/{}", self.name, part.name);
        Self { name, answer: answer.clone(), compress: None, ..self.clone() }
    }
}

/// Who answers a route's requests.
#[derive(Clone, Debug, PartialEq)]
pub enum AnswerPlan {
    /// An upstream, by name, through cache and retries.
    Upstream {
        /// The upstream's name.
        name: String,
        /// Caching, unless it is off.
        cache: Option<Arc<CachePlan>>,
        /// Retries.
        retry: RetryPlan,
        /// Hedging, unless it is off.
        hedge: Option<HedgePlan>,
        /// Who answers where the upstream fails, in order.
        fallbacks: Vec<FallbackPlan>,
        /// Requests that take effect once, unless that is off.
        idempotency: Option<Box<IdempotencyPlan>>,
    },
    /// Several upstreams, each with a part of the answer.
    Aggregate(Vec<(PartPlan, Self)>),
    /// We do, with a redirect or a fixed response.
    Fixed(FixedPlan),
}

impl AnswerPlan {
    /// The upstreams that may be asked, by name.
    pub fn upstreams(&self) -> Vec<&str> {
        match self {
            Self::Upstream { name, fallbacks, .. } => {
                let others = fallbacks.iter().filter_map(|fallback| match &fallback.to {
                    ToPlan::Upstream(name) => Some(name.as_str()),
                    ToPlan::Respond(_) => None,
                });
                std::iter::once(name.as_str()).chain(others).collect()
            }
            Self::Aggregate(parts) => parts.iter().flat_map(|(_, answer)| answer.upstreams()).collect(),
            Self::Fixed(_) => Vec::new(),
        }
    }

    /// Whether it needs what the route's path captured under this name.
    fn uses(&self, name: &str) -> bool {
        match self {
            Self::Upstream { .. } => false,
            Self::Aggregate(parts) => parts.iter().any(|(part, _)| part.uses(name)),
            Self::Fixed(fixed) => fixed.uses(name),
        }
    }
}

pub(super) fn routes(config: &Config, server: &ServerPlan, at: &Path, report: &mut Report) -> Vec<RoutePlan> {
    if config.route.is_empty() {
        report.warn(at, "there is no route, so every request gets 404", "add [[route]]");
    }
    let consumers = auth::plan_consumers(&config.consumer, &Path::root().key("consumer"), report);
    let mut names = BTreeSet::new();
    let mut plans = Vec::new();
    for (index, route) in config.route.iter().enumerate() {
        let at = at.index(index);
        if route.name.is_empty() {
            report.error(&at.key("name"), "the route's name is empty");
        } else if !names.insert(route.name.as_str()) {
            report.error_with_hint(
                &at.key("name"),
                format!("two routes are named `{}`", route.name),
                "log and metrics tell routes apart by name",
            );
        }
        plans.push(one_route(route, config, server, &consumers, &at, report));
    }
    let mut candidates = Vec::new();
    for (index, plan) in plans.iter().enumerate() {
        let RoutePlan { name, matching, priority, .. } = plan;
        candidates.push(Candidate { plan: matching, priority: *priority, name, at: at.index(index) });
    }
    route::lint::unreachable(&candidates, report);
    plans
}

fn one_route(
    route: &RouteConfig,
    config: &Config,
    server: &ServerPlan,
    consumers: &Consumers,
    at: &Path,
    report: &mut Report,
) -> RoutePlan {
    let mut matching = route::plan::plan(&route.match_, &at.key("match"), report);
    let names: Vec<Arc<str>> = matching.path.names().cloned().collect();
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    let (rewrite, requests, responses) = (&route.rewrite, &route.request_headers, &route.response_headers);
    let transform = transform::plan::plan(rewrite, requests, responses, &names, at, report);
    let auth = auth(route, config, consumers, &transform, at, report);
    let told = Told { consumer: auth.consumer_field(), claims: auth.told_claims() };
    let limits = rate_limit::plan::plan(&route.rate_limit, told, &at.key("rate_limit"), report);
    // A tenant is told by what a rate limit would count.
    let queueing = at.key("admission");
    let tenant = route.admission.tenant.as_ref();
    let tenant = tenant.map(|key| rate_limit::plan::plan_key(key, told, &queueing.key("tenant"), report));
    let answer = answer(route, config, &names, &auth, at, report);
    matching.capture_only(|name| answer.uses(name) || transform.uses(name));
    RoutePlan {
        name: route.name.clone(),
        matching,
        priority: route.priority,
        max_body: route.max_body.map_or(server.max_body, |size| size.bytes()),
        transform,
        deadline: deadline::plan(route.timeout, route.deadline.as_ref(), at, report),
        claim: admission::claim::plan(&route.admission, &queueing, report),
        tenant,
        limits,
        cors: route.cors.as_ref().map(|cors| Arc::new(cors::plan(cors, &at.key("cors"), report))),
        auth,
        compress: (route.compress.as_ref()).map(|config| compress::plan(config, &at.key("compress"), report)),
        answer,
    }
}

/// Who may use a route, and what clients of any route may not pretend.
fn auth(
    route: &RouteConfig,
    config: &Config,
    consumers: &Consumers,
    transform: &TransformPlan,
    at: &Path,
    report: &mut Report,
) -> AuthPlan {
    let known = config.consumer.keys().map(String::as_str).collect();
    let auth = route.auth.as_ref().map(|auth| auth::plan(auth, consumers, &known, &at.key("auth"), report));
    let mut auth = auth.unwrap_or_default();
    let keys = auth.fetched_keys().filter(|keys| !keys.implied).map(|keys| keys.upstream.as_str());
    for (key, name) in [("jwt", keys), ("forward", auth.forward_upstream())] {
        if let Some(name) = name {
            known_upstream(name, config, &at.key("auth").key(key).key("upstream"), report);
        }
    }
    auth.strip = auth::own_fields(config.route.iter().filter_map(|route| route.auth.as_ref()));
    if auth.methods.is_none() {
        // What the operator says here takes the place of what a client says.
        auth.strip.retain(|name| !transform.request.set.iter().any(|(set, _)| set == name));
    }
    auth
}

fn answer(
    route: &RouteConfig,
    config: &Config,
    names: &[&str],
    auth: &AuthPlan,
    at: &Path,
    report: &mut Report,
) -> AnswerPlan {
    let mut cache = cache::plan::plan(&route.cache, &at.key("cache"), report);
    if route.cache.purge.is_none() {
        // What is wrong with it is reported once, for all routes.
        cache.purge = PurgePlan::plan(&config.cache.purge, &Path::root(), &mut Report::new());
    }
    if let Some(methods) = &auth.methods {
        cache.serve_consumers(&auth.told_fields(), methods.public_cache, auth.takes_authorization());
    }
    let retry = retry::plan::plan(&route.retry, &at.key("retry"), report);
    let hedge = route.hedge.as_ref().map(|config| hedge::plan(config, &at.key("hedge"), report));
    let redirect =
        route.redirect.as_ref().map(|config| plan_redirect(config, names, &at.key("redirect"), report));
    let respond = route.respond.as_ref().map(|config| plan_respond(config, &at.key("respond"), report));
    let parts = !route.aggregate.is_empty();
    let ways = [route.upstream.is_some(), redirect.is_some(), respond.is_some(), parts];
    if ways.into_iter().filter(|way| *way).count() > 1 {
        let hint = "a route has one of `upstream`, `aggregate`, `redirect` and `respond`";
        report.error_with_hint(at, format!("route `{}` has several ways to answer", route.name), hint);
    }
    if route.idempotency.is_some() && route.upstream.is_none() {
        let hint = "it is for routes to an `upstream`";
        report.error_with_hint(&at.key("idempotency"), "nothing here takes effect once", hint);
    }
    match (&route.upstream, redirect.or(respond)) {
        (None, None) if parts => {
            let cache = route.cache.enabled.then(|| Arc::new(cache));
            let fallbacks = Vec::new();
            let (name, idempotency) = (String::new(), None);
            let onward = AnswerPlan::Upstream { name, cache, retry, hedge, fallbacks, idempotency };
            AnswerPlan::Aggregate(parts_of(route, config, &onward, names, at, report))
        }
        (None, Some(fixed)) => {
            if !route.fallback.is_empty() {
                let hint = "fallbacks are for routes to an upstream";
                report.error_with_hint(
                    &at.key("fallback"),
                    "this route answers by itself and never fails",
                    hint,
                );
            }
            AnswerPlan::Fixed(fixed)
        }
        (Some(name), _) => {
            known_upstream(name, config, &at.key("upstream"), report);
            let cache = route.cache.enabled.then(|| Arc::new(cache));
            let fallbacks = fallbacks(route, name, config, &at.key("fallback"), report);
            let once =
                |config| idempotency::plan(config, auth.consumer_field(), &at.key("idempotency"), report);
            let idempotency = route.idempotency.as_ref().map(once).map(Box::new);
            AnswerPlan::Upstream { name: name.clone(), cache, retry, hedge, fallbacks, idempotency }
        }
        (None, None) => {
            let hint = "give it one of `upstream`, `aggregate`, `redirect` and `respond`";
            report.error_with_hint(at, format!("nothing answers route `{}`", route.name), hint);
            let (name, fallbacks) = (String::new(), Vec::new());
            AnswerPlan::Upstream { name, cache: None, retry, hedge, fallbacks, idempotency: None }
        }
    }
}

/// The parts of an aggregate, each with how it is asked for: as `onward` says, at its own upstream.
fn parts_of(
    route: &RouteConfig,
    config: &Config,
    onward: &AnswerPlan,
    names: &[&str],
    at: &Path,
    report: &mut Report,
) -> Vec<(PartPlan, AnswerPlan)> {
    if route.rewrite != RewriteConfig::default() {
        report.error(&at.key("rewrite"), "the parts of an aggregate have paths of their own");
    }
    if !route.fallback.is_empty() {
        let hint = "make a part `optional` and give it a `default`";
        report.error_with_hint(&at.key("fallback"), "an aggregate has no fallback", hint);
    }
    let at = at.key("aggregate");
    for (index, part) in route.aggregate.iter().enumerate() {
        known_upstream(&part.upstream, config, &at.index(index).key("upstream"), report);
    }
    let parts = aggregate::plan(&route.aggregate, names, &at, report);
    let asked = |part: PartPlan| {
        let mut answer = onward.clone();
        if let AnswerPlan::Upstream { name, .. } = &mut answer {
            name.clone_from(&part.upstream);
        }
        (part, answer)
    };
    parts.into_iter().map(asked).collect()
}

fn fallbacks(
    route: &RouteConfig,
    upstream: &str,
    config: &Config,
    at: &Path,
    report: &mut Report,
) -> Vec<FallbackPlan> {
    for (index, fallback) in route.fallback.iter().enumerate() {
        let at = at.index(index);
        if let Some(name) = &fallback.upstream {
            known_upstream(name, config, &at.key("upstream"), report);
            if name == upstream {
                let hint = "to ask it again, use `retry`";
                report.error_with_hint(&at.key("upstream"), "the route's own upstream is no fallback", hint);
            }
        }
        if fallback.after.is_some_and(|after| after.get() >= route.timeout.get()) {
            let message = "the route's `timeout` ends the request before this fallback's turn";
            report.error_with_hint(&at.key("after"), message, "less than `timeout`");
        }
    }
    fallback::plan(&route.fallback, at, report)
}

fn known_upstream(name: &str, config: &Config, at: &Path, report: &mut Report) {
    if config.upstream.contains_key(name) {
        return;
    }
    let message = format!("there is no upstream `{name}`");
    match nearest(name, config.upstream.keys().map(String::as_str)) {
        Some(meant) => report.error_with_hint(at, message, format!("did you mean `{meant}`?")),
        None => report.error_with_hint(at, message, format!("add [upstream.{name}]")),
    }
}
