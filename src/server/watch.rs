//! One watchman for all downstream connections: it ends those that are silent, slow or no longer wanted.
//!
//! A connection keeps a few relaxed atomics that say what it is doing and since which tick; the watchman's
//! task reads them every [`TICK`]. So a connection has no timer of its own: a request costs no clock reading
//! and no trip to the timer wheel, ten thousand idle connections cost no timers, and every timeout is right
//! to within two ticks.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Waker;
use std::time::Duration;

/// How often the watchman looks.
pub const TICK: Duration = Duration::from_millis(100);

/// After how many ticks an idle connection rests: soon, so that a crowd of clients that ask once and stay
/// does not cost their buffers, and seldom enough not to cost those that ask again.
const REST: u32 = 2;

/// The timeouts of a listener's connections, in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A new connection's first byte, and from a head's first byte to its end.
    pub head: u32,
    /// Between two requests.
    pub idle: u32,
    /// Without progress of a write.
    pub write: u32,
}

impl Timeouts {
    /// From durations, rounded up: a timeout is never shorter than asked for.
    pub fn new(head: Duration, idle: Duration, write: Duration) -> Self {
        Self { head: ticks(head), idle: ticks(idle), write: ticks(write) }
    }
}

fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX).saturating_add(1)
}

/// Tells the listeners of a process apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerId(pub u64);

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Nothing has been read yet.
    New = 0,
    /// Part of a head has been read.
    Head = 1,
    /// A request is being served.
    Busy = 2,
    /// The last request has been answered, the next one not begun.
    Idle = 3,
}

/// What the watchman wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Order {
    /// Go on.
    None = 0,
    /// Finish what is in flight, take nothing new.
    Drain = 1,
    /// The head took too long: say so and end.
    HeadTimeout = 2,
    /// End without a word.
    End = 3,
}

