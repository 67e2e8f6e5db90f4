//! Traces through a store that is too small: what it keeps, and what that saves its origin.

use super::super::config::EvictionPolicy;
use super::super::directives::ResponseDirectives;
use super::super::entry::{Entry, StoredBody};
use super::super::freshness::{Lifetime, Timing};
use super::super::purge::Marks;
use super::super::store::Peek;
use super::super::vary::Variant;
use super::*;

/// What keys cost their origin, by a draw of theirs from 0 to 1.
#[derive(Clone, Copy, Debug)]
enum Costs {
    /// All about the same: 25 to 75 ms.
    Even,
    /// This share a second, the others 20 ms.
    Dear(f64),
    /// Log-normal: half of them more than 50 ms, with a standard deviation of their logarithms.
    LogNormal(f64),
}

impl Costs {
    fn of(self, key: usize) -> Duration {
        let mut rng = fastrand::Rng::with_seed(key as u64 ^ 0x5bd1_e995);
        let millis = match self {
            Self::Even => 25.0 + 50.0 * rng.f64(),
            Self::Dear(share) if rng.f64() < share => 1000.0,
            Self::Dear(_) => 20.0,
            Self::LogNormal(sigma) => {
                let (radius, angle) = (rng.f64().max(1e-12), rng.f64() * std::f64::consts::TAU);
                50.0 * (sigma * (-2.0 * radius.ln()).sqrt() * angle.cos()).exp()
            }
        };
        Duration::from_secs_f64(millis / 1000.0)
    }
}

/// So many keys, asked for as often as Zipf says; halfway through all of them change their ranks.
#[derive(Clone, Copy, Debug)]
struct Trace {
    keys: usize,
    /// How many of them there is about room for.
    room: u64,
    exponent: f64,
    requests: usize,
    costs: Costs,
}

/// What came of a trace, its first quarter not counted.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    requests: f64,
    hits: f64,
    seconds: f64,
    saved: f64,
    /// Of keys that cost a second: requests and hits.
    dear: (f64, f64),
}

impl Outcome {
    fn hit_ratio(&self) -> f64 {
        self.hits / self.requests
    }

    fn origin_seconds(&self) -> f64 {
        self.seconds - self.saved
    }

    fn dear_hit_ratio(&self) -> f64 {
        self.dear.1 / self.dear.0
    }

    fn cheap_hit_ratio(&self) -> f64 {
        (self.hits - self.dear.1) / (self.requests - self.dear.0)
    }

    fn count(&mut self, cost: Duration, hit: bool) {
        let (seconds, hit) = (cost.as_secs_f64(), f64::from(u8::from(hit)));
        self.requests += 1.0;
        self.hits += hit;
        self.seconds += seconds;
        self.saved += seconds * hit;
        if cost == Duration::from_secs(1) {
            self.dear = (self.dear.0 + 1.0, self.dear.1 + hit);
        }
    }
}

/// A response of 1 to 8 KiB.
async fn entry(key: usize, cost: Duration) -> Arc<Entry> {
    let headers = super::super::fixture::headers(&[("cache-control", "max-age=86400")]);
    let now = clock::now().wall;
    let directives = ResponseDirectives::of(&headers);
    let timing = Timing { requested: now, received: now };
    let ttl = plan::plan(&CacheConfig::default(), &Path::default(), &mut Report::new()).ttl;
    let (lifetime, _) = Lifetime::of(StatusCode::OK, &headers, &directives, &ttl, timing);
    let size = 1024 * fastrand::Rng::with_seed(key as u64).usize(1..=8);
    let body = StoredBody::pack(&[Bytes::from(vec![0; size])]).await;
    let marks = Marks::new(0, 0, Box::default());
    Arc::new(Entry::new(StatusCode::OK, &headers, lifetime, Variant::default(), marks, body).worth(cost))
}

