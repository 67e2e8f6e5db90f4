//! A fill: the task that asks the origin for a flight, shares what comes, and stores it.
//!
//! It is a task of its own, so that a client that leaves takes nothing from the others. When all have left it
//! ends at once, and the request to the origin with it, except where finishing is the better bargain
//! (see [`pump`](super::pump)).
//!
//! Nothing partial is ever stored: the store sees a body that ended as its framing said, or nothing.

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::sync::oneshot;

use crate::clock::{self, Instant, Now};
use crate::error::{Error, InternalError};
use crate::http::{Request, RequestBody, Response, Trail};
use crate::layers::Inner;
use crate::metrics::GaugeHold;

use super::arrival::Sorted;
use super::core::{Core, Verdict};
use super::directives::{RequestDirectives, ResponseDirectives};
use super::entry::Entry;
use super::flight::{Apart, Flight, Landing, Lead};
use super::freshness::Timing;
use super::others::Others;
use super::post;
use super::ranged::{self, Ranged};
use super::refresh::Permit;
use super::share::length_of;
use super::storable::NotStored;
use super::validate;

/// How long a key is remembered whose answers cannot be shared.
const PASS_TIME: Duration = Duration::from_secs(10);

/// What a fill is told.
pub struct Order {
    /// The flight it is for.
    pub flight: Arc<Flight>,
    /// The key the flight is listed under.
    pub flight_key: Box<[u8]>,
    /// The key to store under.
    pub key: Box<[u8]>,
    /// The request, free of the client's conditions.
    pub request: Request,
    /// The client's directives.
    pub directives: RequestDirectives,
    /// Whether nothing was known of the key.
    pub unknown: bool,
    /// What is to be revalidated.
    pub stale: Option<Arc<Entry>>,
    /// What of it is asked for, where that is not simply all.
    pub ranged: Option<Ranged>,
    /// What is stored for other requests, and may be confirmed for this one.
    pub others: Others,
    /// Whether a stale entry may stand in for an answer of an origin in trouble.
    pub stale_on_error: bool,
    /// Who waits for it; nobody where it refreshes an entry in the background.
    pub leader: Option<oneshot::Sender<Led>>,
    /// Its place among those that nobody waits for.
    pub permit: Option<Permit>,
}

/// What a leader gets.
pub enum Led {
    /// What the followers get.
    Landed(Landing),
    /// A response that is shared.
    Shared {
        /// What the followers get.
        lead: Arc<Lead>,
        /// The fields that only the leader may see (`no-cache="set-cookie"`).
        withheld: Box<[(HeaderName, HeaderValue)]>,
    },
    /// A response for it alone.
    Own(Response, Apart),
}

/// A copy of a request for a fill: a GET without body, conditions and range (RFC 9111 §4), or the
/// [query](post::is_query) that it is.
pub fn plain_copy(request: &Request, trail: Trail) -> Request {
    let mut copy = request.again();
    if !post::is_query(request) {
        (copy.method, copy.body) = (Method::GET, RequestBody::Empty);
    }
    validate::strip_conditions(&mut copy.headers);
    copy.trail = trail;
    // Others may wait longer than who began it.
    copy.gives_up = None;
    copy
}

/// Takes off in a task of its own.
pub fn launch<S: Inner>(inner: Arc<S>, core: Arc<Core>, order: Order) {
    tokio::spawn(Fill::new(core, order).run(inner));
}

/// The same for a response that is there already, to a request that was `sent` then.
pub fn adopt(core: Arc<Core>, order: Order, response: Response, sent: Now) {
    let fill = Fill { sent: sent.instant, ..Fill::new(core, order) };
    tokio::spawn(fill.arrive(response, sent));
}

/// A flight on the list. However the fill ends, it leaves the list and no follower waits for ever.
pub(super) struct Listing {
    pub(super) core: Arc<Core>,
    pub(super) flight: Arc<Flight>,
    pub(super) key: Box<[u8]>,
}

impl Listing {
    pub(super) fn leave(&self) {
        self.core.store.flights().leave(&self.key, &self.flight);
    }
}

impl Drop for Listing {
    fn drop(&mut self) {
        self.leave();
        self.flight.land_if_not(|| Landing::Failed(InternalError::Panicked.into()));
    }
}

