//! The connections of one endpoint: idle ones, shared ones, and who waits for one.
//!
//! An HTTP/1.1 connection belongs to one exchange at a time and comes back when that has ended cleanly; the
//! one used last is used first, so that a pool shrinks to what it needs. An HTTP/2 connection is shared up to
//! its streams. What exists is bounded by `max_connections`; beyond it requests wait in line, each for the
//! first thing that comes free. Until it is known what an endpoint speaks, and for HTTP/2 always, one request
//! connects and the others wait.
//!
//! Nothing that can close a connection is dropped under the lock: its [`Slot`] takes the lock again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{self, Instant};

use super::connection::{Exclusive, MAX_STREAMS, Shared};
use super::grant::{Checkout, Dial, Flight, Grant, Need, Slot, Stream};

/// Requests that may wait for a connection to one endpoint; admission's queue is the one users set.
const MAX_WAITERS: usize = 1024;

/// The connections of one endpoint.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    max_connections: usize,
    idle_timeout: Duration,
}

/// What an endpoint speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// The first TLS handshake will tell (ALPN).
    Unknown,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

#[derive(Debug)]
struct State {
    /// Slots taken: sockets that are open or being opened.
    open: usize,
    /// Oldest first.
    idle: Vec<Idle>,
    shared: Vec<Sharing>,
    speaks: Speaks,
    /// Somebody connects, and others wait to learn or to share the outcome.
    dialing: bool,
    waiters: VecDeque<Waiter>,
    next_id: u64,
}

#[derive(Debug)]
struct Idle {
    connection: Exclusive,
    since: Instant,
}

#[derive(Debug)]
struct Sharing {
    id: u64,
    connection: Shared,
    streams: usize,
    since: Instant,
}

#[derive(Debug)]
struct Waiter {
    need: Need,
    grant: oneshot::Sender<Grant>,
}

/// What was taken out under the lock, to be dropped after it.
#[derive(Debug, Default)]
struct Doomed(Vec<Exclusive>, Vec<Shared>, Vec<Grant>);

impl Pool {
    /// An empty pool.
    pub(super) fn new(max_connections: usize, idle_timeout: Duration, speaks: Speaks) -> Self {
        let state = State {
            open: 0,
            idle: Vec::new(),
            shared: Vec::new(),
            speaks,
            dialing: false,
            waiters: VecDeque::new(),
            next_id: 0,
        };
        Self { state: Mutex::new(state), max_connections, idle_timeout }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something to send a request on, or a place in line.
    pub(super) fn checkout(self: &Arc<Self>, need: Need, now: Instant) -> Checkout {
        let mut doomed = Doomed::default();
        let mut state = self.lock();
        // Whoever is in line goes first; what there was for them has been served already.
        let grant =
            if state.waiters.is_empty() { self.assign(&mut state, need, now, &mut doomed) } else { None };
        let checkout = match grant {
            Some(grant) => Checkout::Now(grant),
            None => state.wait(need),
        };
        drop(state);
        drop(doomed);
        checkout
    }

    /// Takes back a connection whose exchange ended cleanly.
    pub(super) fn check_in(self: &Arc<Self>, connection: Exclusive, now: Instant) {
        if connection.is_closed() {
            return;
        }
        self.change_at(now, |state| state.idle.push(Idle { connection, since: now }));
    }

    /// A socket is closed.
    pub(super) fn slot_freed(self: &Arc<Self>) {
        self.change(|state| state.open = state.open.saturating_sub(1));
    }

    /// An attempt to connect that others waited for is over.
    pub(super) fn flight_ended(self: &Arc<Self>) {
        self.change(|state| state.dialing = false);
    }

    /// A stream of a shared connection has ended.
    pub(super) fn stream_ended(self: &Arc<Self>, id: u64) {
        let now = clock::instant();
        self.change_at(now, |state| {
            if let Some(sharing) = state.shared.iter_mut().find(|sharing| sharing.id == id) {
                sharing.streams = sharing.streams.saturating_sub(1);
                sharing.since = now;
            }
        });
    }

    /// Adds a connection that others may share, and takes its first stream.
    pub(super) fn share(self: &Arc<Self>, connection: Shared, now: Instant) -> Stream {
        let mut state = self.lock();
        state.speaks = Speaks::Http2;
        let id = state.next_id;
        state.next_id += 1;
        state.shared.push(Sharing { id, connection: connection.clone(), streams: 1, since: now });
        drop(state);
        Stream::new(self, id, connection)
    }

    /// How many streams another connection will probably allow.
    pub(super) fn expected_streams(&self) -> usize {
        self.lock().shared.last().map_or(MAX_STREAMS, |sharing| sharing.connection.max_streams())
    }

    /// Learns that the endpoint speaks HTTP/1.1, so that nobody waits to share a connection.
    pub(super) fn learn_http1(self: &Arc<Self>) {
        self.change(|state| state.speaks = Speaks::Http1);
    }

    /// Closes what has been idle for too long and forgets what is closed.
    pub(super) fn sweep(self: &Arc<Self>, now: Instant) {
        let mut doomed = Doomed::default();
        let mut state = self.lock();
        let fresh = state.idle.partition_point(|idle| self.is_expired(idle.since, now));
        doomed.0.extend(state.idle.drain(..fresh).map(|idle| idle.connection));
        doomed.0.extend(
            state.idle.extract_if(.., |idle| idle.connection.is_closed()).map(|idle| idle.connection),
        );
        let gone = state.shared.extract_if(.., |sharing| {
            sharing.connection.is_closed() || (sharing.streams == 0 && self.is_expired(sharing.since, now))
        });
        doomed.1.extend(gone.map(|sharing| sharing.connection));
        state.waiters.retain(|waiter| !waiter.grant.is_closed());
        self.serve(&mut state, now, &mut doomed);
        drop(state);
        drop(doomed);
    }

    /// Whether no more connections may be made.
    pub(super) fn is_full(&self) -> bool {
        self.lock().open >= self.max_connections
    }

    /// How many sockets are open or being opened, and how many of them are idle.
    pub(super) fn count(&self) -> (usize, usize) {
        let state = self.lock();
        (state.open, state.idle_count())
    }

    fn is_expired(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) >= self.idle_timeout
    }

