//! What is known of one connection: what it is doing and since when, and what is wanted of it.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use super::phase::{Order, Phase};
use super::watch::{Limits, ListenerId, Shared, TICK};

/// After how many ticks a connection rests that is idle, or whose client takes its time over a head: soon, so
/// that a crowd of them does not cost their buffers, and seldom enough not to cost those that ask again.
const REST: u32 = 2;

/// For how many ticks a connection that is to end waits for a request that may be on its way: two seconds.
const GRACE: u32 = 20;

/// How many ticks a client may be slower than [`Limits::rate`]: ten seconds.
const SLOW_TICKS: u32 = 100;

/// One request, among those that were begun ([`Watched::requests`]).
const BEGUN: u64 = 1 << 32;

/// What is known of one connection, shared by its IO, its service and the watchman.
#[derive(Debug)]
pub struct Watched {
    watch: Arc<Shared>,
    limits: Limits,
    pub(super) listener: ListenerId,
    /// The tick at which it came.
    born: u32,
    phase: AtomicU8,
    /// How many requests have begun, and in the lower half how many are in flight.
    requests: AtomicU64,
    /// Whether all that was to be said about those that have begun has been written.
    quiet: AtomicBool,
    since: AtomicU32,
    /// The tick at which a write first made no progress, plus one; 0 while writes go through.
    blocked: AtomicU32,
    /// At how many ticks in a row the client had yet to take something, and how many bytes it took.
    slow_ticks: AtomicU32,
    slow_bytes: AtomicU64,
    /// The tick at which a head began that is not complete, plus one; 0 while there is none. On HTTP/1 the
    /// phase says so.
    head: AtomicU32,
    order: AtomicU8,
    http2: AtomicBool,
    cut: AtomicBool,
    handed_over: AtomicBool,
    told: AtomicBool,
    /// Whether no more is to be written.
    closing: AtomicBool,
    /// Whether the last request had a body.
    body: AtomicBool,
    /// The number of the request some of whose body has yet to come, on HTTP/1; 0 where there is none.
    within_body: AtomicU32,
    /// Whether the connection should free what it does not need, if it can.
    rest: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Watched {
    pub(super) fn new(watch: Arc<Shared>, limits: Limits, listener: ListenerId) -> Self {
        let now = watch.tick();
        Self {
            watch,
            limits,
            listener,
            born: now,
            phase: AtomicU8::new(Phase::New as u8),
            requests: AtomicU64::new(0),
            quiet: AtomicBool::new(true),
            since: AtomicU32::new(now),
            blocked: AtomicU32::new(0),
            slow_ticks: AtomicU32::new(0),
            slow_bytes: AtomicU64::new(0),
            head: AtomicU32::new(0),
            order: AtomicU8::new(Order::None as u8),
            http2: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            told: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            body: AtomicBool::new(false),
            within_body: AtomicU32::new(0),
            rest: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// What the connection is doing.
    pub fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Ordering::Relaxed))
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.since.store(self.watch.tick(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// The watchman's tick.
    pub fn tick(&self) -> u32 {
        self.watch.tick()
    }

    /// The connection speaks HTTP/2.
    pub fn speaks_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Bytes were read: where no request is in flight they begin a head. On HTTP/2 they may just as well be a
    /// `PING` or an answer to our settings, so there only the first ones count: the client is not silent.
    pub fn bytes_read(&self) {
        match (self.phase(), self.http2.load(Ordering::Relaxed)) {
            (Phase::New | Phase::Idle, false) => self.enter(Phase::Head),
            (Phase::New, true) => self.enter(Phase::Idle),
            (Phase::Head | Phase::Busy, _) | (Phase::Idle, true) => {}
        }
    }

    /// Whether a head has begun, among HTTP/2 frames, and is not complete.
    pub fn head_is_open(&self, open: bool) {
        let since = self.head.load(Ordering::Relaxed);
        if open != (since != 0) {
            let now = self.watch.tick().wrapping_add(1).max(1);
            self.head.store(if open { now } else { 0 }, Ordering::Relaxed);
        }
    }

    /// A head is complete; a body may follow. Returns how many there were, this one included.
    pub fn request_begins(&self, body: bool) -> u32 {
        self.body.store(body, Ordering::Relaxed);
        self.quiet.store(false, Ordering::Relaxed);
        let before = self.requests.fetch_add(BEGUN + 1, Ordering::Relaxed);
        if in_flight(before) == 0 {
            self.phase.store(Phase::Busy as u8, Ordering::Relaxed);
        }
        begun(before).wrapping_add(1)
    }

    /// On HTTP/1, what has come ends within the body of the request of this number, if of any.
    pub fn ends_within_body(&self, of: Option<u32>) {
        self.within_body.store(of.unwrap_or(0), Ordering::Relaxed);
    }

    /// Whether some of the body of the request of this number has yet to come.
    pub fn awaits_body(&self, of: u32) -> bool {
        self.within_body.load(Ordering::Relaxed) == of
    }

    /// A response has ended, or its request was given up.
    pub fn request_ends(&self) {
        if in_flight(self.requests.fetch_sub(1, Ordering::Relaxed)) == 1 {
            self.enter(Phase::Idle);
        }
    }

    fn in_flight(&self) -> u32 {
        in_flight(self.requests.load(Ordering::Relaxed))
    }

    /// Whether everything about this many requests has been said, and nothing about another one begun.
    pub fn is_quiet_after(&self, requests: u32) -> bool {
        self.is_quiet() && begun(self.requests.load(Ordering::Relaxed)) == requests
    }

    /// Whether no request is in flight and all that was written has gone. What is written next is said
    /// without having been asked.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// A write took so many bytes, or none now.
    pub fn wrote(&self, written: Option<usize>) {
        self.blocked(written.is_none());
        let Some(written) = written else { return };
        if self.slow_ticks.load(Ordering::Relaxed) != 0 {
            self.slow_bytes.fetch_add(written as u64, Ordering::Relaxed);
        }
        // A body that was in memory has ended for us long before the client has it.
        if self.phase() == Phase::Idle {
            self.since.store(self.watch.tick(), Ordering::Relaxed);
        }
    }

    /// All that was written has gone, or some of it has not.
    pub fn flushed(&self, all: bool) {
        self.blocked(!all);
        if all && !self.is_quiet() && self.in_flight() == 0 {
            self.quiet.store(true, Ordering::Relaxed);
        }
    }

    fn blocked(&self, now: bool) {
        let blocked = self.blocked.load(Ordering::Relaxed);
        if !now {
            if blocked != 0 {
                self.blocked.store(0, Ordering::Relaxed);
            }
        } else if blocked == 0 {
            self.blocked.store(self.watch.tick().wrapping_add(1).max(1), Ordering::Relaxed);
        }
    }

    /// A response could not be finished: the connection must not end as if it had been.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// The client was told what is wrong with its head.
    pub fn told(&self) {
        self.told.store(true, Ordering::Relaxed);
    }

    /// Whether the client was told what is wrong with its head.
    pub fn was_told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    /// All has been said: what the client still sends is not answered.
    pub fn closes(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether all has been said.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Whether a response could not be finished.
    pub fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Relaxed)
    }

    /// The connection becomes a tunnel: it has a timeout of its own, and a direction that ends is not the end
    /// of the other.
    pub fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Relaxed);
    }