pub(super) struct Fill {
    pub(super) listing: Listing,
    pub(super) core: Arc<Core>,
    pub(super) key: Box<[u8]>,
    pub(super) request: Request,
    directives: RequestDirectives,
    unknown: bool,
    stale: Option<Arc<Entry>>,
    ranged: Option<Ranged>,
    pub(super) others: Others,
    stale_on_error: bool,
    pub(super) background: bool,
    pub(super) leader: Option<oneshot::Sender<Led>>,
    /// When the origin was asked.
    pub(super) sent: Instant,
    pub(super) counted: Counted,
}

/// What counts a fill while it is under way.
pub(super) type Counted = (GaugeHold, Option<Permit>);

impl Fill {
    fn new(core: Arc<Core>, order: Order) -> Self {
        let counted = core.meter.fill();
        Self {
            listing: Listing { core: Arc::clone(&core), flight: order.flight, key: order.flight_key },
            core,
            key: order.key,
            request: order.request,
            directives: order.directives,
            unknown: order.unknown,
            stale: order.stale,
            ranged: order.ranged,
            others: order.others,
            stale_on_error: order.stale_on_error,
            background: order.leader.is_none(),
            leader: order.leader,
            sent: clock::now().instant,
            counted: (counted, order.permit),
        }
    }

    async fn run<S: Inner>(mut self, inner: Arc<S>) {
        let sent = clock::now();
        self.sent = sent.instant;
        let Some(mut first) = self.ask(&*inner, true).await else { return };
        while let Some(ranged) = self.ranged.clone() {
            match self.sort(&ranged, first, sent) {
                Sorted::Part(arrival) => return Box::pin(self.share_part(*arrival)).await,
                Sorted::Plain(answer) => {
                    first = answer;
                    break;
                }
                // For what the client asked for, which is never sorted out again.
                Sorted::Again(ranged) => {
                    self.ranged = ranged;
                    let Some(again) = self.ask(&*inner, true).await else { return };
                    first = again;
                }
            }
        }
        let result = match first {
            Ok(response) if response.status == StatusCode::NOT_MODIFIED && self.is_conditional() => {
                if let Some(entry) = self.confirmed_by(&response.headers) {
                    return Box::pin(self.confirm(&entry, &response.headers, sent)).await;
                }
                // RFC 9111 §4.3.3: it speaks of something we do not have. Ask again, for all of it.
                drop(response);
                let Some(again) = self.ask(&*inner, false).await else { return };
                again
            }
            first => first,
        };
        self.core.meter.origin_time(clock::now().instant - sent.instant);
        match result {
            Ok(response) => Box::pin(self.arrive(response, sent)).await,
            Err(error) => {
                self.rest_if(true);
                self.land(Landing::Failed(error));
            }
        }
    }

    /// Sends the request, with our conditions where there is an entry to confirm; none once nobody waits any
    /// more.
    async fn ask<S: Inner>(&self, inner: &S, confirm: bool) -> Option<Result<Response, Error>> {
        let mut request = self.request.again();
        match self.confirmable() {
            Some(stale) if confirm => validate::condition(&mut request.headers, &stale.headers(0)),
            None if confirm && !self.others.is_empty() => self.others.condition(&mut request.headers),
            _ => {}
        }
        if let Some(ranged) = &self.ranged {
            ranged.write(&mut request.headers);
        }
        let answer = inner.send(request);
        tokio::pin!(answer);
        loop {
            tokio::select! {
                mut result = &mut answer => {
                    if let Ok(response) = &mut result {
                        self.core.arrived(response);
                    }
                    return Some(result);
                }
                () = self.listing.flight.deserted(), if !self.background => {
                    if self.core.store.flights().desert(&self.listing.key, &self.listing.flight) {
                        return None;
                    }
                }
            }
        }
    }

    /// The followers and the leader get the same.
    pub(super) fn land(&mut self, landing: Landing) {
        self.listing.leave();
        if let Some(leader) = self.leader.take() {
            let _ = leader.send(Led::Landed(landing.clone()));
        }
        self.listing.flight.land(landing);
    }

    /// What is to be revalidated.
    pub(super) const fn stale(&self) -> Option<&Arc<Entry>> {
        self.stale.as_ref()
    }

    /// Whether its client asked for a range.
    pub(super) fn is_for_a_range(&self) -> bool {
        self.scope().is_some()
    }

