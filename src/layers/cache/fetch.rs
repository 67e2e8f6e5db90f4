//! Asking the origin: as the leader of a flight, as its follower, or alone.
//!
//! ```text
//!            ┌ lead ── fill ──┬ shared ──── its body, while it arrives ──┐
//! fetch ─────┤                ├ confirmed ─ the entry, refreshed         ├─ answer
//!            ├ follow ────────┼ apart ───── (follower) alone             │
//!            └ full ── alone  └ failed ──── stale, or one more flight ───┘
//! ```
//!
//! A follower whose flight failed, or brought word of an origin in trouble, tries once more, and then again
//! one leads and the others follow; when that fails too, all of them do. Only a response that cannot be
//! shared sends them off alone, all at once. So a broken origin meets one request a key at a time, and a
//! private resource costs its readers one wait and then, for some seconds, none.

use std::sync::Arc;

use http::Method;
use tokio::sync::oneshot;

use crate::clock;
use crate::error::{Error, InternalError, UpstreamError, UpstreamErrorKind};
use crate::http::{Request, Response};
use crate::layers::Inner;

use super::answer::now_for;
use super::collapse::Collapse;
use super::core::Core;
use super::directives::RequestDirectives;
use super::entry::Entry;
use super::fill::{self, Led, Order};
use super::flight::{Apart, Interest, Join, Landing, patience};
use super::freshness::Revalidate;
use super::layer::Cache;
use super::others::Others;
use super::ranged::Ranged;
use super::refresh::Permit;
use super::stale::Stale;
use super::status::{Forward, Forwarded, HitKind};
use super::storable;
use super::vary::Variant;

/// How many flights a request takes part in before it goes alone.
const ROUNDS: u32 = 3;

/// A request that the store cannot answer.
#[derive(Debug)]
pub struct Fetch {
    key: Box<[u8]>,
    asked: RequestDirectives,
    forward: Forward,
    stale: Option<Stale>,
    /// The key's answers are known not to be worth waiting for.
    passes: bool,
    /// The variant it asks for, where the key's `Vary` is known.
    selector: Option<Variant>,
    /// Whether it follows others.
    collapse: Collapse,
    /// What of it is asked for, where that is not simply all.
    ranged: Option<Ranged>,
    /// What is stored for other requests, and may be what is asked for.
    others: Others,
}

impl Fetch {
    /// Nothing is stored that fits.
    pub fn of_miss(
        key: &[u8],
        asked: RequestDirectives,
        forward: Forward,
        selector: Option<Variant>,
    ) -> Self {
        let collapse = Collapse::Yes;
        let (key, others) = (key.into(), Others::default());
        Self { key, asked, forward, stale: None, passes: false, selector, collapse, ranged: None, others }
    }

    /// What is stored has to be validated first.
    pub fn of_stale(key: &[u8], asked: RequestDirectives, forward: Forward, stale: Stale) -> Self {
        let selector = Some(stale.entry.variant().clone());
        Self { stale: Some(stale), ..Self::of_miss(key, asked, forward, selector) }
    }

    /// The same for a key whose answers are known not to be worth waiting for.
    #[must_use]
    pub fn passing(self, passes: bool) -> Self {
        Self { passes, ..self }
    }

    /// The same beside what is stored for other requests.
    #[must_use]
    pub fn beside(self, others: Others) -> Self {
        Self { others, ..self }
    }

    /// The same for a part.
    #[must_use]
    pub fn ranged(self, ranged: Ranged) -> Self {
        Self { ranged: Some(ranged), ..self }
    }

    /// What is stored was served, and is to be replaced.
    pub fn in_background(key: &[u8], entry: Arc<Entry>) -> Self {
        let rights = Revalidate { requested: false, on_error: true, on_overload: true };
        Self::of_stale(key, RequestDirectives::default(), Forward::Stale, Stale { entry, rights })
    }

    /// The key of what it asks for.
    pub(super) const fn key(&self) -> &[u8] {
        &self.key
    }

    /// The client's directives.
    pub(super) const fn asked(&self) -> &RequestDirectives {
        &self.asked
    }

    /// Why the store cannot answer.
    pub(super) const fn forward(&self) -> Forward {
        self.forward
    }

    /// Whether it follows others.
    pub(super) const fn collapse(&self) -> Collapse {
        self.collapse
    }

    /// Which part it is for, if it is for one.
    fn scope(&self) -> Option<Box<[u8]>> {
        self.ranged.as_ref().and_then(Ranged::scope)
    }

    /// What is stored, where it is stale or to be refreshed.
    pub(super) fn stale_entry(&self) -> Option<&Arc<Entry>> {
        self.stale.as_ref().map(|stale| &stale.entry)
    }

