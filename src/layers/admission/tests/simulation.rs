//! An origin, gateways and clients on virtual time: what the limit does over minutes, in milliseconds.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use crate::clock;
use crate::layers::admission::adaptive::{Adaptive, Bounds, Outcome, Sample};

const SEEDS: [u64; 5] = [1, 3, 8, 13, 34];
const PATIENCE: f64 = 1.0;
/// The gates' queue.
const QUEUE: usize = 200;

/// A small generator of random numbers: the same on all machines.
struct Random(u64);

impl Random {
    /// In `(0, 1)`.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64 + 1e-12
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.uniform().ln() * mean
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// How long a request occupies a slot of the origin, in seconds.
#[derive(Clone, Copy)]
enum Service {
    Constant(f64),
    /// Log-normal with this median and this deviation of the logarithm.
    Noisy(f64, f64),
    Exponential(f64),
    /// The first in this share of the cases, else the second.
    Bimodal(f64, f64, f64),
}

impl Service {
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::Constant(seconds) => seconds,
            Self::Noisy(median, deviation) => median * (random.normal() * deviation).exp(),
            Self::Exponential(mean) => random.exponential(mean),
            Self::Bimodal(share, quick, slow) => {
                if random.uniform() < share {
                    quick
                } else {
                    slow
                }
            }
        }
    }
}

/// A stream of requests.
#[derive(Clone, Copy)]
struct Stream {
    gateway: usize,
    route: usize,
    /// Requests a second.
    rate: f64,
    service: Service,
    patience: f64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Event {
    Arrival(usize),
    Served(usize),
    GivesUp(usize),
}

struct Request {
    stream: usize,
    arrived: f64,
    begun: Option<(f64, u32)>,
    over: bool,
}

struct Gateway {
    limit: Adaptive,
    in_flight: u32,
    queue: VecDeque<usize>,
}

/// The origin and its surroundings.
struct World {
    random: Random,
    start: clock::Instant,
    now: f64,
    events: BinaryHeap<Reverse<(u64, u64, usize, u8)>>,
    sequence: u64,
    streams: Vec<Stream>,
    requests: Vec<Request>,
    gateways: Vec<Gateway>,
    capacity: usize,
    /// Beyond so many in its queue, the origin answers 503 at once.
    rejects_beyond: usize,
    busy: usize,
    backlog: VecDeque<usize>,
    served: Vec<(f64, usize, f64)>,
    refused: u64,
}

impl World {
    fn new(seed: u64, gateways: usize, capacity: usize, streams: &[Stream]) -> Self {
        let bounds = Bounds { start: 50, min: 4, max: 500 };
        let mut world = Self {
            random: Random(seed),
            start: clock::instant(),
            now: 0.0,
            events: BinaryHeap::new(),
            sequence: 0,
            streams: streams.to_vec(),
            requests: Vec::new(),
            gateways: (0..gateways)
                .map(|_| {
                    let mut limit = Adaptive::new(bounds);
                    limit.reserve(2);
                    Gateway { limit, in_flight: 0, queue: VecDeque::new() }
                })
                .collect(),
            capacity,
            rejects_beyond: usize::MAX,
            busy: 0,
            backlog: VecDeque::new(),
            served: Vec::new(),
            refused: 0,
        };
        for stream in 0..streams.len() {
            world.arrive_later(stream);
        }
        world
    }

    fn at(&mut self, seconds: f64, event: Event) {
        self.sequence += 1;
        let (index, kind) = match event {
            Event::Arrival(index) => (index, 0),
            Event::Served(index) => (index, 1),
            Event::GivesUp(index) => (index, 2),
        };
        self.events.push(Reverse(((seconds * 1e6) as u64, self.sequence, index, kind)));
    }

    fn arrive_later(&mut self, stream: usize) {
        let rate = self.streams[stream].rate;
        // A stream that is off is looked at again.
        let pause = if rate > 0.0 { self.random.exponential(1.0 / rate) } else { 0.1 };
        self.at(self.now + pause, Event::Arrival(stream));
    }

    fn run(&mut self, until: f64) {
        self.run_and(until, |_| {});
    }