    /// Whether the connection has become a tunnel.
    pub fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// What the watchman wants.
    pub fn order(&self) -> Order {
        Order::of(self.order.load(Ordering::Relaxed))
    }

    /// Says which task to wake when there is an order.
    pub fn register(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// Gives an order, unless there is a stronger one.
    pub fn give(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.wake();
        }
    }

    /// Has the connection's task look around.
    pub fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the connection should rest now: it is idle, or in the middle of a head, and has been for a
    /// while. Says so once.
    pub fn takes_rest(&self) -> bool {
        self.rest.load(Ordering::Relaxed) && self.rest.swap(false, Ordering::Relaxed) && self.is_at_rest()
    }

    /// Whether nothing is being read, served or written. After a body one cannot know from here: an answer
    /// may have ended before the client has sent all of it.
    fn is_at_rest(&self) -> bool {
        let waits = match self.phase() {
            Phase::Idle => true,
            Phase::Head => self.is_quiet(),
            Phase::New | Phase::Busy => false,
        };
        waits
            && !self.body.load(Ordering::Relaxed)
            && self.in_flight() == 0
            && self.blocked.load(Ordering::Relaxed) == 0
            && !self.is_handed_over()
            && !self.closing.load(Ordering::Relaxed)
    }

    /// Whether a connection that is to end may be told so now. What a client has sent before it knew is
    /// answered: the first request of a new connection, and the next one of a connection that has just been
    /// used, for the head of its last response may not have said that there is no other. HTTP/2 says itself
    /// which requests it has taken (RFC 9113 §6.8), once there was one.
    pub fn may_end(&self) -> bool {
        let passed = self.watch.tick().wrapping_sub(self.since.load(Ordering::Relaxed));
        let begun = begun(self.requests.load(Ordering::Relaxed)) > 0;
        match self.phase() {
            Phase::Busy | Phase::Idle if begun && self.http2.load(Ordering::Relaxed) => true,
            Phase::New | Phase::Idle => passed >= GRACE.min(self.limits.idle),
            // Its answer says that it is the last.
            Phase::Head | Phase::Busy => false,
        }
    }

