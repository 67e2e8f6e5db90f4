//! The tower glue: what can be decided at once is, without a boxed future; the rest goes to
//! [`fetch`](super::fetch).

use std::cell::RefCell;
use std::future::{Future, Ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Method;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::clock::Wall;
use crate::error::{Error, Refusal};
use crate::http::{Request, Response, Trail};
use crate::layers::budget::Budget;
use crate::layers::{Boxed, Either, Inner, always_ready, inner};
use crate::metrics::Metrics;

use super::collapse::Evidence;
use super::core::Core;
use super::directives::RequestDirectives;
use super::entry::Entry;
use super::fetch::Fetch;
use super::freshness::Freshness;
use super::meter::Meter;
use super::others::Others;
use super::plan::CachePlan;
use super::purge::Control;
use super::purge::method::is_purge;
use super::ranged;
use super::refresh::{self, Permits};
use super::stale::Stale;
use super::status::{Forward, Forwarded, Hit, HitKind, Outcome};
use super::storable::{self, Bypass};
use super::store::{Peek, Slot, Store};
use super::targeted;
use super::validate;

/// Answers from the store what it can, and fills the store with what the inner service answers.
#[derive(Debug)]
pub struct Cache<S> {
    pub(super) inner: Arc<S>,
    core: Option<Arc<Core>>,
}

impl<S> Cache<S> {
    /// A cache before `inner`. Without a plan, or with one that is not enabled, requests just pass.
    /// `namespace` keeps the keys of routes that must not share entries apart; `budget` is what refreshes in
    /// the background are paid from.
    pub fn new(
        plan: Option<Arc<CachePlan>>,
        namespace: u64,
        store: Arc<Store>,
        budget: Budget,
        metrics: &Metrics,
        route: &str,
        inner: S,
    ) -> Self {
        let core = plan.filter(|plan| plan.enabled).map(|plan| {
            let (meter, evidence) = (Meter::new(metrics, route), Evidence::default());
            let purges = Arc::clone(store.purges());
            let permits = Permits::default();
            Arc::new(Core { plan, namespace, store, purges, meter, evidence, permits, budget })
        });
        Self { inner: Arc::new(inner), core }
    }

    /// A handle for operators, if anything is cached here.
    pub fn control(&self) -> Option<Control> {
        self.core.clone().map(Control)
    }
}

#[cfg(test)]
impl<S> Cache<S> {
    pub(super) fn core(&self) -> Option<&Core> {
        self.core.as_deref()
    }
}

/// What is decided without waiting.
pub(super) enum Step {
    /// The answer.
    Done(Result<Response, Error>),
    /// A stale answer, and a fetch to replace what it was.
    Refresh(Response, Box<Fetch>),
    /// The inner service answers, and nobody waits for it but this request.
    Pass(Forwarded),
    /// The origin has to be asked.
    Fetch(Fetch),
    /// The store has to be asked again.
    Look(Box<[u8]>),
}

thread_local! {
    /// Where the key of the request at hand is written.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Core {
    /// Looks a request up and decides.
    pub(super) fn look(&self, request: &Request, asked: RequestDirectives) -> Step {
        KEY.with_borrow_mut(|key| {
            if self.plan.no_vary_search {
                return self.look_by_search(key, request, asked);
            }
            self.plan.key.write(key, self.namespace, &request.target, &request.headers);
            match self.store.peek(key) {
                Peek::Now(slot) => self.decide(request, key, slot.as_deref(), asked, request.received.wall),
                Peek::Later => Step::Look(key.as_slice().into()),
            }
        })
    }

    /// What to do, given what is stored under the key.
    pub(super) fn decide(
        &self,
        request: &Request,
        key: &[u8],
        slot: Option<&Slot>,
        asked: RequestDirectives,
        now: Wall,
    ) -> Step {
        let Some(entry) = slot.and_then(|slot| slot.select(&request.headers)) else {
            return self.miss(request, key, slot, asked, now);
        };
        let Some(freshness) = self.freshness(entry, &request.target, &asked, now) else {
            return self.miss(request, key, None, asked, now);
        };
        let kind = match freshness {
            Freshness::Fresh => HitKind::Fresh,
            Freshness::MaxStale => HitKind::MaxStale,
            Freshness::StaleWhileRevalidate => HitKind::StaleWhileRevalidate,
            Freshness::Revalidate(_) if asked.only_if_cached => return self.refuse(request),
            Freshness::Revalidate(rights) => {
                let forward = if rights.requested { Forward::Request } else { Forward::Stale };
                let stale = Stale { entry: Arc::clone(entry), rights };
                let passes = slot.is_some_and(|slot| slot.passes(now));
                return Step::Fetch(Fetch::of_stale(key, asked, forward, stale).passing(passes));
            }
        };
        let response = self.hit(request, entry, kind, now);
        let due =
            kind == HitKind::StaleWhileRevalidate || self.plan.refresh_ahead && refresh::is_due(entry, now);
        // RFC 9111 §5.2.1.5: what comes of a request with no-store is not stored, so it refreshes nothing.
        if due && !asked.no_store {
            return Step::Refresh(response, Box::new(Fetch::in_background(key, Arc::clone(entry))));
        }
        Step::Done(Ok(response))
    }

    fn miss(
        &self,
        request: &Request,
        key: &[u8],
        slot: Option<&Slot>,
        asked: RequestDirectives,
        now: Wall,
    ) -> Step {
        if let Some(step) = self.ranged(request, key, slot, asked, now) {
            return step;
        }
        if asked.only_if_cached {
            return self.refuse(request);
        }
        let newest = slot.and_then(Slot::newest);
        let forward = if newest.is_some() { Forward::VaryMiss } else { Forward::UriMiss };
        let pass = |detail| Step::Pass(Forwarded { detail: Some(detail), ..Forwarded::new(forward) });
        if request.method == Method::HEAD {
            return pass("head");
        }
        if asked.no_store {
            return pass(storable::NotStored::RequestNoStore.as_str());
        }
        if slot.is_some_and(|slot| slot.passes(now)) {
            return pass("known-not-stored");
        }
        let selector = newest.and_then(|entry| self.variant(&entry.headers(0), &request.headers));
        let others = slot.map(|slot| Others::of(self, request, slot)).unwrap_or_default();
        Step::Fetch(Fetch::of_miss(key, asked, forward, selector).beside(others))
    }

    fn refuse(&self, request: &Request) -> Step {
        self.meter.refused(&request.trail);
        Step::Done(Err(Refusal::OnlyIfCached.into()))
    }

    /// The answer of an entry without asking the origin.
    pub(super) fn hit(&self, request: &Request, entry: &Entry, kind: HitKind, now: Wall) -> Response {
        if kind == HitKind::Fresh && !validate::is_conditional(&request.headers) {
            self.meter.fresh_hit(&request.trail, entry.cost());
            return entry.fresh_hit(&request.method, now);
        }
        self.meter.saved(entry.cost());
        let outcome = Outcome::Hit(Hit { ttl: entry.lifetime().ttl(now), kind });
        self.answer(request, entry, &outcome, now)
    }
}

/// A decision at once, an inner answer as it is, an inner answer with a mark, or all that takes longer.
pub type CacheFuture<'a, S> = Either<
    Ready<Result<Response, Error>>,
    Either<<S as Inner>::Future<'a>, Either<Marked<'a, <S as Inner>::Future<'a>>, Boxed<'a>>>,
>;

inner!(impl<S: Inner> for Cache<S>);

impl<'a, S: Inner> Service<Request> for &'a Cache<S> {
    type Response = Response;
    type Error = Error;
    type Future = CacheFuture<'a, S>;

    always_ready!();

    fn call(&mut self, mut request: Request) -> Self::Future {
        let cache: &'a Cache<S> = self;
        let Some(core) = &cache.core else {
            return Either::later(Either::Left { future: cache.inner.send(request) });
        };
        if let Some(bypass) = storable::bypass(&request, &core.plan) {
            return cache.bypass(core, request, bypass);
        }
        if let Some(normalize) = &core.plan.normalize {
            normalize.apply(&mut request.headers);
        }
        let asked = RequestDirectives::of(&request.headers, core.plan.honor_client);
        match core.look(&request, asked) {
            Step::Done(result) => Either::now(result),
            Step::Refresh(response, fetch) => {
                cache.refresh(core, &request, &fetch);
                Either::now(Ok(response))
            }
            Step::Pass(forwarded) => cache.pass(core, request, forwarded),
            Step::Fetch(fetch) => cache.later(cache.fetch(core, request, fetch)),
            Step::Look(key) => cache.later(cache.look_again(core, request, key, asked)),
        }
    }
}

impl<S: Inner> Cache<S> {
    fn later<'a>(
        &'a self,
        future: impl Future<Output = Result<Response, Error>> + Send + 'a,
    ) -> CacheFuture<'a, S> {
        Either::later(Either::Right { future: Either::Right { future: Box::pin(future) } })
    }

    fn pass<'a>(&'a self, core: &'a Core, request: Request, forwarded: Forwarded) -> CacheFuture<'a, S> {
        let (trail, whole) = (request.trail.clone(), ranged::is_for_the_whole(&request));
        let marked = Marked { future: self.inner.send(request), core, trail, whole, forwarded };
        Either::later(Either::Right { future: Either::Left { future: marked } })
    }

    fn bypass<'a>(&'a self, core: &'a Arc<Core>, request: Request, bypass: Bypass) -> CacheFuture<'a, S> {
        if let Some(limit) = core.plan.query_body
            && request.method == Method::POST
        {
            return self.later(self.query(core, request, limit));
        }
        let reason = if bypass == Bypass::Method { Forward::Method } else { Forward::Bypass };
        let forwarded = Forwarded { detail: Some(bypass.as_str()), ..Forwarded::new(reason) };
        if validate::is_safe(&request.method) {
            return self.pass(core, request, forwarded);
        }
        if is_purge(&request.method) {
            return Either::now(core.purge_by_method(&request));
        }
        self.later(self.unsafe_request(core, request, forwarded))
    }

    /// The store was busy at the first look, or there was none yet.
    pub(super) async fn look_again(
        &self,
        core: &Arc<Core>,
        request: Request,
        key: Box<[u8]>,
        asked: RequestDirectives,
    ) -> Result<Response, Error> {
        let slot = core.store.get(&key).await;
        match core.decide(&request, &key, slot.as_deref(), asked, request.received.wall) {
            Step::Done(result) => result,
            Step::Refresh(response, fetch) => {
                self.refresh(core, &request, &fetch);
                Ok(response)
            }
            Step::Pass(forwarded) => self.alone(core, request, forwarded).await,
            Step::Fetch(fetch) => self.fetch(core, request, fetch).await,
            Step::Look(_) => self.alone(core, request, Forwarded::new(Forward::Bypass)).await,
        }
    }
}