    fn run_and(&mut self, until: f64, mut watch: impl FnMut(&Self)) {
        while let Some(Reverse((micros, ..))) = self.events.peek() {
            if *micros as f64 / 1e6 > until {
                break;
            }
            let Some(Reverse((micros, _, index, kind))) = self.events.pop() else { break };
            self.now = micros as f64 / 1e6;
            match kind {
                0 => self.arrival(index),
                1 => self.done(index),
                _ => self.gives_up(index),
            }
            watch(self);
        }
        self.now = until;
    }

    fn arrival(&mut self, stream: usize) {
        self.arrive_later(stream);
        if self.streams[stream].rate == 0.0 {
            return;
        }
        let request = self.requests.len();
        self.requests.push(Request { stream, arrived: self.now, begun: None, over: false });
        let gateway = self.streams[stream].gateway;
        // As the gate does under overload: the newest first, and the oldest makes room.
        if self.gateways[gateway].queue.len() == QUEUE {
            self.refused += 1;
            if let Some(oldest) = self.gateways[gateway].queue.pop_front() {
                self.requests[oldest].over = true;
            }
        }
        self.gateways[gateway].queue.push_back(request);
        let patience = self.streams[stream].patience;
        self.at(self.now + patience, Event::GivesUp(request));
        self.admit(gateway);
    }

    fn admit(&mut self, index: usize) {
        loop {
            let gateway = &mut self.gateways[index];
            if gateway.in_flight >= gateway.limit.limit() {
                return;
            }
            let Some(request) = gateway.queue.pop_back() else { return };
            if self.requests[request].over {
                continue;
            }
            gateway.in_flight += 1;
            self.requests[request].begun = Some((self.now, gateway.in_flight));
            if self.busy == self.capacity && self.backlog.len() >= self.rejects_beyond {
                self.end(request, Outcome::Overloaded);
            } else {
                self.backlog.push_back(request);
                self.serve();
            }
        }
    }

    fn serve(&mut self) {
        while self.busy < self.capacity {
            let Some(request) = self.backlog.pop_front() else { return };
            self.busy += 1;
            let service = self.streams[self.requests[request].stream].service;
            let seconds = service.draw(&mut self.random);
            self.at(self.now + seconds, Event::Served(request));
        }
    }

    fn done(&mut self, request: usize) {
        self.busy -= 1;
        self.serve();
        if !self.requests[request].over {
            let stream = self.requests[request].stream;
            self.served.push((self.now, stream, self.now - self.requests[request].arrived));
            self.end(request, Outcome::Answered);
        }
    }

    /// A client leaves; the origin does not learn of it, and works on.
    fn gives_up(&mut self, request: usize) {
        if self.requests[request].over {
            return;
        }
        if self.requests[request].begun.is_some() {
            self.end(request, Outcome::Left);
        } else {
            self.requests[request].over = true;
            let gateway = self.streams[self.requests[request].stream].gateway;
            self.gateways[gateway].queue.retain(|waiting| *waiting != request);
        }
    }

    fn end(&mut self, request: usize, outcome: Outcome) {
        self.requests[request].over = true;
        let Some((begun, in_flight)) = self.requests[request].begun else { return };
        let Stream { gateway, route, .. } = self.streams[self.requests[request].stream];
        let latency = Duration::from_secs_f64(self.now - begun);
        let now = self.start + Duration::from_secs_f64(self.now);
        let sample = Sample { baseline: route, in_flight, latency, outcome };
        self.gateways[gateway].in_flight -= 1;
        self.gateways[gateway].limit.observe(now, sample);
        self.admit(gateway);
    }

    fn limit(&self, gateway: usize) -> f64 {
        f64::from(self.gateways[gateway].limit.limit())
    }

    /// Answers a second that came in time, from `since` until now, of one stream or all.
    fn goodput(&self, since: f64, stream: Option<usize>) -> f64 {
        let good = self.served.iter().filter(|(at, of, _)| *at > since && stream.is_none_or(|it| it == *of));
        good.count() as f64 / (self.now - since)
    }