/// What is known of one connection, shared by its IO, its service and the watchman.
#[derive(Debug)]
pub struct Watched {
    watch: Arc<Shared>,
    timeouts: Timeouts,
    listener: ListenerId,
    phase: AtomicU8,
    in_flight: AtomicU32,
    since: AtomicU32,
    /// The tick at which a write first made no progress, plus one; 0 while writes go through.
    blocked: AtomicU32,
    order: AtomicU8,
    http2: AtomicBool,
    cut: AtomicBool,
    handed_over: AtomicBool,
    told: AtomicBool,
    /// Whether the last request had a body.
    body: AtomicBool,
    /// Whether the connection should free what it does not need while it is idle.
    rest: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Watched {
    /// What the connection is doing.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::New,
            1 => Phase::Head,
            2 => Phase::Busy,
            _ => Phase::Idle,
        }
    }

    fn enter(&self, phase: Phase) {
        self.since.store(self.watch.tick(), Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
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

    /// A head is complete; a body may follow.
    pub fn request_begins(&self, body: bool) {
        self.body.store(body, Ordering::Relaxed);
        if self.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            self.phase.store(Phase::Busy as u8, Ordering::Relaxed);
        }
    }

    /// A response has ended, or its request was given up.
    pub fn request_ends(&self) {
        if self.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    /// A write made progress, or did not.
    pub fn wrote(&self, progress: bool) {
        self.flushed(progress);
        // A body that was in memory has ended for us long before the client has it.
        if progress && self.phase() == Phase::Idle {
            self.since.store(self.watch.tick(), Ordering::Relaxed);
        }
    }

    /// All that was written has gone, or some of it has not.
    pub fn flushed(&self, all: bool) {
        let blocked = self.blocked.load(Ordering::Relaxed);
        if all {
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

    /// The client was told that its head took too long.
    pub fn told_of_timeout(&self) {
        self.told.store(true, Ordering::Relaxed);
    }

    /// Whether the client was told that its head took too long.
    pub fn was_told_of_timeout(&self) -> bool {
        self.told.load(Ordering::Relaxed)
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
        match self.order.load(Ordering::Relaxed) {
            0 => Order::None,
            1 => Order::Drain,
            2 => Order::HeadTimeout,
            _ => Order::End,
        }
    }

    /// Says which task to wake when there is an order.
    pub fn register(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn give(&self, order: Order) {
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

    /// Whether the connection should rest now: it is idle, and has been for a while. Says so once.
    pub fn takes_rest(&self) -> bool {
        self.rest.load(Ordering::Relaxed) && self.rest.swap(false, Ordering::Relaxed) && self.is_at_rest()
    }

    /// Whether nothing is being read, served or written. After a body one cannot know from here: an answer
    /// may have ended before the client has sent all of it.
    fn is_at_rest(&self) -> bool {
        self.phase() == Phase::Idle
            && !self.body.load(Ordering::Relaxed)
            && self.in_flight.load(Ordering::Relaxed) == 0
            && self.blocked.load(Ordering::Relaxed) == 0
            && !self.is_handed_over()
    }

    /// Suggests a rest, once in each pause between two requests. HTTP/2 has state that must be kept.
    fn suggest_rest(&self, tick: u32) {
        let passed = tick.wrapping_sub(self.since.load(Ordering::Relaxed));
        if passed == REST && self.is_at_rest() && !self.http2.load(Ordering::Relaxed) {
            self.rest.store(true, Ordering::Relaxed);
            self.wake();
        }
    }

    /// What is overdue at `tick`, if anything.
    fn overdue(&self, tick: u32) -> Option<Order> {
        let blocked = self.blocked.load(Ordering::Relaxed);
        if blocked != 0 && tick.wrapping_sub(blocked - 1) > self.timeouts.write {
            return Some(Order::End);
        }
        // On HTTP/2 one request may end while another begins, on two threads: the phase is then the wrong
        // one.
        if self.in_flight.load(Ordering::Relaxed) > 0 || self.is_handed_over() {
            return None;
        }
        let Timeouts { head, idle, .. } = self.timeouts;
        let passed = tick.wrapping_sub(self.since.load(Ordering::Relaxed));
        match self.phase() {
            Phase::New if passed > head => Some(Order::End),
            Phase::Head if passed > head => Some(Order::HeadTimeout),
            // Not a plain end: a request that is on its way meets a connection that says it closes. HTTP/2
            // waits for the client to acknowledge that, but not for ever.
            Phase::Idle if passed > idle.saturating_add(head) => Some(Order::End),
            Phase::Idle if passed > idle => Some(Order::Drain),
            Phase::New | Phase::Head | Phase::Busy | Phase::Idle => None,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    now: AtomicU32,
    draining: AtomicBool,
    connections: Mutex<Vec<Weak<Watched>>>,
}

impl Shared {
    fn tick(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    fn live(&self) -> Vec<Arc<Watched>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.strong_count() > 0);
        connections.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The watchman.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// Takes a new connection into the watch, for as long as the returned value is kept.
    pub fn enlist(&self, timeouts: Timeouts, listener: ListenerId) -> Arc<Watched> {
        let watched = Arc::new(Watched {
            watch: self.0.clone(),
            timeouts,
            listener,
            phase: AtomicU8::new(Phase::New as u8),
            in_flight: AtomicU32::new(0),
            since: AtomicU32::new(self.0.tick()),
            blocked: AtomicU32::new(0),
            order: AtomicU8::new(Order::None as u8),
            http2: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            handed_over: AtomicBool::new(false),
            told: AtomicBool::new(false),
            body: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            waker: Mutex::new(None),
        });
        let mut connections = self.0.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Arc::downgrade(&watched));
        drop(connections);
        if self.0.draining.load(Ordering::Acquire) {
            watched.give(Order::Drain);
        }
        watched
    }

    /// Looks once: ends what is overdue.
    pub fn look(&self) {
        let tick = self.0.now.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        for connection in self.0.live() {
            connection.suggest_rest(tick);
            if let Some(order) = connection.overdue(tick) {
                connection.give(order);
            }
        }
    }

    /// Looks every [`TICK`], for ever.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            self.look();
        }
    }

    /// Tells every connection, and each that comes, to finish what is in flight.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
        for connection in self.0.live() {
            connection.give(Order::Drain);
        }
    }

    /// Tells the connections of one listener to finish what is in flight.
    pub fn drain_listener(&self, listener: ListenerId) {
        for connection in self.0.live().iter().filter(|connection| connection.listener == listener) {
            connection.give(Order::Drain);
        }
    }

    /// Ends every connection now.
    pub fn end(&self) {
        for connection in self.0.live() {
            connection.give(Order::End);
        }
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.0.live().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUTS: Timeouts = Timeouts { head: 2, idle: 4, write: 3 };

    fn look(watch: &Watch, times: u32) {
        for _ in 0..times {
            watch.look();
        }
    }

    #[test]
    fn each_phase_has_its_timeout() {
        for (phase, ticks, order) in [
            (Phase::New, TIMEOUTS.head, Order::End),
            (Phase::Head, TIMEOUTS.head, Order::HeadTimeout),
            (Phase::Idle, TIMEOUTS.idle, Order::Drain),
            (Phase::Idle, TIMEOUTS.idle + TIMEOUTS.head, Order::End),
        ] {
            let watch = Watch::default();
            let watched = watch.enlist(TIMEOUTS, ListenerId(0));
            watched.enter(phase);
            look(&watch, ticks);
            assert!(watched.order() < order, "{phase:?}");
            look(&watch, 1);
            assert_eq!(watched.order(), order, "{phase:?}");
        }
    }

    #[test]
    fn a_connection_rests_once_in_a_pause() {
        let rests = |prepare: fn(&Watched)| {
            let watch = Watch::default();
            let timeouts = Timeouts { head: 50, idle: 50, write: 50 };
            let watched = watch.enlist(timeouts, ListenerId(0));
            watched.bytes_read();
            watched.request_begins(false);
            watched.request_ends();
            prepare(&watched);
            (0..20)
                .filter(|_| {
                    watch.look();
                    watched.takes_rest()
                })
                .count()
        };
        assert_eq!(rests(|_| {}), 1);
        assert_eq!(rests(|watched| watched.request_begins(false)), 0);
        assert_eq!(
            rests(|watched| {
                watched.request_begins(true);
                watched.request_ends();
            }),
            0
        );
        assert_eq!(rests(Watched::bytes_read), 0);
        assert_eq!(rests(|watched| watched.flushed(false)), 0);
        assert_eq!(rests(Watched::hand_over), 0);
        assert_eq!(rests(Watched::speaks_http2), 0);
    }

    #[test]
    fn a_request_in_flight_is_never_idle() {
        let watch = Watch::default();
        let watched = watch.enlist(TIMEOUTS, ListenerId(0));
        watched.bytes_read();
        watched.request_begins(false);
        look(&watch, 100);
        assert_eq!(watched.order(), Order::None);
        watched.request_begins(false);
        watched.request_ends();
        assert_eq!(watched.phase(), Phase::Busy);
        watched.request_ends();
        assert_eq!(watched.phase(), Phase::Idle);
    }

    /// What a WebSocket's client sends is no head.
    #[test]
    fn a_tunnel_is_not_timed() {
        let watch = Watch::default();
        let watched = watch.enlist(TIMEOUTS, ListenerId(0));
        watched.bytes_read();
        watched.request_begins(false);
        watched.hand_over();
        watched.request_ends();
        watched.bytes_read();
        look(&watch, 100);
        assert_eq!(watched.order(), Order::None);
    }

    /// RFC 9113 §6.7, §6.5.3: a client may say things that are no request.
    #[test]
    fn on_http2_bytes_begin_no_head() {
        let watch = Watch::default();
        let watched = watch.enlist(TIMEOUTS, ListenerId(0));
        watched.speaks_http2();
        watched.bytes_read();
        assert_eq!(watched.phase(), Phase::Idle);
        watched.request_begins(false);
        watched.request_ends();
        look(&watch, TIMEOUTS.idle);
        watched.bytes_read();
        assert_eq!(watched.order(), Order::None);
        look(&watch, 1);
        assert_eq!(watched.order(), Order::Drain);
    }

    #[test]
    fn a_response_that_is_still_being_written_is_not_idle() {
        let watch = Watch::default();
        let watched = watch.enlist(TIMEOUTS, ListenerId(0));
        watched.request_begins(false);
        watched.request_ends();
        look(&watch, TIMEOUTS.idle);
        watched.wrote(true);
        look(&watch, TIMEOUTS.idle);
        assert_eq!(watched.order(), Order::None);
    }

    #[test]
    fn a_blocked_write_ends_the_connection() {
        let watch = Watch::default();
        let watched = watch.enlist(TIMEOUTS, ListenerId(0));
        watched.request_begins(false);
        watched.wrote(false);
        look(&watch, 2);
        watched.wrote(true);
        look(&watch, 3);
        assert_eq!(watched.order(), Order::None);
        watched.wrote(false);
        look(&watch, 4);
        assert_eq!(watched.order(), Order::End);
    }

    #[test]
    fn a_connection_that_comes_while_draining_is_told() {
        let watch = Watch::default();
        let before = watch.enlist(TIMEOUTS, ListenerId(0));
        watch.drain();
        assert_eq!(before.order(), Order::Drain);
        assert_eq!(watch.enlist(TIMEOUTS, ListenerId(0)).order(), Order::Drain);
        watch.end();
        assert_eq!(before.order(), Order::End);
    }

    #[test]
    fn one_listener_is_drained_alone() {
        let watch = Watch::default();
        let connections = [0, 1].map(|id| watch.enlist(TIMEOUTS, ListenerId(id)));
        watch.drain_listener(ListenerId(1));
        assert_eq!(connections.map(|connection| connection.order()), [Order::None, Order::Drain]);
    }
}
