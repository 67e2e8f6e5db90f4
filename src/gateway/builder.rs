//! Building the stacks of a table's routes, keeping what can be kept.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{Origin, Shared, Table, TableError};
use crate::clock;
use crate::layers::Inner;
use crate::layers::access_log::AccessLog;
use crate::layers::admission::claim::TenantOf;
use crate::layers::admission::{Admission, Claims};
use crate::layers::aggregate::{Aggregate, PartPlan};
use crate::layers::auth::ask::Ask;
use crate::layers::auth::{Auth, Guard, Others};
use crate::layers::body_limit::BodyLimit;
use crate::layers::budget::Budget;
use crate::layers::cache::Cache;
use crate::layers::cache::purge::Control;
use crate::layers::compress::Compress;
use crate::layers::cors::Cors;
use crate::layers::deadline::{Deadline, Tell};
use crate::layers::fallback::{Fallback, FallbackPlan, Keep, Rule, To, ToPlan};
use crate::layers::fixed::Fixed;
use crate::layers::hedge::{Hedge, HedgePlan, Tally};
use crate::layers::idempotency::{Answers, Idempotency, IdempotencyPlan};
use crate::layers::quota::{Charge, Quota};
use crate::layers::rate_limit::config::Scope;
use crate::layers::rate_limit::key::Keyer;
use crate::layers::rate_limit::plan::KeyPlan;
use crate::layers::rate_limit::{Limiter, RateLimit};
use crate::layers::respond::Respond;
use crate::layers::retry::Retry;
use crate::layers::transform::{TransformRequest, TransformResponse};
use crate::plan::{AnswerPlan, RoutePlan};
use crate::stack::{Attempts, Policy, Stack, ToUpstream};
use crate::upstream::Balance;

/// Builds stacks, keeping what can be kept.
pub(super) struct Builder<'a> {
    pub(super) origins: &'a BTreeMap<String, Arc<Origin>>,
    pub(super) before: Option<&'a Table>,
    pub(super) shared: &'a Shared,
    pub(super) limiters: HashMap<(String, String), Arc<Limiter>>,
    pub(super) tallies: HashMap<(String, String), Arc<Tally>>,
    pub(super) guards: HashMap<String, Arc<Guard>>,
    /// Who tells tenants apart, by upstream and key.
    pub(super) tenants: Vec<(String, KeyPlan, TenantOf)>,
    pub(super) answers: HashMap<String, Arc<Answers>>,
}