    /// The least, the mean and the largest limit until `until`, weighed by time.
    fn limits(&mut self, gateway: usize, until: f64) -> (f64, f64, f64) {
        let (begun, mut last) = (self.now, self.now);
        let (mut least, mut sum, mut most) = (f64::MAX, 0.0, 0.0_f64);
        self.run_and(until, |world| {
            let limit = world.limit(gateway);
            (least, most) = (least.min(limit), most.max(limit));
            sum += limit * (world.now - last);
            last = world.now;
        });
        (least, sum / (last - begun), most)
    }
}

fn stream(rate: f64, service: Service) -> Stream {
    Stream { gateway: 0, route: 0, rate, service, patience: PATIENCE }
}

fn within(what: &str, value: f64, goal: f64, share: f64) {
    assert!((value / goal - 1.0).abs() <= share, "{what}: {value:.1}, not within {share} of {goal}");
}

#[test]
fn capacity_is_found_and_kept() {
    for seed in SEEDS {
        for (capacity, seconds) in [(20, 0.05), (20, 0.2), (100, 0.1), (400, 0.2), (10, 0.1)] {
            // Ten times the largest would only take long.
            for times in if capacity < 100 { [2.0, 4.0, 10.0] } else { [2.0, 2.2, 2.4] } {
                let full = f64::from(capacity as u32) / seconds;
                let mut world =
                    World::new(seed, 1, capacity, &[stream(times * full, Service::Constant(seconds))]);
                let case = format!("seed {seed}, {capacity} at {seconds} s, {times} times");
                world.run(5.0);
                let (least, mean, most) = world.limits(0, 20.0);
                within(&format!("{case}: mean of {least} to {most}"), mean, capacity as f64, 0.2);
                assert!(
                    world.goodput(5.0, None) >= 0.96 * full,
                    "{case}: {}",
                    world.goodput(5.0, None) / full
                );
            }
        }
    }
}

#[test]
fn a_capacity_that_changes_is_followed() {
    for seed in SEEDS {
        for (before, after) in [(20, 10), (20, 40), (100, 50), (100, 200), (200, 20)] {
            let load = stream(50.0 * f64::from(before.max(after) as u32), Service::Noisy(0.05, 0.1));
            let mut world = World::new(seed, 1, before, &[load]);
            world.run(10.0);
            world.capacity = after;
            // What was in flight at the old limit has to be answered first.
            world.run(if before > 5 * after { 20.0 } else { 13.0 });
            let (since, (least, mean, most)) = (world.now, world.limits(0, 30.0));
            let case = format!("seed {seed}, {before} to {after}");
            within(&format!("{case}: mean of {least} to {most}"), mean, after as f64, 0.2);
            let full = f64::from(after as u32) / 0.05;
            assert!(
                world.goodput(since, None) >= 0.93 * full,
                "{case}: {}",
                world.goodput(since, None) / full
            );
        }
    }
}

#[test]
fn noise_does_not_move_it_far() {
    for seed in SEEDS {
        for (name, service, mean_seconds) in [
            ("log-normal", Service::Noisy(0.05, 0.3), 0.0523),
            ("exponential", Service::Exponential(0.05), 0.05),
            ("bimodal", Service::Bimodal(0.8, 0.02, 0.2), 0.056),
            ("bimodal, half", Service::Bimodal(0.5, 0.02, 0.2), 0.11),
        ] {
            let full = 40.0 / mean_seconds;
            let mut world = World::new(seed, 1, 40, &[stream(4.0 * full, service)]);
            // Noise takes time: it is twenty times what an answer takes in the worst of these cases.
            world.run(20.0);
            let (least, mean, most) = world.limits(0, 80.0);
            let case = format!("seed {seed}, {name}: {least} to {most}");
            within(&case, mean, 40.0, 0.25);
            assert!(world.goodput(20.0, None) >= 0.8 * full, "{case}: {}", world.goodput(20.0, None) / full);
        }
    }
}

#[test]
fn two_gateways_share_an_origin_fairly() {
    for seed in SEEDS {
        let load = stream(1600.0, Service::Noisy(0.05, 0.1));
        let mut world = World::new(seed, 2, 40, &[load, Stream { gateway: 1, rate: 0.0, ..load }]);
        // The second one comes when the first one has everything.
        world.run(10.0);
        world.streams[1].rate = 1600.0;
        world.run(40.0);
        world.run(100.0);
        let full = 40.0 / 0.05;
        for gateway in [0, 1] {
            let share = world.goodput(40.0, Some(gateway));
            within(&format!("seed {seed}, gateway {gateway}"), share, full / 2.0, 0.3);
        }
        assert!(world.goodput(40.0, None) >= 0.95 * full);
    }
}

#[test]
fn quick_and_slow_calls_share_an_upstream() {
    for seed in SEEDS {
        let quick = stream(500.0, Service::Noisy(0.02, 0.2));
        let slow = Stream { route: 1, rate: 0.5, patience: 60.0, ..stream(0.0, Service::Noisy(20.0, 0.2)) };
        let mut world = World::new(seed, 1, 100, &[quick, slow]);
        world.run(200.0);
        // 10 of the one kind and 10 of the other: nothing queues, nobody is refused.
        assert_eq!(world.refused, 0, "seed {seed}");
        let late = world.served.iter().filter(|(_, of, took)| *of == 0 && *took > 0.1).count();
        assert_eq!(late, 0, "seed {seed}");
        assert!(world.limit(0) >= 50.0, "seed {seed}: {}", world.limit(0));
        // And when quick ones are too many, the slow ones still are answered.
        world.streams[0].rate = 9000.0;
        world.run(215.0);
        let (from, full) = (world.now, 90.0 / 0.0204);
        world.run(240.0);
        assert!(
            world.goodput(from, Some(0)) >= 0.8 * full,
            "seed {seed}: {}",
            world.goodput(from, Some(0)) / full
        );
    }
}

#[test]
fn a_slower_origin_is_accepted() {
    for seed in SEEDS {
        for times in [1.3, 2.0, 5.0] {
            let load = stream(2000.0, Service::Noisy(0.05, 0.1));
            let mut world = World::new(seed, 1, 40, &[load]);
            world.run(10.0);
            world.streams[0].service = Service::Noisy(0.05 * times, 0.1);
            world.run(25.0);
            let (least, mean, most) = world.limits(0, 45.0);
            let case = format!("seed {seed}, {times} times slower: {least} to {most}");
            within(&case, mean, 40.0, 0.25);
            let full = 40.0 / 0.05 / times;
            assert!(world.goodput(25.0, None) >= 0.9 * full, "{case}: {}", world.goodput(25.0, None) / full);
        }
    }
}

#[test]
fn an_origin_that_says_no_is_heard() {
    for seed in SEEDS {
        let mut world = World::new(seed, 1, 40, &[stream(3200.0, Service::Noisy(0.05, 0.1))]);
        world.rejects_beyond = 0;
        world.run(5.0);
        let (_, mean, _) = world.limits(0, 30.0);
        within(&format!("seed {seed}"), mean, 40.0, 0.2);
        assert!(world.goodput(5.0, None) >= 0.9 * 40.0 / 0.05);
    }
}

#[test]
fn clients_that_all_leave_do_not_hide_an_overload() {
    for seed in SEEDS {
        // At the limit it begins with, each answer takes longer than any client waits.
        let mut world = World::new(seed, 1, 8, &[stream(80.0, Service::Constant(0.4))]);
        world.run(30.0);
        let (_, mean, _) = world.limits(0, 60.0);
        within(&format!("seed {seed}"), mean, 8.0, 0.3);
        assert!(world.goodput(30.0, None) >= 0.8 * 20.0, "{}", world.goodput(30.0, None));
    }
}

/// Down by 40 % a step at most, never below `min`, however hard it is hit.
#[test]
fn steps_are_bounded_and_there_is_always_some_limit() {
    for seed in SEEDS {
        let load = stream(4000.0, Service::Noisy(0.05, 0.3));
        let mut world = World::new(seed, 1, 200, &[load]);
        world.rejects_beyond = 10;
        let mut last = world.limit(0);
        for (until, capacity) in [(10.0, 200), (20.0, 1), (40.0, 200), (50.0, 5)] {
            world.capacity = capacity;
            let mut step = |world: &World| {
                let limit = world.limit(0);
                assert!(limit >= 4.0, "seed {seed}, at {}: {limit}", world.now);
                // Limits are told as whole numbers.
                assert!(limit >= 0.6 * last - 1.0, "seed {seed}, at {}: {last} to {limit}", world.now);
                last = limit;
            };
            world.run_and(until, &mut step);
        }
    }
}