    /// Looks at the connection, once a tick: gives an order if it takes too long over something.
    pub(super) fn look(&self, tick: u32) {
        if self.order() == Order::Drain && self.in_flight() == 0 && self.may_end() {
            self.wake();
        }
        self.suggest_rest(tick);
        self.time_reader();
        if let Some(order) = self.overdue(tick) {
            self.give(order);
        }
    }

    /// Suggests a rest, once in each pause between two requests and once in each head. HTTP/2 has state that
    /// must be kept.
    fn suggest_rest(&self, tick: u32) {
        let passed = tick.wrapping_sub(self.since.load(Ordering::Relaxed));
        if passed == REST && self.is_at_rest() && !self.http2.load(Ordering::Relaxed) {
            self.rest.store(true, Ordering::Relaxed);
            self.wake();
        }
    }

    /// Counts for how long the client has had something to take. One that is never seen to have taken it all
    /// is what is slow, and not the origin.
    fn time_reader(&self) {
        let slow = self.slow_ticks.load(Ordering::Relaxed);
        if self.blocked.load(Ordering::Relaxed) != 0 {
            self.slow_ticks.store(slow.saturating_add(1), Ordering::Relaxed);
        } else if slow != 0 {
            self.slow_ticks.store(0, Ordering::Relaxed);
            self.slow_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the client takes less than it must.
    fn is_slow_reader(&self) -> bool {
        let ticks = self.slow_ticks.load(Ordering::Relaxed);
        let due = u64::from(ticks) * self.limits.rate / TICKS_A_SECOND;
        ticks > SLOW_TICKS && self.slow_bytes.load(Ordering::Relaxed) < due
    }

    /// What is overdue at `tick`, if anything.
    fn overdue(&self, tick: u32) -> Option<Order> {
        let Limits { head, idle, write, age, .. } = self.limits;
        let blocked = self.blocked.load(Ordering::Relaxed);
        if blocked != 0 && tick.wrapping_sub(blocked - 1) > write || self.is_slow_reader() {
            return Some(Order::End);
        }
        let head_since = self.head.load(Ordering::Relaxed);
        if head_since != 0 && tick.wrapping_sub(head_since - 1) > head {
            return Some(Order::End);
        }
        if self.is_handed_over() {
            return None;
        }
        let old = (tick.wrapping_sub(self.born) > age).then_some(Order::Drain);
        // On HTTP/2 one request may end while another begins, on two threads: the phase is then the wrong
        // one.
        if self.in_flight() > 0 {
            return old;
        }
        let passed = tick.wrapping_sub(self.since.load(Ordering::Relaxed));
        match self.phase() {
            Phase::New if passed > head => Some(Order::End),
            Phase::Head if passed > head => Some(Order::HeadTimeout),
            // Not a plain end: a request that is on its way meets a connection that says it closes. HTTP/2
            // waits for the client to acknowledge that, but not for ever.
            Phase::Idle if passed > idle.saturating_add(head) => Some(Order::End),
            Phase::Idle if passed > idle => Some(Order::Drain),
            Phase::New | Phase::Head => None,
            Phase::Busy | Phase::Idle => old,
        }
    }
}

const TICKS_A_SECOND: u64 = 1000 / TICK.as_millis() as u64;

const fn in_flight(requests: u64) -> u32 {
    (requests & (BEGUN - 1)) as u32
}

const fn begun(requests: u64) -> u32 {
    (requests >> 32) as u32
}
