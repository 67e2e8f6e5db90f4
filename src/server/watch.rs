//! One watchman for all downstream connections: it ends those that are silent, slow, old or no longer wanted.
//!
//! A connection keeps a few relaxed atomics that say what it is doing and since which tick; the watchman's
//! task reads them every [`TICK`]. So a connection has no timer of its own: a request costs no clock reading
//! and no trip to the timer wheel, ten thousand idle connections cost no timers, and every timeout is right
//! to within two ticks.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::plan::ServerPlan;

pub use super::phase::{Order, Phase};
pub use super::watched::Watched;

/// How often the watchman looks.
pub const TICK: Duration = Duration::from_millis(100);

/// How long a listener's connections may take over things, in ticks, and how fast they must be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A new connection's first byte, and from a head's first byte to its end.
    pub head: u32,
    /// Between two requests.
    pub idle: u32,
    /// Without progress of a write.
    pub write: u32,
    /// From the connection's beginning until it takes no more requests.
    pub age: u32,
    /// The least bytes a second that a client takes of what we have for it.
    pub rate: u64,
}

impl Limits {
    /// From durations, rounded up: a timeout is never shorter than asked for.
    pub fn new(server: &ServerPlan) -> Self {
        Self {
            head: ticks(server.header_timeout),
            idle: ticks(server.idle_timeout),
            write: ticks(server.write_timeout),
            age: ticks(server.max_connection_age),
            rate: server.min_rate,
        }
    }

    /// The same for one connection: those that came together do not all end together, and come again.
    fn of_one(self) -> Self {
        Self { age: self.age.saturating_add(fastrand::u32(0..=self.age / 10)), ..self }
    }
}

fn ticks(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX).saturating_add(1)
}

/// Tells the listeners of a process apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerId(pub u64);

#[derive(Debug, Default)]
pub(super) struct Shared {
    now: AtomicU32,
    draining: AtomicBool,
    connections: Mutex<Vec<Weak<Watched>>>,
}