pin_project! {
    /// An inner answer that gets its `Cache-Status` on its way out.
    pub struct Marked<'a, F> {
        #[pin]
        future: F,
        core: &'a Core,
        trail: Trail,
        whole: bool,
        forwarded: Forwarded,
    }
}

impl<F: Future<Output = Result<Response, Error>>> Future for Marked<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let marked = self.project();
        let result = ranged::checked(*marked.whole, ready!(marked.future.poll(cx)));
        Poll::Ready(marked.core.forwarded(marked.trail, *marked.forwarded, result))
    }
}

impl Core {
    /// Counts and marks an answer of the inner service.
    pub(super) fn forwarded(
        &self,
        trail: &Trail,
        mut forwarded: Forwarded,
        mut result: Result<Response, Error>,
    ) -> Result<Response, Error> {
        match &mut result {
            Ok(response) => {
                if !matches!(forwarded.reason, Forward::Method | Forward::Bypass) {
                    self.arrived(response);
                }
                targeted::hide(&mut response.headers);
                forwarded.status = Some(response.status);
                self.plan.tags.strip(&mut response.headers);
                self.meter.mark(trail, &Outcome::Forwarded(forwarded), response);
            }
            Err(_) => self.meter.count(trail, &Outcome::Forwarded(forwarded)),
        }
        result
    }
}