impl Builder<'_> {
    pub(super) fn stack(&mut self, route: &RoutePlan) -> Result<(Stack, Vec<Control>), TableError> {
        let outer = self.limits(route, Scope::All);
        Ok(match &route.answer {
            AnswerPlan::Fixed(fixed) => {
                let inner = self.compress(route, Fixed::new(fixed.clone()));
                (Stack::Fixed(Box::new(self.policy(route, None, outer, inner))), Vec::new())
            }
            AnswerPlan::Upstream { name, .. } => {
                let (inner, cache) =
                    self.upstream_stack(route).ok_or_else(|| TableError::NoUpstream(route.name.clone()))?;
                let stack = Stack::Upstream(Box::new(self.policy(route, Some(name), outer, inner)));
                (stack, cache.into_iter().collect())
            }
            AnswerPlan::Aggregate(parts) => {
                let (inner, caches) =
                    self.aggregate(route, parts).ok_or_else(|| TableError::NoUpstream(route.name.clone()))?;
                let inner = self.compress(route, inner);
                (Stack::Aggregate(Box::new(self.policy(route, None, outer, inner))), caches)
            }
        })
    }

    /// Every part with a stack of its own, as if it were a route.
    fn aggregate(
        &mut self,
        route: &RoutePlan,
        parts: &[(PartPlan, AnswerPlan)],
    ) -> Option<(Aggregate<ToUpstream>, Vec<Control>)> {
        let (mut inner, mut caches) = (Vec::new(), Vec::new());
        for (part, answer) in parts {
            let (stack, cache) = self.upstream_stack(&route.of_part(part, answer))?;
            inner.push((part.clone(), stack));
            caches.extend(cache);
        }
        let Shared { memory, metrics, .. } = self.shared;
        Some((Aggregate::new(inner, memory, metrics, &route.name), caches))
    }

    fn policy<S: Inner>(
        &mut self,
        route: &RoutePlan,
        upstream: Option<&str>,
        limits: Vec<Arc<Limiter>>,
        inner: S,
    ) -> Policy<S> {
        let guard = self.guard(route);
        let metrics = &self.shared.metrics;
        let limited = RateLimit::new(limits, metrics, &route.name, inner);
        let guarded = Auth::new(guard, metrics, &route.name, limited);
        let bounded = BodyLimit::new(route.max_body, guarded);
        let timed = Deadline::new(&route.deadline, bounded);
        let rewritten = TransformRequest::new(&route.transform, timed);
        let told = Cors::new(route.cors.clone(), Respond::new(rewritten));
        let transformed = TransformResponse::new(&route.transform, told);
        AccessLog::new(&route.name, upstream, self.shared.log.clone(), metrics, transformed)
            .hiding(route.auth.secret_parameter())
    }

    fn compress<S>(&self, route: &RoutePlan, inner: S) -> Compress<S> {
        let Shared { kept, metrics, .. } = self.shared;
        Compress::new(route.compress.clone(), kept, metrics, &route.name, inner)
    }

    fn upstream_stack(&mut self, route: &RoutePlan) -> Option<(ToUpstream, Option<Control>)> {
        let AnswerPlan::Upstream { name, cache, hedge, fallbacks, idempotency, .. } = &route.answer else {
            return None;
        };
        let limits = self.limits(route, Scope::Origin);
        let tally = hedge.map(|plan| self.tally(route, name, plan));
        let attempts = self.attempts(route, name, tally)?;
        let metrics = &self.shared.metrics;
        let limited = RateLimit::new(limits, metrics, &route.name, attempts);
        let store = self.shared.store.clone();
        let budget = self.budget(route, name)?;
        let space = namespace(route, name);
        let cache = Cache::new(cache.clone(), space, store, budget, metrics, &route.name, limited);
        let control = cache.control();
        let fallen = self.fallback(route, fallbacks, cache)?;
        let answers = idempotency.as_ref().map(|plan| self.answers(route, plan));
        let (memory, metrics) = (self.shared.memory.clone(), &self.shared.metrics);
        let once = Idempotency::new(answers, memory, metrics, &route.name, fallen);
        Some((self.compress(route, once), control))
    }

    /// The answers that are kept for the route's idempotency keys.
    fn answers(&mut self, route: &RoutePlan, plan: &IdempotencyPlan) -> Arc<Answers> {
        let kept = self.before.and_then(|table| table.answers.get(&route.name));
        let kept = kept.filter(|kept| kept.plan() == plan).cloned();
        let answers = kept.unwrap_or_else(|| Arc::new(Answers::new(plan.clone())));
        self.answers.insert(route.name.clone(), answers.clone());
        answers
    }

    /// What sends the route's requests to one upstream.
    fn attempts(&mut self, route: &RoutePlan, upstream: &str, tally: Option<Arc<Tally>>) -> Option<Attempts> {
        let AnswerPlan::Upstream { retry, .. } = &route.answer else { return None };
        let claims = Claims::new(route.claim.clone(), self.tenant_of(route, upstream));
        let origin = self.origins.get(upstream)?;
        let budget = self.budget(route, upstream)?;
        let (metrics, memory) = (&self.shared.metrics, self.shared.memory.clone());
        let pace = &origin.pace;
        let charged = Charge::new(pace.clone(), Balance(origin.upstream.clone()));
        let told = Tell::new(&route.deadline, charged);
        let hedged = Hedge::new(tally, budget.clone(), metrics, &route.name, told);
        let retried = Retry::new(retry.clone(), budget, memory, metrics, &route.name, hedged)
            .with_elsewhere(origin.plan.endpoints.may_have_several());
        let admitted = Admission::new(origin.gate.clone(), claims, &route.name, retried);
        Some(Quota::new(pace.clone(), admitted))
    }

    /// What the route may ask an upstream more than its clients ask.
    fn budget(&self, route: &RoutePlan, upstream: &str) -> Option<Budget> {
        let AnswerPlan::Upstream { retry, .. } = &route.answer else { return None };
        Some(Budget::new(retry.budget, self.origins.get(upstream)?.ledger.clone()))
    }

    fn fallback<S>(
        &mut self,
        route: &RoutePlan,
        plans: &[FallbackPlan],
        inner: S,
    ) -> Option<Fallback<S, Attempts>> {
        let AnswerPlan::Upstream { retry, .. } = &route.answer else { return None };
        let mut rules = Vec::new();
        for FallbackPlan { on, after, to } in plans {
            let to = match to {
                ToPlan::Upstream(name) => To::Upstream(self.attempts(route, name, None)?),
                ToPlan::Respond(answer) => To::Respond(answer.clone()),
            };
            rules.push(Rule { on: on.clone(), after: *after, to });
        }
        let memory = self.shared.memory.clone();
        let keep = Keep { methods: retry.methods.clone(), max_body: retry.max_body, memory };
        Some(Fallback::new(rules, keep, &self.shared.metrics, &route.name, inner))
    }

    /// Who watches the route, where there is something to watch.
    fn guard(&mut self, route: &RoutePlan) -> Option<(Arc<Guard>, Others)> {
        if route.auth.is_nothing() {
            return None;
        }
        let old = self.before.and_then(|table| table.guards.get(&route.name));
        let kept = old.filter(|old| *old.plan() == route.auth).cloned();
        let is_new = kept.is_none();
        let fresh = || Arc::new(Guard::after(route.auth.clone(), old.map(AsRef::as_ref)));
        let guard = kept.unwrap_or_else(fresh);
        self.guards.insert(route.name.clone(), Arc::clone(&guard));
        let ask = |name: &str| -> Option<Arc<dyn Ask>> {
            let origin = self.origins.get(name)?;
            Some(Arc::new(Balance(origin.upstream.clone())))
        };
        let keys = route.auth.fetched_keys().and_then(|keys| ask(&keys.upstream));
        let decides = route.auth.forward_upstream().and_then(ask);
        let others = Others { keys, decides };
        if is_new {
            guard.warm(&others, clock::now().instant);
        }
        Some((guard, others))
    }

    /// Tells whose a request of the route is; the same tenant is the same for all routes of the upstream that
    /// have the same key.
    fn tenant_of(&mut self, route: &RoutePlan, upstream: &str) -> Option<TenantOf> {
        let plan = route.tenant.as_ref()?;
        let mut known = self.tenants.iter();
        if let Some((.., known)) = known.find(|(name, key, _)| name == upstream && key == plan) {
            return Some(known.clone());
        }
        let (keyer, hasher) = (Keyer::new(plan.clone()), ahash::RandomState::new());
        let tenant_of: TenantOf = Arc::new(move |request| hasher.hash_one(keyer.key(request)));
        self.tenants.push((upstream.to_owned(), plan.clone(), tenant_of.clone()));
        Some(tenant_of)
    }

    /// What is known of the route's requests to the upstream.
    fn tally(&mut self, route: &RoutePlan, upstream: &str, plan: HedgePlan) -> Arc<Tally> {
        let key = (route.name.clone(), upstream.to_owned());
        let kept = self.before.and_then(|table| table.tallies.get(&key)).filter(|kept| kept.plan() == plan);
        let tally = kept.cloned().unwrap_or_else(|| Arc::new(Tally::new(plan)));
        self.tallies.insert(key, tally.clone());
        tally
    }

    /// The route's limiters of one scope.
    fn limits(&mut self, route: &RoutePlan, scope: Scope) -> Vec<Arc<Limiter>> {
        let of_scope = route.limits.iter().filter(|limit| limit.scope == scope);
        let mut limiters = Vec::new();
        for limit in of_scope {
            let key = (route.name.clone(), limit.name.to_string());
            let kept =
                self.before.and_then(|table| table.limiters.get(&key)).filter(|kept| kept.plan() == limit);
            let limiter = kept.cloned().unwrap_or_else(|| Arc::new(Limiter::new(limit.clone())));
            self.limiters.insert(key, limiter.clone());
            limiters.push(limiter);
        }
        limiters
    }
}

/// What tells the entries of one route from those of another: all that decides which answer a target has.
fn namespace(route: &RoutePlan, upstream: &str) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    route.name.hash(&mut hasher);
    upstream.hash(&mut hasher);
    format!("{:?} {:?}", route.matching, route.transform).hash(&mut hasher);
    if let AnswerPlan::Upstream { cache: Some(cache), .. } = &route.answer {
        format!("{cache:?}").hash(&mut hasher);
    }
    hasher.finish()
}