impl Shared {
    pub(super) fn tick(&self) -> u32 {
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
    pub fn enlist(&self, limits: Limits, listener: ListenerId) -> Arc<Watched> {
        let watched = Arc::new(Watched::new(self.0.clone(), limits.of_one(), listener));
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
            connection.look(tick);
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

    const LIMITS: Limits = Limits { head: 2, idle: 4, write: 3, age: 1_000_000, rate: 0 };

    fn look(watch: &Watch, times: u32) {
        for _ in 0..times {
            watch.look();
        }
    }

    #[test]
    fn each_phase_has_its_timeout() {
        for (phase, ticks, order) in [
            (Phase::New, LIMITS.head, Order::End),
            (Phase::Head, LIMITS.head, Order::HeadTimeout),
            (Phase::Idle, LIMITS.idle, Order::Drain),
            (Phase::Idle, LIMITS.idle + LIMITS.head, Order::End),
        ] {
            let watch = Watch::default();
            let watched = watch.enlist(LIMITS, ListenerId(0));
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
            let limits = Limits { head: 50, idle: 50, write: 50, age: 1_000_000, rate: 0 };
            let watched = watch.enlist(limits, ListenerId(0));
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
        assert_eq!(
            rests(|watched| {
                watched.request_begins(false);
            }),
            0
        );
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
        let watched = watch.enlist(LIMITS, ListenerId(0));
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
        let watched = watch.enlist(LIMITS, ListenerId(0));
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
        let watched = watch.enlist(LIMITS, ListenerId(0));
        watched.speaks_http2();
        watched.bytes_read();
        assert_eq!(watched.phase(), Phase::Idle);
        watched.request_begins(false);
        watched.request_ends();
        look(&watch, LIMITS.idle);
        watched.bytes_read();
        assert_eq!(watched.order(), Order::None);
        look(&watch, 1);
        assert_eq!(watched.order(), Order::Drain);
    }

    #[test]
    fn a_response_that_is_still_being_written_is_not_idle() {
        let watch = Watch::default();
        let watched = watch.enlist(LIMITS, ListenerId(0));
        watched.request_begins(false);
        watched.request_ends();
        look(&watch, LIMITS.idle);
        watched.wrote(Some(1));
        look(&watch, LIMITS.idle);
        assert_eq!(watched.order(), Order::None);
    }

    #[test]
    fn a_blocked_write_ends_the_connection() {
        let watch = Watch::default();
        let watched = watch.enlist(LIMITS, ListenerId(0));
        watched.request_begins(false);
        watched.wrote(None);
        look(&watch, 2);
        watched.wrote(Some(1));
        look(&watch, 3);
        assert_eq!(watched.order(), Order::None);
        watched.wrote(None);
        look(&watch, 4);
        assert_eq!(watched.order(), Order::End);
    }

    #[test]
    fn a_connection_that_comes_while_draining_is_told() {
        let watch = Watch::default();
        let before = watch.enlist(LIMITS, ListenerId(0));
        watch.drain();
        assert_eq!(before.order(), Order::Drain);
        assert_eq!(watch.enlist(LIMITS, ListenerId(0)).order(), Order::Drain);
        watch.end();
        assert_eq!(before.order(), Order::End);
    }

    /// What a client has sent before it could know is answered (RFC 9112 §9.6 asks no less of it).
    #[test]
    fn a_connection_that_is_to_end_waits_for_what_is_on_its_way() {
        let limits = Limits { head: 1000, idle: 1000, write: 1000, age: 1_000_000, rate: 0 };
        let one_request = |watched: &Watched| {
            watched.bytes_read();
            watched.request_begins(false);
            watched.request_ends();
        };
        // What it has done, and after how many ticks it may end.
        type Case<'a> = (&'a str, &'a dyn Fn(&Watched), Option<u32>);
        let cases: [Case<'_>; 7] = [
            ("new", &|_| {}, Some(20)),
            ("new, HTTP/2", &|watched| watched.speaks_http2(), Some(20)),
            ("used", &one_request, Some(20)),
            ("in a head", &Watched::bytes_read, None),
            ("busy", &|watched| assert_eq!(watched.request_begins(false), 1), None),
            (
                "used, HTTP/2",
                &|watched| {
                    watched.speaks_http2();
                    one_request(watched);
                },
                Some(0),
            ),
            ("new, with a short `idle_timeout`", &|_| {}, Some(5)),
        ];
        for (case, prepare, after) in cases {
            let watch = Watch::default();
            let limits = if case.contains("short") { Limits { idle: 5, ..limits } } else { limits };
            let watched = watch.enlist(limits, ListenerId(0));
            prepare(&watched);
            watch.drain();
            let found = (0..100).find(|_| {
                watched.may_end() || {
                    watch.look();
                    false
                }
            });
            assert_eq!(found, after, "{case}");
        }
    }

    #[test]
    fn one_listener_is_drained_alone() {
        let watch = Watch::default();
        let connections = [0, 1].map(|id| watch.enlist(LIMITS, ListenerId(id)));
        watch.drain_listener(ListenerId(1));
        assert_eq!(connections.map(|connection| connection.order()), [Order::None, Order::Drain]);
    }

    /// A client that takes a little now and then is not blocked for long at a time, and yet too slow.
    #[test]
    fn a_reader_that_takes_too_little_is_ended() {
        // Bytes a second, and whether it is ended at least a while after the grace.
        for (rate, taken, order) in [(10, 0, Order::End), (10, 9, Order::End), (10, 11, Order::None)] {
            let watch = Watch::default();
            let watched = watch.enlist(Limits { write: 1000, rate, ..LIMITS }, ListenerId(0));
            watched.request_begins(false);
            watched.wrote(None);
            for _ in 0..20 {
                assert!(watched.order() <= order, "{taken}");
                look(&watch, 10);
                watched.wrote(Some(taken));
                watched.wrote(None);
            }
            assert_eq!(watched.order(), order, "{taken}");
        }
    }

    /// It is the origin that is slow where the client takes all there is.
    #[test]
    fn a_reader_that_waits_for_us_is_not_slow() {
        let watch = Watch::default();
        let watched = watch.enlist(Limits { rate: 1000, write: 1000, ..LIMITS }, ListenerId(0));
        watched.request_begins(false);
        for _ in 0..20 {
            watched.wrote(None);
            look(&watch, 90);
            watched.wrote(Some(1));
            look(&watch, 1);
        }
        assert_eq!(watched.order(), Order::None);
    }

    #[test]
    fn an_old_connection_takes_no_more_requests() {
        for busy in [false, true] {
            let watch = Watch::default();
            let watched = watch.enlist(Limits { idle: 10_000, age: 100, ..LIMITS }, ListenerId(0));
            watched.request_begins(false);
            if !busy {
                watched.request_ends();
            }
            look(&watch, 100);
            assert_eq!(watched.order(), Order::None);
            look(&watch, 11);
            assert_eq!(watched.order(), Order::Drain);
        }
    }

    #[test]
    fn requests_are_counted_and_told_from_quiet() {
        let watch = Watch::default();
        let watched = watch.enlist(LIMITS, ListenerId(0));
        assert!(watched.is_quiet_after(0));
        assert_eq!(watched.request_begins(false), 1);
        watched.request_ends();
        assert!(!watched.is_quiet(), "it has yet to be written");
        watched.flushed(false);
        assert!(!watched.is_quiet());
        watched.flushed(true);
        assert!(watched.is_quiet_after(1) && !watched.is_quiet_after(2));
        assert_eq!(watched.request_begins(true), 2);
        watched.flushed(true);
        assert!(!watched.is_quiet(), "it is being served");
    }
}