    /// The variant it asks for, where the key's `Vary` is known.
    pub(super) const fn selector(&self) -> Option<&Variant> {
        self.selector.as_ref()
    }

    /// Whether nothing is known of its key.
    fn is_unknown(&self) -> bool {
        self.forward == Forward::UriMiss && self.selector.is_none() && self.ranged.is_none()
    }

    /// Looks at the entry again after a wait: it may be of less use by now, or of none.
    pub(super) fn reconsider(&mut self, core: &Core, request: &Request) {
        self.stale.take_if(|stale| !stale.reconsider(core, request, &self.asked));
        self.others.reconsider(core, &request.target);
    }

    /// The entry that may stand in for an origin in trouble.
    pub(super) fn stale_on_error(&self) -> Option<&Arc<Entry>> {
        self.stale.as_ref().filter(|stale| stale.rights.on_error).map(|stale| &stale.entry)
    }

    /// The entry that may stand in when admission refuses.
    pub(super) fn stale_on_overload(&self) -> Option<&Arc<Entry>> {
        self.stale.as_ref().filter(|stale| stale.rights.on_overload).map(|stale| &stale.entry)
    }
}

/// One round of a fetch.
enum Round {
    Done(Result<Response, Error>),
    /// Another flight, if any round is left.
    Again,
    Alone(&'static str),
}

impl<S: Inner> Cache<S> {
    /// Asks the origin.
    pub(super) async fn fetch(
        &self,
        core: &Arc<Core>,
        request: Request,
        mut fetch: Fetch,
    ) -> Result<Response, Error> {
        if request.method == Method::HEAD {
            return self.head(core, request, fetch).await;
        }
        let restricted = core.is_restricted(&request.headers);
        let listed_key = core.flight_key(&request, &fetch.key, restricted);
        let passes = fetch.passes
            || restricted
                && core.store.get(&listed_key).await.is_some_and(|slot| slot.passes(request.received.wall));
        if fetch.asked.no_store || passes {
            let detail =
                if passes { "known-not-stored" } else { storable::NotStored::RequestNoStore.as_str() };
            return self.alone_or_stale(core, request, fetch, detail).await;
        }
        let shareable =
            fetch.is_unknown().then(|| core.evidence.shareable(restricted, request.received.wall));
        fetch.collapse = Collapse::decide(core.plan.collapse, fetch.asked.no_cache, shareable);
        core.meter.collapse(fetch.collapse);
        let mut failures = 0;
        for _ in 0..ROUNDS {
            let (flights, now) = (core.store.flights(), clock::now().instant);
            let join = match fetch.collapse {
                Collapse::Yes => {
                    let (selector, scope) = (fetch.selector.clone(), fetch.scope());
                    flights.join(&listed_key, &request.headers, selector, scope.as_deref(), now)
                }
                Collapse::Disabled | Collapse::NoCache | Collapse::NeverShared | Collapse::Outdated => {
                    flights.solo(&listed_key, now)
                }
            };
            let round = match join {
                Join::Lead(interest) => self.lead(core, &request, &mut fetch, &listed_key, interest).await,
                Join::Follow(interest) => {
                    self.follow(core, &request, &mut fetch, &listed_key, interest, &mut failures).await
                }
                Join::Full => Round::Alone("too-many-flights"),
            };
            match round {
                Round::Done(result) => return result,
                Round::Again => {}
                Round::Alone(detail) => return self.alone_or_stale(core, request, fetch, detail).await,
            }
        }
        self.alone_or_stale(core, request, fetch, "too-many-rounds").await
    }

    pub(super) fn launch(
        &self,
        core: &Arc<Core>,
        request: Request,
        fetch: &Fetch,
        flight_key: Box<[u8]>,
        interest: &Interest,
        leader: Result<oneshot::Sender<Led>, Permit>,
    ) {
        let (leader, permit) = match leader {
            Ok(leader) => (Some(leader), None),
            Err(permit) => (None, Some(permit)),
        };
        let order = Order {
            flight: Arc::clone(interest.flight()),
            flight_key,
            key: fetch.key.clone(),
            request,
            directives: fetch.asked,
            unknown: fetch.is_unknown(),
            stale: fetch.stale.as_ref().map(|stale| Arc::clone(&stale.entry)),
            ranged: fetch.ranged.clone(),
            others: fetch.others.clone(),
            stale_on_error: fetch.stale_on_error().is_some(),
            leader,
            permit,
        };
        fill::launch(Arc::clone(&self.inner), Arc::clone(core), order);
    }

