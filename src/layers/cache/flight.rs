//! Flights: one request to the origin answers all that ask for the same while it is under way.
//!
//! A flight is known by its key and, once the key's `Vary` is known, by the variant it will bring. Those who
//! ask hold an [`Interest`]; when the last one lets go, the flight learns it and decides whether to go on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ahash::RandomState;
use http::{HeaderMap, StatusCode};
use smallvec::SmallVec;
use tokio::sync::{Notify, watch};

use crate::clock::{self, Instant};
use crate::error::Error;
use crate::http::Request;
use crate::http::shared::SharedBody;

use super::entry::Entry;
use super::freshness::Lifetime;
use super::purge::{Marks, Purges};
use super::range::Part;
use super::vary::Variant;

/// How many flights may be under way at once; beyond them requests go alone.
const MAX_FLIGHTS: usize = 16_384;

/// How old a flight may be, without a response head, for a request to follow it: who comes later asks anew,
/// so that one request that hangs does not hold up a key.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// Over how many locks the flights are spread.
const SHARDS: usize = 16;

/// The key a flight is listed under. Requests with `Authorization` fly apart from others: their answers are
/// mostly for one user alone (RFC 9111 §3.5), and what is learnt from that must not make others pass the
/// cache by.
pub fn flight_key(key: &[u8], authorized: bool) -> Box<[u8]> {
    let mark: &[u8] = if authorized { b"\0authorized" } else { b"" };
    [key, mark].concat().into()
}

/// How long a follower without a deadline waits for a flight to land; with one it waits half of what is left.
const WAIT: Duration = Duration::from_secs(30);

type Shard = HashMap<Box<[u8]>, SmallVec<[Arc<Flight>; 1]>, RandomState>;

/// All flights of the process.
#[derive(Debug)]
pub struct Flights {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    count: AtomicUsize,
    purges: Arc<Purges>,
}

/// One request on its way to fill an entry.
#[derive(Debug)]
pub struct Flight {
    /// Whether anybody may follow.
    open: bool,
    /// Which requests may follow; all where nothing is known of the key's `Vary` yet.
    selector: Option<Variant>,
    /// Which purges are newer than it.
    since: u64,
    /// The part it brings, as its request named it; none where it brings the whole.
    scope: Option<Box<[u8]>>,
    took_off: Instant,
    landing: watch::Sender<Option<Landing>>,
    interest: AtomicUsize,
    left: Notify,
    /// How many of those have not begun to read what it brings.
    unseated: AtomicUsize,
    seated: Notify,
    void: AtomicBool,
    /// Whether it goes on where nobody is interested: it refreshes an entry, or has brought a storable head.
    goes_on: AtomicBool,
}

/// How a flight came out.
#[derive(Clone, Debug)]
pub enum Landing {
    /// With a response that may be shared: its body is on the way.
    Shared(Arc<Lead>),
    /// The origin confirmed what is stored: this is it, refreshed.
    Confirmed(Arc<Entry>),
    /// With a response for its own request alone.
    Apart(Apart),
    /// Without a response.
    Failed(Error),
}

/// Why a response is for one request alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apart {
    /// The word for it.
    pub reason: &'static str,
    /// The origin is in trouble (500, 502, 503, 504): where a stale entry may stand in, it does.
    pub trouble: bool,
}

/// A response that is shared while it arrives.
#[derive(Debug)]
pub struct Lead {
    /// The status.
    pub status: StatusCode,
    /// The end-to-end fields.
    pub headers: HeaderMap,
    /// Which requests it answers.
    pub variant: Variant,
    /// How long it is good for.
    pub lifetime: Lifetime,
    /// What it is judged by when something is purged.
    pub marks: Marks,
    /// The body.
    pub body: SharedBody,
    /// Which part of the whole the body is, and how many bytes that has; none where it is the whole.
    pub part: Option<(Part, u64)>,
    /// Whether it goes into the store, as far as its head tells.
    pub stored: bool,
    /// Why not, where the head tells that.
    pub detail: Option<&'static str>,
}