    /// Changes something that may let those in line go on.
    fn change(self: &Arc<Self>, change: impl FnOnce(&mut State)) {
        self.change_at(clock::instant(), change);
    }

    fn change_at(self: &Arc<Self>, now: Instant, change: impl FnOnce(&mut State)) {
        let mut doomed = Doomed::default();
        let mut state = self.lock();
        change(&mut state);
        self.serve(&mut state, now, &mut doomed);
        drop(state);
        drop(doomed);
    }

    /// Gives those in line what there is, in their order.
    fn serve(self: &Arc<Self>, state: &mut State, now: Instant, doomed: &mut Doomed) {
        while let Some(waiter) = state.waiters.pop_front() {
            if waiter.grant.is_closed() {
                continue;
            }
            match self.assign(state, waiter.need, now, doomed) {
                None => {
                    state.waiters.push_front(waiter);
                    return;
                }
                Some(grant) => {
                    if let Err(unwanted) = waiter.grant.send(grant) {
                        doomed.2.push(unwanted);
                    }
                }
            }
        }
    }

    /// The best there is now for such a request.
    fn assign(
        self: &Arc<Self>,
        state: &mut State,
        need: Need,
        now: Instant,
        doomed: &mut Doomed,
    ) -> Option<Grant> {
        if need != Need::Fresh
            && let Some(connection) = self.take_idle(state, now, doomed)
        {
            return Some(Grant::Exclusive(connection));
        }
        if need != Need::Http1
            && let Some(sharing) = state.shared.iter_mut().find(|sharing| sharing.has_room())
        {
            sharing.streams += 1;
            let (id, connection) = (sharing.id, sharing.connection.clone());
            return Some(Grant::Stream(Stream::new(self, id, connection)));
        }
        let alone = need != Need::Http1 && state.speaks != Speaks::Http1;
        if alone && state.dialing {
            return None;
        }
        if state.open >= self.max_connections {
            // An idle connection that does not serve makes room for one that does; its socket's end serves
            // the line.
            if !state.idle.is_empty() {
                doomed.0.push(state.idle.remove(0).connection);
            }
            return None;
        }
        state.open += 1;
        state.dialing |= alone;
        Some(Grant::Dial(Dial { slot: Slot::new(self), flight: alone.then(|| Flight::new(self)) }))
    }

    /// The idle connection used last that can be used now. One that its driver has not finished with yet
    /// comes last: it is nearly ready, or about to close.
    fn take_idle(&self, state: &mut State, now: Instant, doomed: &mut Doomed) -> Option<Exclusive> {
        let mut settling = None;
        let mut index = state.idle.len();
        while let Some(idle) = index.checked_sub(1).and_then(|last| state.idle.get(last)) {
            index -= 1;
            if self.is_expired(idle.since, now) {
                doomed.0.extend(state.idle.drain(..=index).map(|idle| idle.connection));
                settling = settling.and_then(|at: usize| at.checked_sub(index + 1));
                break;
            }
            if idle.connection.is_ready() {
                return Some(state.idle.remove(index).connection);
            }
            if idle.connection.is_closed() {
                doomed.0.push(state.idle.remove(index).connection);
                settling = settling.and_then(|at: usize| at.checked_sub(1));
            } else {
                settling = settling.or(Some(index));
            }
        }
        settling.map(|index| state.idle.remove(index).connection)
    }
}

impl State {
    fn wait(&mut self, need: Need) -> Checkout {
        if self.waiters.len() >= MAX_WAITERS {
            self.waiters.retain(|waiter| !waiter.grant.is_closed());
        }
        if self.waiters.len() >= MAX_WAITERS {
            return Checkout::Full;
        }
        let (grant, granted) = oneshot::channel();
        self.waiters.push_back(Waiter { need, grant });
        Checkout::Wait(granted)
    }

    /// Idle connections whose sockets are still open, as far as the numbers tell.
    fn idle_count(&self) -> usize {
        let unused = self.shared.iter().filter(|sharing| sharing.streams == 0).count();
        (self.idle.len() + unused).min(self.open)
    }
}

impl Sharing {
    fn has_room(&self) -> bool {
        self.streams < self.connection.max_streams() && !self.connection.is_closed()
    }
}