    /// Leads a flight: the fill does it, in a task of its own; we wait like the others.
    async fn lead(
        &self,
        core: &Arc<Core>,
        request: &Request,
        fetch: &mut Fetch,
        listed_key: &[u8],
        interest: Interest,
    ) -> Round {
        fetch.reconsider(core, request);
        let (sender, receiver) = oneshot::channel();
        let copy = fill::plain_copy(request, request.trail.clone());
        self.launch(core, copy, fetch, listed_key.into(), &interest, Ok(sender));
        let led = receiver.await;
        fetch.reconsider(core, request);
        match led {
            Ok(Led::Shared { lead, withheld }) => {
                let answer = core.shared(request, fetch, &lead, interest, false);
                let Some(mut response) = answer else { return Round::Alone("first-bytes-gone") };
                for (name, value) in withheld {
                    response.headers.append(name, value);
                }
                Round::Done(Ok(response))
            }
            Ok(Led::Own(_, Apart { trouble: true, .. })) if fetch.stale_on_error().is_some() => {
                Round::Done(core.stand_in(request, fetch.stale_on_error(), HitKind::StaleIfError))
            }
            Ok(Led::Own(response, Apart { reason, .. })) => {
                let forwarded = Forwarded { detail: Some(reason), ..Forwarded::new(fetch.forward) };
                Round::Done(core.forwarded(&request.trail, forwarded, Ok(response)))
            }
            // What was confirmed was purged meanwhile.
            Ok(Led::Landed(Landing::Confirmed(_))) if fetch.stale.is_none() && fetch.others.is_empty() => {
                Round::Again
            }
            Ok(Led::Landed(Landing::Confirmed(entry))) => {
                Round::Done(Ok(core.confirmed(request, fetch, &entry, false)))
            }
            Ok(Led::Landed(Landing::Failed(error))) => Round::Done(core.fall_back(request, fetch, error)),
            Ok(Led::Landed(Landing::Shared(_) | Landing::Apart(_))) => {
                Round::Done(Err(InternalError::Bug("a leader got what is for followers").into()))
            }
            Err(_) => Round::Done(core.fall_back(request, fetch, InternalError::Panicked.into())),
        }
    }

    /// Follows a flight.
    async fn follow(
        &self,
        core: &Arc<Core>,
        request: &Request,
        fetch: &mut Fetch,
        listed_key: &[u8],
        interest: Interest,
        failures: &mut u32,
    ) -> Round {
        let leave = || {
            core.store.flights().leave(listed_key, interest.flight());
            Round::Again
        };
        if core.took_off_too_early(interest.flight(), &request.target) {
            return leave();
        }
        let late = interest.flight().has_landed();
        let landed = tokio::time::timeout_at(patience(request), interest.flight().landed()).await;
        fetch.reconsider(core, request);
        if landed.as_ref().is_ok_and(|landing| core.is_outdated(landing, &request.target)) {
            return leave();
        }
        match landed {
            Err(_) => Round::Alone("waited-too-long"),
            Ok(Landing::Shared(lead)) => {
                if !lead.variant.matches(&request.headers) {
                    // Another variant: those who want the same one may still follow one another.
                    fetch.selector = core.variant(&lead.headers, &request.headers);
                    return if fetch.selector.is_some() { Round::Again } else { Round::Alone("vary") };
                }
                // Who waits for a head gets what comes (RFC 9111 §4). Who comes later gets what would answer
                // it from the store, were it complete.
                if late && !lead.lifetime.answers(&fetch.asked, now_for(request)) {
                    fetch.collapse = Collapse::Outdated;
                    return Round::Again;
                }
                match core.shared(request, fetch, &lead, interest, true) {
                    Some(response) => Round::Done(Ok(response)),
                    None => Round::Alone("first-bytes-gone"),
                }
            }
            Ok(Landing::Confirmed(entry)) if entry.variant().matches(&request.headers) => {
                Round::Done(Ok(core.confirmed(request, fetch, &entry, true)))
            }
            Ok(Landing::Confirmed(_)) => Round::Alone("vary"),
            Ok(Landing::Apart(Apart { trouble: true, .. })) if fetch.stale_on_error().is_some() => {
                Round::Done(core.stand_in(request, fetch.stale_on_error(), HitKind::StaleIfError))
            }
            Ok(Landing::Apart(Apart { trouble: true, .. })) => {
                *failures += 1;
                if *failures > 1 {
                    let trouble = UpstreamError::sent(UpstreamErrorKind::Trouble);
                    return Round::Done(core.fall_back(request, fetch, trouble.into()));
                }
                Round::Again
            }
            Ok(Landing::Apart(Apart { reason, .. })) => Round::Alone(reason),
            Ok(Landing::Failed(error)) => {
                *failures += 1;
                if *failures > 1 || core.has_stand_in(fetch, &error) {
                    return Round::Done(core.fall_back(request, fetch, error));
                }
                Round::Again
            }
        }
    }
}