/// What a request does.
#[derive(Debug)]
pub enum Join {
    /// It flies itself.
    Lead(Interest),
    /// It waits for what another one brings.
    Follow(Interest),
    /// It goes alone: too many are under way.
    Full,
}

/// Somebody's wish for a flight's outcome and body.
#[derive(Debug)]
pub struct Interest {
    flight: Arc<Flight>,
    unseated: bool,
}

impl Interest {
    /// The flight.
    pub const fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// Whoever it is reads the body, or never will.
    pub fn seated(&mut self) {
        if std::mem::take(&mut self.unseated) && self.flight.unseated.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.seated.notify_one();
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.seated();
        if self.flight.interest.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.left.notify_one();
        }
    }
}

impl Flight {
    fn new(
        open: bool,
        selector: Option<Variant>,
        scope: Option<&[u8]>,
        since: u64,
        took_off: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            open,
            selector,
            scope: scope.map(Into::into),
            since,
            took_off,
            landing: watch::Sender::new(None),
            interest: AtomicUsize::new(0),
            left: Notify::new(),
            unseated: AtomicUsize::new(0),
            seated: Notify::new(),
            void: AtomicBool::new(false),
            goes_on: AtomicBool::new(false),
        })
    }

    /// Takes an interest.
    fn interest(self: &Arc<Self>) -> Interest {
        self.interest.fetch_add(1, Ordering::AcqRel);
        self.unseated.fetch_add(1, Ordering::AcqRel);
        Interest { flight: Arc::clone(self), unseated: true }
    }

    /// How many are interested.
    pub fn interested(&self) -> usize {
        self.interest.load(Ordering::Acquire)
    }

    /// Waits until everybody who is interested reads what it has brought.
    pub async fn all_seated(&self) {
        while self.unseated.load(Ordering::Acquire) > 0 {
            self.seated.notified().await;
        }
    }

    /// Tells the followers how it came out.
    pub fn land(&self, landing: Landing) {
        self.landing.send_replace(Some(landing));
    }

    /// The same, if it has not landed yet.
    pub fn land_if_not(&self, landing: impl FnOnce() -> Landing) {
        self.landing.send_if_modified(|landed| {
            let first = landed.is_none();
            if first {
                *landed = Some(landing());
            }
            first
        });
    }

    /// Waits until it has landed.
    pub async fn landed(&self) -> Landing {
        let mut landing = self.landing.subscribe();
        // The sender lives as long as `self`: waiting cannot fail.
        match landing.wait_for(Option::is_some).await.ok().and_then(|landing| landing.clone()) {
            Some(landing) => landing,
            None => std::future::pending().await,
        }
    }

    /// Whether it has landed.
    pub fn has_landed(&self) -> bool {
        self.landing.borrow().is_some()
    }

    /// Whether it has been waiting for a response head for too long to be followed.
    fn hangs(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.took_off) > MAX_AGE && !self.has_landed()
    }

    /// Waits until nobody is interested.
    pub async fn deserted(&self) {
        while self.interest.load(Ordering::Acquire) > 0 {
            self.left.notified().await;
        }
    }

    /// From now on it may go on where nobody is interested.
    pub fn go_on(&self) {
        self.goes_on.store(true, Ordering::Release);
    }

    /// Whether it is not about to end for want of interest.
    fn is_alive(&self) -> bool {
        self.goes_on.load(Ordering::Acquire) || self.interest.load(Ordering::Acquire) > 0
    }

    /// The generation of purges in which it took off.
    pub const fn since(&self) -> u64 {
        self.since
    }

    /// Whether what it brings must not be stored: the key was invalidated after it took off.
    pub fn is_void(&self) -> bool {
        self.void.load(Ordering::Acquire)
    }

    /// Whether a request may follow, of which `selector` is what is known of its variant.
    fn suits(&self, headers: &HeaderMap, selector: Option<&Variant>, scope: Option<&[u8]>) -> bool {
        match (&self.selector, selector) {
            _ if !self.open => false,
            _ if self.scope.is_some() && self.scope.as_deref() != scope => false,
            (Some(variant), _) => variant.matches(headers),
            (None, known) => known.is_none(),
        }
    }
}