async fn run(trace: Trace, eviction: EvictionPolicy) -> Outcome {
    let plan = StorePlan { eviction, ..room_of(trace.room * (4608 + 700), 1 << 20) };
    let store = Store::new(&plan, Memory::unlimited(), &Metrics::default());
    let mut weights: Vec<f64> = Vec::with_capacity(trace.keys);
    for rank in 1..=trace.keys {
        let below = weights.last().copied().unwrap_or(0.0);
        weights.push(below + (rank as f64).powf(-trace.exponent));
    }
    let all = weights.last().copied().unwrap();
    let (mut rng, mut outcome) = (fastrand::Rng::with_seed(7), Outcome::default());
    for number in 0..trace.requests {
        let drawn = rng.f64() * all;
        let rank = weights.partition_point(|weight| *weight < drawn).min(trace.keys - 1);
        let shift = if number < trace.requests / 2 { 0 } else { trace.keys / 2 };
        let key = (rank + shift) % trace.keys;
        let cost = trace.costs.of(key);
        let slot = match store.peek(&key.to_le_bytes()) {
            Peek::Now(slot) => slot,
            Peek::Later => store.get(&key.to_le_bytes()).await,
        };
        if number > trace.requests / 4 {
            outcome.count(cost, slot.is_some());
        }
        if slot.is_none() {
            store.put(&key.to_le_bytes(), entry(key, cost).await, |_| false, 1).await;
        }
    }
    outcome
}

const SMALL: Trace =
    Trace { keys: 2_000, room: 500, exponent: 0.8, requests: 40_000, costs: Costs::Dear(0.1) };

#[tokio::test]
async fn what_is_expensive_outlives_what_is_as_popular_and_cheap() {
    let by_cost = run(SMALL, EvictionPolicy::Cost).await;
    let by_popularity = run(SMALL, EvictionPolicy::Popularity).await;
    let (dear, cheap) = (by_cost.dear_hit_ratio(), by_cost.cheap_hit_ratio());
    assert!(dear > cheap + 0.04, "{dear} {cheap}, without {}", by_popularity.dear_hit_ratio());
    let (with, without) = (by_cost.origin_seconds(), by_popularity.origin_seconds());
    assert!(with < 0.9 * without, "{with} s, without {without} s");
}

#[tokio::test]
async fn where_costs_are_even_popularity_alone_decides() {
    let trace = Trace { costs: Costs::Even, ..SMALL };
    let by_cost = run(trace, EvictionPolicy::Cost).await.hit_ratio();
    let by_popularity = run(trace, EvictionPolicy::Popularity).await.hit_ratio();
    assert!((by_cost - by_popularity).abs() < 0.02, "{by_cost} {by_popularity}");
}

/// The figures of `loadtest/eviction`.
#[tokio::test]
#[ignore = "a measurement of two minutes: see loadtest/eviction"]
async fn figures() {
    let costs =
        [Costs::Even, Costs::Dear(0.02), Costs::Dear(0.1), Costs::LogNormal(1.0), Costs::LogNormal(2.0)];
    println!(
        "\n| keys, room, exponent | costs | hits by popularity, by cost | of dear keys | origin-seconds |"
    );
    println!("|---|---|--:|--:|--:|");
    for (keys, room, exponent) in [(20_000, 5_000, 0.8), (50_000, 5_000, 0.8), (50_000, 5_000, 1.0)] {
        for costs in costs {
            let trace = Trace { keys, room, exponent, requests: 100_000, costs };
            let without = run(trace, EvictionPolicy::Popularity).await;
            let with = run(trace, EvictionPolicy::Cost).await;
            let ratios = |without: f64, with: f64| format!("{without:.3}, {with:.3}");
            let dear = match costs {
                Costs::Dear(_) => ratios(without.dear_hit_ratio(), with.dear_hit_ratio()),
                Costs::Even | Costs::LogNormal(_) => String::new(),
            };
            let hits = ratios(without.hit_ratio(), with.hit_ratio());
            let change = 100.0 * (with.origin_seconds() / without.origin_seconds() - 1.0);
            println!("| {keys}, {room}, {exponent} | {costs:?} | {hits} | {dear} | {change:+.1} % |");
        }
    }
}