    /// Whether an answer is kept for those who ask for exactly the same range.
    fn is_repeated(&self, status: StatusCode) -> bool {
        status == StatusCode::PARTIAL_CONTENT && self.core.plan.repeat_parts && self.is_for_a_range()
    }

    /// What its client asked for, where that is a range.
    pub(super) fn scope(&self) -> Option<Box<[u8]>> {
        self.ranged.as_ref().and_then(Ranged::scope)
    }

    pub(super) fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        sent: Now,
        now: Now,
    ) -> Result<(Verdict, ResponseDirectives), NotStored> {
        let directives = ResponseDirectives::of(headers);
        let timing = Timing { requested: sent.wall, received: now.wall };
        let verdict =
            self.core.judge(&self.request, &self.directives, status, headers, &directives, timing)?;
        Ok((verdict, directives))
    }

    /// A response: shared and stored, or for the leader alone.
    async fn arrive(mut self, response: Response, sent: Now) {
        let now = clock::now();
        if self.stale_on_error && self.core.plan.trouble.has(response.status) {
            return Box::pin(self.keep_apart(response, "origin-error")).await;
        }
        if response.status == StatusCode::PARTIAL_CONTENT && !self.is_for_a_range() {
            return self.land(Landing::Failed(ranged::unasked()));
        }
        let length = match length_of(&response) {
            Ok(length) => length,
            Err(reason) => return Box::pin(self.keep_apart(response, reason)).await,
        };
        let status = if self.is_repeated(response.status) { StatusCode::OK } else { response.status };
        let verdict = match self.judge(status, &response.headers, sent, now) {
            Ok(verdict) => verdict,
            Err(reason) => return Box::pin(self.keep_apart(response, reason.as_str())).await,
        };
        match self.room(length) {
            Err(reason) if !self.is_followed() => Box::pin(self.keep_apart(response, reason.as_str())).await,
            room => self.share(response, verdict, length, room, now).await,
        }
    }

    /// Whether anybody but the leader waits for it.
    fn is_followed(&self) -> bool {
        let leader = self.leader.as_ref().is_some_and(|leader| !leader.is_closed());
        self.listing.flight.interested() > usize::from(leader)
    }

    /// The response is for the leader alone; the followers go on at once, each on its own.
    pub(super) async fn keep_apart(mut self, response: Response, reason: &'static str) {
        let apart = Apart { reason, trouble: self.core.plan.trouble.has(response.status) };
        self.rest_if(apart.trouble);
        self.core.meter.not_stored(reason);
        let tells = self.ranged.is_none()
            && !response.status.is_server_error()
            && !NotStored::is_want_of_room(reason);
        if tells {
            self.learn(false);
        }
        self.listing.leave();
        self.listing.flight.land(Landing::Apart(apart));
        if tells {
            self.mark_pass().await;
        }
        if let Some(stale) = self.stale.as_ref().filter(|_| is_the_latest_word(response.status)) {
            self.core.store.remove_entry(&self.key, stale.id()).await;
        }
        if let Some(leader) = self.leader.take() {
            let _ = leader.send(Led::Own(response, apart));
        }
    }

    /// Where nobody waits for it, a key whose origin is in trouble is left alone for a while; how it goes for
    /// those who wait tells the others.
    pub(super) fn rest_if(&self, trouble: bool) {
        let rests = self.core.store.rests();
        if !trouble {
            if let (_, Some(permit)) = &self.counted {
                permit.repay();
            }
            rests.recovered(&self.key);
        } else if self.background {
            rests.failed(&self.key, clock::now().instant, fastrand::f64());
        }
    }

    /// Remembers what the answer for an unknown key was like.
    pub(super) fn learn(&self, shared: bool) {
        if self.unknown {
            let restricted = self.core.is_restricted(&self.request.headers);
            self.core.evidence.learn(restricted, shared, clock::now().wall);
        }
    }

    /// Remembers that waiting for the key's answers is not worth it.
    pub(super) async fn mark_pass(&self) {
        let until = clock::now().wall.plus(PASS_TIME);
        self.core.store.mark_pass(&self.listing.key, until).await;
    }
}

/// Whether an answer tells that what was stored is a thing of the past, and not only that the origin would
/// not say.
fn is_the_latest_word(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection() || matches!(status.as_u16(), 404 | 410)
}