impl Flights {
    pub(super) fn new(purges: Arc<Purges>) -> Self {
        Self {
            purges,
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
        }
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, Shard> {
        let number = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0) % SHARDS;
        let [first, ..] = &self.shards;
        self.shards.get(number).unwrap_or(first).lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows a flight for the key, or leads one. `selector` is the variant the request asks for, where the
    /// key's `Vary` is known, `scope` the part it asks for: a flight with the whole serves it too.
    pub fn join(
        &self,
        key: &[u8],
        headers: &HeaderMap,
        selector: Option<Variant>,
        scope: Option<&[u8]>,
        now: Instant,
    ) -> Join {
        let mut shard = self.shard(key);
        let flights = shard.get(key);
        let suitable = |flight: &&Arc<Flight>| {
            flight.is_alive() && !flight.hangs(now) && flight.suits(headers, selector.as_ref(), scope)
        };
        if let Some(flight) = flights.and_then(|all| all.iter().find(suitable)) {
            return Join::Follow(flight.interest());
        }
        self.list(&mut shard, key, Flight::new(true, selector, scope, self.purges.begin(), now))
    }

    /// Leads a flight that nobody can follow. It is listed all the same: an invalidation of the key must find
    /// it.
    pub fn solo(&self, key: &[u8], now: Instant) -> Join {
        self.list(&mut self.shard(key), key, Flight::new(false, None, None, self.purges.begin(), now))
    }

    fn list(&self, shard: &mut Shard, key: &[u8], flight: Arc<Flight>) -> Join {
        if self.count.load(Ordering::Relaxed) >= MAX_FLIGHTS {
            return Join::Full;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let interest = flight.interest();
        match shard.get_mut(key) {
            Some(flights) => flights.push(flight),
            None => {
                shard.insert(key.into(), SmallVec::from_iter([flight]));
            }
        }
        Join::Lead(interest)
    }

    /// Takes a flight off the list: nobody follows it from now on.
    pub fn leave(&self, key: &[u8], flight: &Arc<Flight>) {
        self.remove(&mut self.shard(key), key, flight);
    }

    /// Takes a flight off the list if nobody is interested; says whether it did.
    pub fn desert(&self, key: &[u8], flight: &Arc<Flight>) -> bool {
        let mut shard = self.shard(key);
        let deserted = flight.interest.load(Ordering::Acquire) == 0;
        if deserted {
            self.remove(&mut shard, key, flight);
        }
        deserted
    }

    /// The key was invalidated: flights under way keep their followers, take no new ones and store nothing.
    pub fn void(&self, key: &[u8]) {
        if let Some(flights) = self.shard(key).remove(key) {
            self.count.fetch_sub(flights.len(), Ordering::Relaxed);
            for flight in flights {
                flight.void.store(true, Ordering::Release);
            }
        }
    }

    /// How many are under way.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn remove(&self, shard: &mut Shard, key: &[u8], flight: &Arc<Flight>) {
        let Some(flights) = shard.get_mut(key) else { return };
        let before = flights.len();
        flights.retain(|other| !Arc::ptr_eq(other, flight));
        self.count.fetch_sub(before - flights.len(), Ordering::Relaxed);
        if flights.is_empty() {
            shard.remove(key);
        }
    }
}

/// How long a follower waits: long enough to be worth it, and short enough to go alone then.
pub fn patience(request: &Request) -> Instant {
    let now = clock::now().instant;
    match request.until() {
        Some(deadline) => now + deadline.saturating_duration_since(now) / 2,
        None => now + WAIT,
    }
}
